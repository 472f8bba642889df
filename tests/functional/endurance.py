# SPDX-License-Identifier: GPL-2.0
"""What is done over and over must not wear anything out."""

import pathlib
import re

import pytest

from labkit import KERNEL

# Times that what must never wear out is done
AGAIN = pytest.mark.parametrize("rounds", [5, pytest.param(
    100, marks=[pytest.mark.long, pytest.mark.instrumented])])


def memory_kib():
    """What the kernel has for itself and does not give back."""
    text = pathlib.Path("/proc/meminfo").read_text()
    sizes = dict(re.findall(r"^(\w+): +(\d+) kB$", text, re.M))
    return sum(int(sizes[name]) for name in
               ("SUnreclaim", "VmallocUsed", "Percpu", "KernelStack"))


def assert_not_grown(before, rounds):
    """No more memory than many rounds of something may leave in caches.

    Sanitizers keep what was freed for a while, and look for leaks themselves.
    """
    grown = memory_kib() - before
    assert KERNEL in ("kasan", "debug") or grown <= 512 + 4 * rounds, \
        grown
