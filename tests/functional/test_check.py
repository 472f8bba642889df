# SPDX-License-Identifier: GPL-2.0
"""How tests/check counts: what should have run, not what happened to."""

from concurrent import futures
import importlib.machinery
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time

import pytest

pytestmark = pytest.mark.host

PATH = pathlib.Path(__file__).resolve().parent.parent / "check"
sys.path.insert(0, str(PATH.parent))

import lanes as lane_kinds  # noqa: E402 pylint: disable=wrong-import-position
import laneset  # noqa: E402 pylint: disable=wrong-import-position
import schedule  # noqa: E402 pylint: disable=wrong-import-position
from vm import kernels  # noqa: E402 pylint: disable=wrong-import-position


def module_of(path):
    """A script as a module; it leaves no compiled file beside itself."""
    loader = importlib.machinery.SourceFileLoader(path.name, str(path))
    spec = importlib.util.spec_from_loader(path.name, loader)
    module = importlib.util.module_from_spec(spec)
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
    return module


@pytest.fixture(scope="module")
def check():
    """tests/check as a module."""
    return module_of(PATH)


def a_lane(check, expected, reports, trouble=""):
    class Fake(lane_kinds.Lane):
        name = "fake/lane"

        def expected(self, _expr):
            return expected

        def run(self, expr, report):
            for name, passed in reports:
                report(name, passed)
            return trouble

    return Fake()


def test_a_test_that_did_not_report_has_failed(check):
    lane = a_lane(check, ["a", "b", "c"], [("a", True)])
    assert check.run_lane(lane, "") == (1, 2)


def test_a_test_that_failed_at_its_end_has_failed(check):
    lane = a_lane(check, ["a"], [("a", True), ("a", False)])
    assert check.run_lane(lane, "") == (0, 1)


def test_a_kernel_report_fails_a_lane_that_passed(check, capsys):
    lane = a_lane(check, ["a"], [("a", True)], "the kernel reported a fault")
    assert check.run_lane(lane, "") == (1, 1)
    assert "the kernel reported a fault" in capsys.readouterr().out


def test_a_lane_that_cannot_run_fails_every_test(check):
    lane = a_lane(check, ["a", "b"], [], "the lab could not be set up")
    assert check.run_lane(lane, "") == (0, 3)


def test_a_lane_that_cannot_collect_has_failed(check, capsys, monkeypatch):
    lane = a_lane(check, [], [])
    lane.expected = lane_kinds.GuestLane("uml", "none").expected
    monkeypatch.setattr(lane_kinds, "FUNCTIONAL", "tests/no_such_folder")
    assert check.run_lane(lane, "") == (0, 1)
    assert "cannot be collected" in capsys.readouterr().out


def test_a_lane_with_nothing_chosen_does_not_start(check):
    lane = a_lane(check, [], [("a", True)])
    assert check.run_lane(lane, "nothing") == (0, 0)


# -- a machine that ends too soon ----------------------------------------------

class Scripted(lane_kinds.PytestLane):
    """A lane whose machine is a shell script; "$@" is pytest's command line."""

    TESTS = [f"{lane_kinds.FUNCTIONAL}/test_x.py::test_{name}"
             for name in ("one", "two", "three")]

    def __init__(self, tmp_path, script, limit=2):
        super().__init__("fake/scripted", {"LAB_CHOSEN": "short"},
                         ["sh", "-c", script, str(tmp_path)])
        self.limit = limit
        self.path = tmp_path / "log"
        self.names = list(self.TESTS)

    def expected(self, expr):
        return list(self.names)

    @property
    def log(self):
        return self.path

    def results(self):
        """(what was reported, the trouble)."""
        reported = []
        trouble = self.run("", lambda *what: reported.append(what))
        return [(name.rpartition("_")[2], passed)
                for name, passed in reported], trouble


PASSES = 'p() { echo "tests/functional/test_x.py::test_$1 PASSED [ 1%]"; }\n'


def test_a_test_that_hangs_fails_and_the_others_run(tmp_path):
    lane = Scripted(tmp_path, PASSES + """echo collected 3 items
        case "$*" in *deselect*three*) exit 1;;
        *deselect*) p three; exit 0;; esac
        p one; sleep 600 & wait""")
    results, trouble = lane.results()
    assert results == [("one", True), ("three", True), ("two", False)]
    assert "test_two ran for over 2 s" in trouble


def test_a_machine_may_take_its_time_to_boot(tmp_path):
    lane = Scripted(tmp_path, PASSES + """sleep 1.5; echo collected 3 items
        p one; p two; p three""", limit=1)
    assert lane.results() == (
        [("one", True), ("two", True), ("three", True)], "")


