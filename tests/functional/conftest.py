# SPDX-License-Identifier: GPL-2.0
"""Which tests run where, and a result line for each.

A test names what it needs by markers; the lab's environment says what is
there. What does not fit is not collected at all: a test that is collected
runs, and nothing is skipped.
"""

import json
import os
import pathlib

import pytest

# What each driver can do so far. Tests ask by @pytest.mark.needs("...").
ABILITIES = {
    "stock": {"netdev", "children"},
    "ours": {"netdev", "queues"},
    "none": set(),
}

MARKERS = (
    "host: runs on the machine that starts labs, not inside one",
    "fabric: needs the fabric and no driver",
    "core: belongs to the short list for emulated machines",
    "needs(ability): needs a driver that can do this",
)


def pytest_configure(config):
    for line in MARKERS:
        config.addinivalue_line("markers", line)


def _fits(item, driver):
    """Does this test belong to a machine with this driver?"""
    if item.get_closest_marker("host"):
        return driver == "host"
    if item.get_closest_marker("fabric"):
        return driver == "none"
    needs = {mark.args[0] for mark in item.iter_markers("needs")}
    return needs and needs <= ABILITIES.get(driver, set())


def pytest_collection_modifyitems(config, items):
    driver = os.environ.get("LAB_DRIVER", "host")
    core = os.environ.get("LAB_CORE_ONLY") == "1"
    chosen = [item for item in items if _fits(item, driver) and
              (not core or item.get_closest_marker("core"))]
    config.hook.pytest_deselected(
        items=[item for item in items if item not in chosen])
    items[:] = chosen


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" or report.outcome != "passed":
        _record(item.nodeid, report)


def _record(nodeid, report):
    """One line a test, on disk at once: the machine may die in the next."""
    folder = os.environ.get("LAB_OUT")
    if not folder:
        return
    line = json.dumps({"test": nodeid, "outcome": report.outcome,
                       "seconds": round(report.duration, 2)})
    with open(pathlib.Path(folder) / "results.jsonl", "a",
              encoding="utf-8") as out:
        out.write(line + "\n")
        out.flush()
        os.fsync(out.fileno())
