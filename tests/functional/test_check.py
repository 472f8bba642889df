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
import schedule  # noqa: E402 pylint: disable=wrong-import-position
from vm import kernels  # noqa: E402 pylint: disable=wrong-import-position


@pytest.fixture(scope="module")
def check():
    """tests/check as a module; it leaves no compiled file beside itself."""
    loader = importlib.machinery.SourceFileLoader("check", str(PATH))
    spec = importlib.util.spec_from_loader("check", loader)
    module = importlib.util.module_from_spec(spec)
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
    return module


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
        for driver in check.DRIVERS:
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
    for kernel in check.DEBIAN:
        assert 4 <= len(tests[f"{kernel}/ours/smoke"]) <= 8


@pytest.mark.long
def test_each_lane_of_the_full_run_chooses_tests(check):
    assert all(collected(check.COMPLETE).values())


def test_parts_of_a_lane_are_all_of_it(check):
    parts = [lane for lane in check.COMPLETE if lane.name in {
        "debug/ours", *(f"debug/ours/{part}" for part in check.APART)}]
    assert len(parts) == 1 + len(check.APART)
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
                 LAB_CHOSEN="all"), capture_output=True, check=False)
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