def test_after_a_fault_of_the_kernel_another_machine_goes_on(tmp_path):
    lane = Scripted(tmp_path, PASSES + """echo collected 3 items
        case "$*" in *deselect*) p two; p three; exit 0;; esac
        p one; exit 70""")
    results, trouble = lane.results()
    assert results == [("one", True), ("two", True), ("three", True)]
    assert trouble == "the kernel reported a fault"


FAILS = 'f() { echo "tests/functional/test_x.py::test_$1 FAILED [ 1%]"; }\n'


@pytest.mark.parametrize("second", ["p", "f"])
def test_a_test_that_failed_runs_once_more(tmp_path, second):
    lane = Scripted(tmp_path, PASSES + FAILS + f"""echo collected 3 items
        case "$*" in *deselect*) {second} two; exit 0;; esac
        p one; f two; p three; exit 1""")
    passed = second == "p"
    assert lane.results() == (
        [("one", True), ("three", True), ("two", passed)], "")
    assert lane.unsteady == ([lane.TESTS[1]] if passed else [])


def test_a_machine_that_ran_nothing_is_not_started_again(tmp_path):
    lane = Scripted(tmp_path, 'echo started >> "$0/starts"; exit 125')
    assert lane.results() == ([], "the lab could not be set up")
    assert (tmp_path / "starts").read_text().count("started") == 1


# -- which lanes run at the same time -----------------------------------------

class Busy(lane_kinds.Lane):
    """A lane that ends when it may, and not before all it waits for began."""

    def __init__(self, name, processors, *beside):
        self.name, self.processors, self.beside = name, processors, beside
        self.began = threading.Event()

    def work(self):
        self.began.set()
        return all(lane.began.wait(10) for lane in self.beside)


def names_of(lanes, processors):
    """The lanes, run; by name in the order of their ends."""
    done = list(schedule.run(lanes, Busy.work, processors))
    assert all(met for _, met in done)
    return [lane.name for lane, _ in done]


def test_lanes_of_one_processor_run_side_by_side():
    first, second = Busy("first", 1), Busy("second", 1)
    first.beside, second.beside = (second,), (first,)
    assert set(names_of([first, second], 2)) == {"first", "second"}


def test_three_machines_share_two_processors():
    lanes = [Busy(str(at), lane_kinds.NATIVE) for at in range(3)]
    for lane in lanes:
        lane.beside = lanes
    assert len(names_of(lanes, 2)) == 3


def test_a_lane_that_finds_room_goes_ahead():
    small, whole = Busy("small", 1), Busy("whole", schedule.WHOLE)
    last = Busy("last", 1)
    small.beside = (last,)
    assert names_of([small, whole, last], 2)[-1] == "whole"


def test_lanes_run_one_by_one_where_there_is_one_processor():
    lanes = [Busy("first", 1), Busy("whole", schedule.WHOLE), Busy("last", 2)]
    assert names_of(lanes, 1) == ["first", "whole", "last"]


def test_a_lane_of_the_whole_host_runs_alone():
    running = []

    def work(lane):
        running.append(lane)
        time.sleep(0.01)
        alone = running == [lane]
        running.remove(lane)
        return alone

    lanes = [Busy(str(at), schedule.WHOLE) for at in range(5)]
    assert all(alone for _, alone in schedule.run(lanes, work, 2))


def test_a_fault_of_a_lane_is_raised():
    def work(lane):
        raise KeyError(lane.name)

    with pytest.raises(KeyError, match="broken"):
        list(schedule.run([Busy("broken", 1)], work, 2))


def test_every_kernel_and_driver_has_a_lane(check):
    names = {lane.name for lane in check.COMPLETE}
    # stock is one of the others
    for kernel in set(kernels.KERNELS) - {"stock"}:
        assert f"build/{kernel}" in names
        for driver in laneset.DRIVERS:
            assert f"{kernel}/{driver}" in names


def test_other_architectures_are_compiled_for_every_day(check):
    for lanes in (check.EVERYDAY, check.COMPLETE):
        names = {lane.name for lane in lanes}
        assert {f"build/{name}" for name in kernels.CROSS} <= names


def collected(lanes):
    """The tests of each lane, by its name; no two have the same."""
    assert len({lane.name for lane in lanes}) == len(lanes)
    with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip([lane.name for lane in lanes],
                        pool.map(lambda lane: lane.expected(""), lanes)))


def test_each_lane_chooses_tests(check):
    """Few of them every day on Debian's kernels, which are emulated."""
    tests = collected(check.EVERYDAY)
    assert all(tests.values())
    for kernel in laneset.DEBIAN:
        assert 4 <= len(tests[f"{kernel}/ours/smoke"]) <= 8


@pytest.mark.long
def test_each_lane_of_the_full_run_chooses_tests(check):
    assert all(collected(check.COMPLETE).values())


