# SPDX-License-Identifier: GPL-2.0
"""What is done over and over must not wear anything out."""

import pathlib
import re
import resource

import pytest

from labkit import KERNEL

# Times that what must never wear out is done
AGAIN = pytest.mark.parametrize("rounds", [5, pytest.param(
    100, marks=[pytest.mark.long, pytest.mark.instrumented])])


# What is not the kernel's own, or what it gives back when it is asked to
OTHERS = ("nr_free_pages", "nr_file_pages", "nr_anon_pages",
          "nr_slab_reclaimable", "nr_page_table_pages",
          "nr_kernel_misc_reclaimable")


def memory_kib():
    """What the kernel has for itself and does not give back.

    Pages of no account are in it, too. Those that a processor keeps in its
    lists are free, though vmstat does not say so.
    """
    counts = {name: int(value) for name, value in map(
        str.split, pathlib.Path("/proc/vmstat").read_text().splitlines())}
    zones = pathlib.Path("/proc/zoneinfo").read_text()
    pages = sum(map(int, re.findall(r"^ +managed +(\d+)$", zones, re.M))) - \
        sum(map(int, re.findall(r"^ +count: +(\d+)$", zones, re.M))) - \
        sum(counts.get(name, 0) for name in OTHERS)
    return pages * resource.getpagesize() // 1024


def assert_not_grown(before, rounds):
    """No more memory than many rounds of something may leave in caches.

    Sanitizers keep what was freed for a while, and look for leaks themselves.
    """
    grown = memory_kib() - before
    assert KERNEL in ("kasan", "debug") or grown <= 512 + 4 * rounds, \
        grown
