# SPDX-License-Identifier: GPL-2.0
"""Fail the Nth allocation, or the Nth call of a verb, and no other.

Allocations fail by the kernel's own fault injection, where it has that: those
with the driver's text in their stack, whoever makes them, on every processor
and in every context. A source says how many chances it had by nothing but
being struck or not, so a test asks for the first, the second and so on until
one is not reached.
"""

import contextlib
import functools
import pathlib
import re
import sys

from labkit import FABRIC, LabError, fault, run

DEBUG = pathlib.Path("/sys/kernel/debug")
SECTIONS = pathlib.Path("/sys/module/ib_ipoib/sections")
MOST = (1 << 64) - 1

# Allocates pages and objects in its own name until one is refused.
BURN = """
import os, sys
with open("/proc/self/make-it-fail", "wb", buffering=0) as file:
    file.write(b"1")
for _ in range(1 << 20):
    try:
        handle = os.open("/proc/self/environ", os.O_RDONLY)
        os.read(handle, 16)
        os.close(handle)
        with open(sys.argv[1], encoding="ascii") as file:
            if file.read() == "0\\n":
                break
    except (OSError, MemoryError):
        pass
"""


class Struck:
    """Whether what was armed has struck; told even when it is off again."""

    def __init__(self, look):
        self._look = look

    @property
    def hit(self):
        return self._look()

    def settle(self):
        """Note the answer, for it is about to be lost."""
        hit = self._look()
        self._look = lambda: hit


class Verb:
    """Calls of one verb of a host's HCA."""

    def __init__(self, host, verb, code="EIO"):
        self.host = host
        self.name = verb
        self.error = code

    @contextlib.contextmanager
    def armed(self, nth):
        rule = f"{self.name} nth={nth} errno={self.error}"
        with fault(f"fab{self.host}", "verbs", rule) as one:
            struck = Struck(lambda: one.hit > 0)
            yield struck
            struck.settle()


@functools.cache
def ledger():
    """From where to where kmemleak notes an allocation, which allocates.

    It has a reserve: nobody sees that it was refused.
    """
    text = pathlib.Path("/proc/kallsyms").read_text(encoding="ascii")
    found = re.search(r"^([0-9a-f]+) t __create_object\n([0-9a-f]+) ", text,
                      re.M)
    return [int(where, 16) for where in found.groups()] if found else [0, 0]


class Memory:
    """Allocations of objects (failslab) or of pages (fail_page_alloc).

    The kernel counts chances since it has booted, and fails each whose number
    @interval divides. It tells that count nobody, but it is known after each
    failure: it is the interval then.
    """

    error = "ENOMEM"
    counts = {}

    def __init__(self, name):
        self.name = name
        self.dir = DEBUG / name

    def _set(self, **words):
        for name, value in words.items():
            (self.dir / name.replace("_", "-")).write_text(str(value))

    @property
    def _count(self):
        return self.counts.get(self.name, 0)

    def _struck(self):
        return (self.dir / "times").read_text() == "0\n"

    def span(self):
        """From where to where a caller's address must be."""
        return [int((SECTIONS / name).read_text(), 16)
                for name in (".text", ".exit.text")]

    task_filter = "N"

    @contextlib.contextmanager
    def armed(self, nth):
        start, end = self.span()
        (self.dir / "verbose_ratelimit_burst").write_text("1000000")
        self._set(times=0, verbose=2, space=0, ignore_gfp_wait="N",
                  task_filter=self.task_filter,
                  require_start=hex(start), require_end=hex(end),
                  reject_start=hex(ledger()[0]), reject_end=hex(ledger()[1]),
                  interval=self._count + nth, probability=100)
        if self.name == "fail_page_alloc":
            self._set(min_order=0, ignore_gfp_highmem="Y")
        self._set(times=1)
        struck = Struck(self._struck)
        try:
            yield struck
        finally:
            struck.settle()
            self._disarm(struck.hit)

    def _disarm(self, hit):
        if not hit:
            self._set(times=0, task_filter="Y", require_start=0,
                      require_end=hex(MOST), reject_start=0, reject_end=0,
                      verbose=0)
            self._set(times=1)
            run(sys.executable, "-c", BURN, self.dir / "times")
            if not self._struck():
                raise LabError(f"{self.name}: nothing was refused")
        self._set(probability=0)
        interval = int((self.dir / "interval").read_text())
        if interval > 1:
            self.counts[self.name] = interval


class LoadMemory(Memory):
    """The same, of a task that inserts the driver, wherever that comes to be.

    It is the only module below that task.
    """

    task_filter = "Y"
    # a module may be put below those that are there
    room = 64 << 20

    def span(self):
        text = pathlib.Path("/proc/modules").read_text(encoding="ascii")
        lowest = min(int(where, 16) for where in
                     re.findall(r"\b0x([0-9a-f]+)\b", text))
        return [lowest - self.room, MOST - 1]


def resources(host):
    """How much of a host's HCA is in use, by kind; nothing of none."""
    text = run("rdma", "resource").stdout
    line = re.search(rf"^\d+: fab{host}: (.*)$", text, re.M)
    return {name: int(value) for name, value in
            re.findall(r"\b(pd|cq|qp|mr) (\d+)", line.group(1))} \
        if line else {}


def handles(host):
    """Address handles of a host's HCA."""
    return len((FABRIC / f"fab{host}" / "ahs").read_text().splitlines())


def note(text):
    """A line in the kernel's log, to find what is reported by."""
    with open("/dev/kmsg", "w", encoding="ascii") as log:
        log.write(f"<5>{text}\n")

