# SPDX-License-Identifier: GPL-2.0
"""Ask kmemleak, where the kernel has it, what COMMAND left behind."""

import os
import time

from . import kernel

FILE = "/sys/kernel/debug/kmemleak"
# kmemleak reports nothing younger than this (MSECS_MIN_AGE in the kernel)
MIN_AGE = 5.0


def scan(out):
    """Scan, and leave what is found in the folder @out.

    One scan notes an object's content, the next reports it when it is still
    the same and nothing points to it; the second must be old enough for what
    COMMAND allocated last.
    """
    if not os.path.exists(FILE):
        return
    ended = time.monotonic()
    kernel.write(FILE, "scan")
    time.sleep(max(0.0, ended + MIN_AGE + 0.1 - time.monotonic()))
    kernel.write(FILE, "scan")
    found = kernel.read(FILE)
    if found:
        kernel.write(os.path.join(out, "kmemleak.txt"), found + "\n")