def test_parts_of_a_lane_are_all_of_it(check):
    parts = [lane for lane in check.COMPLETE if lane.name in {
        "debug/ours", *(f"debug/ours/{part}" for part in laneset.APART)}]
    assert len(parts) == 1 + len(laneset.APART)
    tests = collected([*parts, lane_kinds.GuestLane("debug", "ours", "all",
                                                    "whole")])
    every = tests.pop("debug/ours/whole")
    assert sorted(sum(tests.values(), [])) == sorted(every)
    assert all(tests.values())


def test_a_named_lane_runs_alone(check):
    lane, = check.choose(["build/7.3/clang-19"], full=False)
    assert lane.name == "build/7.3/clang-19"
    assert check.choose([], full=False) == check.EVERYDAY
    assert check.choose([], full=True) == check.COMPLETE


# -- the full run goes on where it was cut off --------------------------------

def ledger_of(check, tmp_path, lanes, commit="abc"):
    return check.Ledger(tmp_path / "full", commit, lanes)


def test_what_passed_on_this_commit_is_not_run_again(check, tmp_path):
    lane = a_lane(check, ["a"], [("a", True)])
    ledger = ledger_of(check, tmp_path, [lane])
    assert not ledger.done(lane)
    ledger.note(lane, 1, 0, 2.4)
    assert ledger_of(check, tmp_path, [lane]).done(lane)
    assert not ledger_of(check, tmp_path, [lane], "def").done(lane)
    # a checkout with changes has no commit to be known by
    assert not ledger_of(check, tmp_path, [lane], None).done(lane)


def test_what_failed_is_run_again(check, tmp_path):
    lane = a_lane(check, ["a"], [])
    ledger = ledger_of(check, tmp_path, [lane])
    ledger.note(lane, 0, 1, 1)
    assert not ledger.done(lane)


def test_the_account_tells_what_is_missing(check, tmp_path):
    lane, other = (a_lane(check, ["a"], []) for _ in range(2))
    other.name = "other"
    ledger_of(check, tmp_path, [lane, other]).note(lane, 3, 1, 7)
    assert (tmp_path / "full.txt").read_text().splitlines() == [
        "commit abc", "fake/lane: 3 passed, 1 failed in 7 s",
        "other: not run", "1 of 2 lanes not run", "3 passed, 1 failed"]
    ledger_of(check, tmp_path, [lane, other], "def").note(other, 2, 0, 5)
    assert (tmp_path / "full.txt").read_text().splitlines() == [
        "commit def",
        "fake/lane: not run; on abc 3 passed, 1 failed in 7 s",
        "other: 2 passed, 0 failed in 5 s", "1 of 2 lanes not run",
        "2 passed, 0 failed"]


def test_a_variant_is_a_lane_of_its_own(check):
    lane = lane_kinds.GuestLane("uml", "stock", sm=2, hca=["sg=1", "2:lso=on"])
    assert lane.name == "uml/stock/sm=2/hca=sg=1/hca=2:lso=on"
    assert lane.env["LAB_VARIANT"] == "sm=2 hca=sg=1 hca=2:lso=on"
    at = lane.command.index("--sm")
    assert lane.command[at:at + 6] == ["--sm", "2", "--hca", "sg=1", "--hca",
                                       "2:lso=on"]


def test_parts_of_a_shared_lane_are_all_of_it():
    parts = lane_kinds.shards(3, lane_kinds.GuestLane, "kasan", "ours", "short")
    assert [lane.name for lane in parts] == [
        f"kasan/ours/short/{part}of3" for part in (1, 2, 3)]
    tests = collected([*parts, lane_kinds.GuestLane("kasan", "ours", "short")])
    every = tests.pop("kasan/ours/short")
    assert sorted(sum(tests.values(), [])) == sorted(every)
    files = [{test.partition("::")[0] for test in part}
             for part in tests.values()]
    assert all(files)
    # what one test of a file leaves may be what another one is about
    assert sum(map(len, files)) == len(set.union(*files))


def test_a_lane_says_what_it_leaves_out_and_why():
    lane = lane_kinds.GuestLane("kasan", "ours", "short")
    lane.expected("")
    reasons = " ".join(lane.left_out)
    assert re.search(r"left out: \d+ long: only in check-full", reasons)
    assert re.search(r"left out: \d+ need no driver", reasons)
    assert re.search(r"left out: \d+ for a lab with other options", reasons)


# -- mutants -------------------------------------------------------------------

@pytest.fixture(scope="module")
def mutate():
    """tests/mutate as a module."""
    return module_of(PATH.parent / "mutate")


