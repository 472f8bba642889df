# SPDX-License-Identifier: GPL-2.0
"""Which tests run where.

A test names what it needs by markers; the lab's environment says what is
there. What does not fit is not collected at all: a test that is collected
runs, and nothing is skipped.

A test runs in the default lab, unless it names another by the options that
make it so:

	@pytest.mark.lab(sm=2)                  in a lab of --sm 2
	@pytest.mark.lab(hca=["sg=1", "2:lso=on"])
	                                        --hca sg=1 --hca 2:lso=on
	@pytest.mark.lab()                      in the default lab

Two such markers are two labs that fit, so lab() beside lab(sm=2) means both.
A lab fits that has what the marker names; it may have more, so that one
machine can serve several tests. The lab says in LAB_VARIANT what it has (`sm=2
hca=sg=1`), empty for the default one. In tests/check each variant wants a lane
of its own: GuestLane("uml", "stock", sm=2).
"""

import collections
import os
import pathlib

import pytest

# reason: how many tests this machine leaves out for it
LEFT_OUT = pytest.StashKey()

# What each driver can do so far. Tests ask by @pytest.mark.needs("...").
#	follows_pkey	keep its partition when the table's order changes
#	retries_ah	get carrier though the broadcast group's address handle
#			was refused once
#	heals		start a receive queue pair anew that fell into error
#	queues		spread flows over several queues
#	reason		say why there is no carrier, and show what it knows
#	hitless		lose nothing when a subnet manager comes and goes
#	rings		change rings and queues while they run
#	partitions	make children in both ways alike
# The kernel's own driver has none of these eight.
ABILITIES = {
    "stock": {"netdev", "children", "coalesce", "csum", "lso"},
    "ours": {"netdev", "children", "coalesce", "queues", "csum", "lso", "follows_pkey", "retries_ah",
             "heals", "reason", "hitless", "rings", "partitions"},
    "none": set(),
}

MARKERS = (
    "host: runs on the machine that starts labs, not inside one",
    "fabric: needs the fabric and no driver",
    "core: what has to work before anything else is worth a look",
    "smoke: one of the few that run on emulated machines every day",
    "long: takes its time, and runs in full runs only",
    "apart(part): one of so many that they have a lane of their own in those",
    "instrumented(kernel...): of what is ours, on kernels that look for faults "
    "themselves, or on some of these",
    "debian: needs modules that only Debian's kernels have",
    "needs(ability): needs a driver that can do this",
    "lab(option=value): runs in a lab with these options, not in the default",
)


INSTRUMENTED = ("kasan", "debug")
DEBIAN = ("6.1", "6.12", "7.3")

# The lanes of their own, see apart(part).
PARTS = ("matrix", "failures", "unrest")

# How much of what fits is run; has(marker) asks a test.
CHOICES = {
    **{part: lambda has, part=part: has("apart") and
       has("apart").args == (part,) for part in PARTS},
    "all": lambda has: True,
    "rest": lambda has: not has("apart"),
    "short": lambda has: not has("long"),
    "core": lambda has: has("core") and not has("long"),
    "smoke": lambda has: has("smoke") and not has("long"),
}


def pytest_configure(config):
    for line in MARKERS:
        config.addinivalue_line("markers", line)


def _words(mark):
    """The words of LAB_VARIANT that a lab() marker asks for."""
    return {f"{name}={value}" for name, several in mark.kwargs.items()
            for value in (several if isinstance(several, (list, tuple))
                          else [several])}


def _variant_reason(item, variant):
    """Why a test does not belong to a lab with these options, or ""."""
    asked = [_words(mark) for mark in item.iter_markers("lab")] or [set()]
    if any(words <= variant if words else not variant for words in asked):
        return ""
    return "for a lab with other options" if variant or any(asked) else \
        "for the default lab"


def _reason(item, driver, variant):
    """Why a test does not belong to a machine with this driver and variant.

    "" when it does.
    """
    kernel = os.environ.get("LAB_KERNEL")
    if item.get_closest_marker("host"):
        return "" if driver == "host" else "start labs themselves"
    if driver == "host":
        return "run inside a lab"
    needs = {mark.args[0] for mark in item.iter_markers("needs")}
    if item.get_closest_marker("fabric"):
        if driver != "none":
            return "need no driver"
    elif not needs or not needs <= ABILITIES.get(driver, set()):
        return "need another driver"
    instrumented = item.get_closest_marker("instrumented")
    if instrumented and (driver == "stock" or
                         kernel not in (instrumented.args or INSTRUMENTED)):
        return "need another kernel"
    if item.get_closest_marker("debian") and kernel not in DEBIAN:
        return "need another kernel"
    return _variant_reason(item, variant)


def _choice_reason(item, name):
    """Why a choice leaves a test out, or ""."""
    if CHOICES[name](item.get_closest_marker):
        return ""
    if item.get_closest_marker("apart") and name not in PARTS:
        return "have a lane of their own in check-full"
    if item.get_closest_marker("long"):
        return "long: only in check-full"
    return f"not {name}"


def _seconds():
    """{file: seconds its tests take on kasan}, as last measured."""
    lines = (pathlib.Path(__file__).parent / "seconds.txt").read_text(
        encoding="utf-8").splitlines()
    return {name: float(seconds) for name, seconds in
            (line.split() for line in lines if not line.startswith("#"))}


def _shard(items):
    """This machine's part of the tests: LAB_SHARD is 2/3 for the second of 3.

    Whole files, the longest first, each to the part with the least so far.
    """
    number, parts = map(int, os.environ.get("LAB_SHARD", "1/1").split("/"))
    if parts == 1:
        return items
    known = _seconds()
    files = collections.Counter(item.path.name for item in items)
    seconds = {name: known.get(name, count) for name, count in files.items()}
    sums, part = [0.0] * parts, {}
    for name in sorted(seconds, key=lambda name: (-seconds[name], name)):
        part[name] = sums.index(min(sums))
        sums[part[name]] += seconds[name]
    return [item for item in items if part[item.path.name] == number - 1]


def pytest_collection_modifyitems(config, items):
    driver = os.environ.get("LAB_DRIVER", "host")
    variant = set(os.environ.get("LAB_VARIANT", "").split())
    chosen, reasons = [], collections.Counter()
    for item in items:
        reason = _reason(item, driver, variant) or \
            _choice_reason(item, os.environ.get("LAB_CHOSEN", "all"))
        if reason:
            reasons[reason] += 1
        else:
            chosen.append(item)
    mine = _shard(chosen)
    if len(mine) < len(chosen):
        reasons["in this lane's other parts"] = len(chosen) - len(mine)
    config.stash[LEFT_OUT] = reasons
    left = set(items) - set(mine)
    if left:
        config.hook.pytest_deselected(items=list(left))
    items[:] = mine


def pytest_report_collectionfinish(config):
    """What this machine does not run, and why."""
    return [f"left out: {count} {reason}" for reason, count in
            sorted(config.stash.get(LEFT_OUT, {}).items())]
