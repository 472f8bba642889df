# SPDX-License-Identifier: GPL-2.0
"""System calls that Python 3.11 lacks, and waiting for a condition."""

import contextlib
import ctypes
import os
import time

CLONE_NEWNET = 0x40000000
MS_BIND = 0x1000
MS_REC = 0x4000
MS_SHARED = 0x100000
O_NONBLOCK = os.O_NONBLOCK
SYS_FINIT_MODULE = 313
SYS_DELETE_MODULE = 176

_libc = ctypes.CDLL(None, use_errno=True)


class StepError(Exception):
    """A step of the guest failed: its name and why."""

    def __init__(self, step, text):
        super().__init__(text)
        self.step = step


def _check(result, what):
    if result < 0:
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err), what)


def mount(source, where, fstype=None, flags=0):
    """mount(2)."""
    _check(_libc.mount(source.encode(), where.encode(),
                       fstype and fstype.encode(), flags, None), where)


def setns(fd):
    """Enter the network namespace behind @fd."""
    _check(_libc.setns(fd, CLONE_NEWNET), "setns")


def new_netns():
    """Enter a new network namespace."""
    _check(_libc.unshare(CLONE_NEWNET), "unshare")


def insert_module(path, params=""):
    """insmod; no harm when it is already there."""
    with open(path, "rb") as file:
        try:
            _check(_libc.syscall(SYS_FINIT_MODULE, file.fileno(),
                                 params.encode(), 0), path)
        except FileExistsError:
            pass


def remove_module(name):
    """rmmod; a module in use is an OSError."""
    _check(_libc.syscall(SYS_DELETE_MODULE, name.encode(), O_NONBLOCK), name)


def loaded(name):
    """Whether module @name is in the kernel."""
    return os.path.isdir("/sys/module/%s/holders" % name)


def read(path):
    """A small file's text without blanks around it; empty when not there."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:
        return file.read().strip()
    return ""


def write(path, text):
    """Write a small file, or a sysctl."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def wait_for(condition, seconds, step, otherwise):
    """Wait until condition() is true; else StepError with otherwise()."""
    end = time.monotonic() + seconds
    pause = 0.001
    while not condition():
        if time.monotonic() > end:
            raise StepError(step, "not within %d s: %s"
                            % (seconds, otherwise()))
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
