# SPDX-License-Identifier: GPL-2.0
"""The bench counts right, and its two commands work."""

import csv
import pathlib
import re
import subprocess
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(TOP / "tests/bench"), str(TOP / "tests")]

import figures as fig  # noqa: E402 pylint: disable=wrong-import-position
import profile_uml  # noqa: E402 pylint: disable=wrong-import-position

pytestmark = pytest.mark.host


def fact(row, contender, value, **more):
    return dict({"event": "end", "row": row, "contender": contender,
                 "value": value}, **more)


@pytest.fixture(name="figures")
def three_rounds():
    found = fig.Figures()
    for ours, stock in ((3e9, 1e9), (4e9, 4e9), (5e9, 2e9)):
        found.add_fact(fact("tcp1", "ours", ours, bytes=2e9), 4.0)
        found.add_fact(fact("tcp1", "stock", stock, bytes=1e9), 5.0)
        found.add_fact(fact("rr", "ours", 100, p99=300), 0)
        found.add_fact(fact("tcp1", "veth", 4e9, bytes=1e9), 1.0)
        found.add_fact(fact("loop2k", "verbs", 1e6, bytes=4e9, messages=8e6),
                       2.0)
        found.close_round()
    return found


def test_medians_and_ratios_pair_by_pair(figures):
    assert figures.median("tcp1", "ours") == 4000
    assert figures.median("tcp1", "stock") == 2000
    # of 3, 1 and 2.5: not the ratio of the medians, which is 2
    assert figures.ratio("tcp1", "ours", "stock") == 2.5
    assert figures.ratio("udp64", "ours", "stock") is None


def test_processor_time_is_per_gigabyte_and_less_the_floor(figures):
    assert figures.median("tcp1 cpu", "ours") == 2.0
    assert figures.median("tcp1 cpu net", "ours") == 1.5
    assert figures.median("tcp1 cpu net", "stock") == 4.5


def test_the_floor_is_the_stack_and_then_the_hca(figures):
    # 4 Gbit/s, and a million messages of 500 bytes: 4 Gbit/s
    assert figures.median("tcp1", "floor") == pytest.approx(2000)
    # a second a GB of the one, half of one of the other
    assert figures.median("tcp1 cpu", "floor") == 1.5


def test_floors_of_the_stack_or_of_the_hca_alone():
    found = fig.Figures()
    found.add_fact(fact("rr", "veth", 80, p99=100), 0)
    found.add_fact(fact("neigh1", "ours", 2e5), 0)
    found.add_fact(fact("loop64", "verbs", 2e6, bytes=64, messages=1), 0)
    found.close_round()
    assert found.median("rr p99", "floor") == 100
    assert found.median("neigh1", "floor") == 2e6
    assert found.median("udp64", "floor") is None


def test_rows_that_are_worse_are_named():
    found = fig.Figures()
    for row, ours, stock in (("tcp4", 1e9, 2e9), ("rr", 103, 100),
                             ("udp64", 5, 4)):
        found.add_fact(fact(row, "ours", ours), 0)
        found.add_fact(fact(row, "stock", stock), 0)
    line, *_ = fig.targets(found)
    assert line == "no row worse than stock by more than 0.03: TCP, " \
        "four flows 0.50 (MISSED)"


def test_percentiles_are_measures_of_their_own(figures):
    assert figures.median("rr p99", "ours") == 300


def test_table_has_each_contender_with_its_spread(figures):
    lines = fig.table(figures, "ours", ["stock", "floor"])
    first, = (line for line in lines if "Mbit/s" in line)
    assert first.split()[-6:] == ["ours", "4000", "3000", "5000", "2.500",
                                  "2.000"]


def test_targets_say_met_or_missed():
    found = fig.Figures()
    for row, who, value in (("tcp1-bare", "stock", 2e9),
                            ("tcp1-bare", "veth", 3e9),
                            ("tcp2-bare", "stock", 3e9)):
        found.add_fact(fact(row, who, value), 0)
    for who, value in (("ours", 4e9), ("stock", 3e9), ("floor", 5e9)):
        found.add_fact(fact("tcp4", who, value), 0)
    no_worse, either, beside_veth, both_ways = fig.targets(found)
    assert no_worse.endswith("(met)")
    assert "1.33, wanted 1.5 or 0.80, wanted 0.8 (met)" in either
    assert "0.67, wanted 0.5 (met)" in beside_veth
    assert "1.50, wanted 1.6 (MISSED)" in both_ways


def test_targets_and_table_tell_one_ratio(figures):
    one_flow, = (line for line in fig.targets(figures)
                 if line.startswith("one flow"))
    assert ": 2.50, wanted 1.3 (met)" in one_flow


def test_symbols_of_modules_are_found(tmp_path):
    path = tmp_path / "kallsyms"
    path.write_text("0000000060001000 T first\n"
                    "00000000e0001000 t inner\t[ib_ipoib]\n"
                    "00000000e0001100 t last\t[ib_ipoib]\n")
    symbols = profile_uml.Symbols(path)
    assert symbols.name(0x60001004) == "first"
    assert symbols.name(0xe00010ff) == "inner [ib_ipoib]"
    assert symbols.name(0xe0001100) == "last [ib_ipoib]"
    assert "elsewhere" in symbols.name(0x70000000)
    assert "host kernel" in symbols.name(0xffffffff81000000)


def test_ways_are_told_outermost_first(tmp_path):
    path = tmp_path / "kallsyms"
    path.write_text("0000000060001000 T outer\n0000000060002000 t inner\n")
    symbols = profile_uml.Symbols(path)
    assert profile_uml.folded([[0x60002004, 0x60001004],
                               [0x60002008, 0x60001008], [0x60001000], []],
                              symbols) == ["outer;inner 2", "outer 1"]


def bench(*options):
    return subprocess.run([TOP / "tests/bench/run", "--rounds", "1",
                           "--seconds", "1", *options], cwd=TOP, text=True,
                          capture_output=True, check=False)


def test_a_short_run_leaves_table_values_and_plot(tmp_path):
    out = tmp_path / "figures"
    done = bench("--rows", "tcp1,loop2k", "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "TCP, one flow" in (out / "bench.txt").read_text()
    with open(out / "bench.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["contender"] for row in rows if row["measure"] == "tcp1"} \
        == {"ours", "stock", "veth", "floor"}
    assert all(float(row["value"]) > 0 for row in rows
               if row["measure"] in ("tcp1", "tcp1 cpu", "loop2k"))
    assert (out / "bench.svg").read_text().rstrip().endswith("</svg>")
    # and once more, with what HCAs can do
    text = (out / "bench-offloads.txt").read_text()
    assert "HCAs: csum=on lso=on" in text
    assert "one flow beside stock" in text


def test_a_profile_names_the_drivers_own_functions(tmp_path):
    done = bench("--profile", "tcp1", "--out", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    count = int(re.search(r"^(\d+) samples", done.stdout, re.M).group(1))
    # of a second of two processors; a busy host gives them less
    assert count > 100, done.stdout
    assert "%  [ib_ipoib]\n" in done.stdout
    assert "%  [ib_fabric]\n" in done.stdout
    assert re.search(r"%  fab_\w+ \[ib_fabric\]$", done.stdout, re.M)


def test_unknown_rows_are_refused():
    done = bench("--rows", "tcp3")
    assert done.returncode == 2
    assert "no row tcp3" in done.stderr
