# SPDX-License-Identifier: GPL-2.0
"""Which tests run where.

A test names what it needs by markers; the lab's environment says what is
there. What does not fit is not collected at all: a test that is collected
runs, and nothing is skipped.
"""

import os

import pytest

# What each driver can do so far. Tests ask by @pytest.mark.needs("...").
ABILITIES = {
    "stock": {"netdev", "children", "coalesce"},
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
    left = [item for item in items if item not in chosen]
    if left:
        config.hook.pytest_deselected(items=left)
    items[:] = chosen