def test_each_mutant_applies_and_names_tests_that_are_there(mutate, tmp_path):
    """What moves code or renames a test updates them."""
    mutate.copy_checkout(tmp_path)
    wrong = []
    for path in mutate.chosen([]):
        mutant = mutate.Mutant(path)
        try:
            mutant.apply(tmp_path, "--dry-run")
        except mutate.Broken as err:
            wrong.append(f"{mutant.name}: {err}")
        for test in mutant.tests:
            # maybe with the parameters that matter
            file, _, name = test.partition("[")[0].partition("::")
            where = PATH.parent / "functional" / file
            if name and not re.search(rf"def {name}\(", where.read_text()):
                wrong.append(f"{mutant.name}: no {test}")
        mutate.lane_named(mutant.lane)
    assert not wrong


def judged(mutate, monkeypatch, tmp_path, output, status):
    """What becomes of a mutant whose machine printed @output."""
    path = tmp_path / "bug.patch"
    path.write_text("Bug: a bug\nLane: uml/ours\n"
                    "Tests: test_x.py::test_a test_x.py::test_b\n\n")
    monkeypatch.setattr(mutate.Mutant, "apply", lambda *_: None)
    monkeypatch.setattr(mutate, "copy_checkout", lambda _: None)
    monkeypatch.setattr(mutate, "run", lambda *_: (output, status))
    return mutate.judge(mutate.Mutant(path))


def result_lines(**outcomes):
    return "".join(f"{lane_kinds.FUNCTIONAL}/test_x.py::test_{name} {outcome}"
                   " [ 50%]\n" for name, outcome in outcomes.items())


@pytest.mark.parametrize("output,status,noticed,says", [
    (result_lines(a="FAILED", b="FAILED"), 1, True, "noticed"),
    (result_lines(**{"a[v4]": "PASSED", "a[v6]": "FAILED", "b": "ERROR"}), 1,
     True, "noticed"),
    (result_lines(a="FAILED", b="PASSED"), 1, False,
     "survived test_x.py::test_b"),
    (result_lines(a="PASSED"), 70, False, "survived test_x.py::test_a"),
    ("", 70, True, "noticed"),
    ("", 5, False, "broken: its tests are not in that lane"),
    ("lab: building driver: error", 125, False, "broken: it does not build"),
], ids=["both-fail", "one-parameter-fails", "one-passes", "passed-before-a-fault",
        "fault-at-once", "not-collected", "not-built"])
def test_a_mutant_is_noticed_when_each_named_test_fails(
        mutate, monkeypatch, tmp_path, output, status, noticed, says):
    passed, line = judged(mutate, monkeypatch, tmp_path, output, status)
    assert passed == noticed and says in line


MARKED = """
import pytest
pytestmark = pytest.mark.fabric
def test_plain(): pass
@pytest.mark.lab(sm=2)
def test_sm(): pass
@pytest.mark.lab(hca=["sg=1", "2:lso=on"])
def test_hca(): pass
@pytest.mark.lab()
@pytest.mark.lab(hca="sg=1")
def test_both(): pass
"""


@pytest.mark.parametrize("variant,expected", [
    ("", {"plain", "both"}),
    ("sm=2", {"sm"}),
    ("mtu=4092 sm=2", {"sm"}),
    ("mtu=4092", set()),
    ("hca=sg=1", {"both"}),
    ("hca=sg=1 hca=2:lso=on", {"hca", "both"}),
    ("hca=sg=16 hca=2:lso=on", set())])
def test_a_test_runs_in_the_labs_it_names(tmp_path, variant, expected):
    shutil.copy(PATH.parent / "functional" / "conftest.py", tmp_path)
    (tmp_path / "test_marked.py").write_text(MARKED)
    done = subprocess.run(
        [sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider",
         "--collect-only", "-q", "test_marked.py"], cwd=tmp_path, text=True,
        env=dict(os.environ, LAB_DRIVER="none", LAB_VARIANT=variant,
                 LAB_CHOSEN="all", LAB_SHARD="1/1"), capture_output=True,
        check=False)
    assert set(re.findall(r"::test_(\w+)", done.stdout)) == expected


def test_the_lab_says_which_variant_it_is():
    sys.path.insert(0, str(PATH.parent))
    from vm import cli, variant  # pylint: disable=import-outside-toplevel
    for words in ([], ["--hosts", "3"]):
        options = cli.parse(["run", *words, "--", "true"])
        assert variant.chosen(options) == {}


def test_kunit_cases_are_named_by_their_suite(check):
    lane = lane_kinds.KunitLane("uml")
    expected = lane.expected("")
    assert len(set(expected)) == len(expected) > 50
    tap = ("KTAP version 1\n1..1\n    KTAP version 1\n"
           "    # Subtest: one\n    1..2\n    ok 1 a\n    not ok 2 b\n"
           "not ok 1 one\n    # Subtest: two\n    ok 1 a\n")
    assert list(lane.verdicts(tap)) == [
        ("one.a", True), ("one.b", False), ("two.a", True)]
