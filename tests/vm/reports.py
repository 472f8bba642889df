# SPDX-License-Identifier: GPL-2.0
"""What did the kernel complain about?

A run whose kernel complained has failed, whatever its command said. A report
of the kernel's own or of the stock driver's that must be lived with stands in
MUTED, with its reason, and is told when it is met.
"""

import os
import re

STAMP = re.compile(r"^\[ *\d+\.\d+\](\[ *[TC]\d+\])? ?")

# (kind, how its first line looks); the first that fits names the report
KINDS = [(kind, re.compile(text)) for kind, text in (
    ("KASAN", r"^BUG: KASAN: "),
    ("UBSAN", r"^UBSAN: "),
    ("kmemleak", r"^kmemleak: \d+ new suspected memory leaks"),
    ("hung task", r"^INFO: task .* blocked (for more than|in I/O wait)"),
    ("RCU stall", r"^(rcu: )?INFO: rcu_\S+ (self-)?detected (expedited )?"
                  r"stall|^rcu: INFO: .*detected.*stall"),
    ("lockdep", r"^WARNING: (possible |inconsistent lock|bad unlock|"
                r"suspicious RCU|held lock freed|lock held|Nested lock|"
                r"nested lock|bad contention)|"
                r"^INFO: trying to register non-static key|"
                r"^BUG: (held lock freed|MAX_LOCK|key .* not in \.data)|"
                r"^DEBUG_LOCKS_WARN_ON|^\[ BUG: "),
    ("BUG", r"^kernel BUG at |^BUG: (sleeping|scheduling|using|workqueue|"
            r"soft lockup|spinlock|rwlock|Bad|non-zero|atomic|looking)|"
            r"^BUG \S+ \(|^watchdog: BUG: |^BUG: Invalid wait|"
            r"^Kernel panic - not syncing: BUG"),
    ("oops", r"^BUG: (kernel NULL|unable to handle)|^Oops|"
             r"^general protection fault|^Kernel panic|"
             r"^Modules linked in: .* oops$|^Unable to handle kernel|"
             r"^Kernel mode fault at"),
    # out of memory, it checks no more
    ("DMA-API", r"^WARNING: (CPU: .* at )?kernel/dma/debug\.c:|"
                r"^DMA-API: .*(dma-debug disabled|disabling)"),
    ("WARN", r"^WARNING: "),
    ("reference", r"^unregister_netdevice: waiting for |^ref_tracker: "
                  r"(.*@|reference already)"),
    ("BUG", r"^BUG: "),
)]

# a report goes on until one of these, or until the next one begins
END = re.compile(r"^---\[ end |^=+$|^\*+$|^Kernel Offset: ")
BANNER = re.compile(r"^=+$|^-+\[ cut here |^-+$")
LONGEST = 120


class Report:
    """One complaint: its kind and its lines."""

    def __init__(self, kind, lines):
        self.kind = kind
        self.lines = lines

    @property
    def text(self):
        """All of it."""
        return "\n".join(self.lines)


class Muted:
    """A report to live with, where, and why."""

    def __init__(self, kernels, drivers, pattern, reason):
        self.kernels = kernels
        self.drivers = drivers
        self.pattern = re.compile(pattern, re.S)
        self.reason = reason

    def covers(self, report, kernel, driver):
        """Whether @report of this kernel and driver is the one meant."""
        return kernel in self.kernels and driver in self.drivers and \
            bool(self.pattern.search(report.text))


MUTED = []


def kind_of(line):
    """The kind of report that @line begins, or None."""
    for kind, pattern in KINDS:
        if pattern.search(line):
            return kind
    return None


def find(text):
    """All reports in a kernel log."""
    lines = [STAMP.sub("", line.rstrip("\r")) for line in text.splitlines()]
    found = []
    number = 0
    while number < len(lines):
        kind = kind_of(lines[number])
        if kind:
            end = _end_of(lines, number)
            found.append(Report(kind, lines[number:end]))
            number = end
        else:
            number += 1
    return found


def _end_of(lines, start):
    """Where the report that begins at @start ends."""
    for number in range(start + 1, min(start + LONGEST, len(lines))):
        line = lines[number]
        # lockdep draws a line under its title
        if END.match(line) and number > start + 2:
            return number + 1
        if line.startswith("------------[ cut here"):
            return number
        if kind_of(line):
            return number
    return min(start + LONGEST, len(lines))


def of_run(folder):
    """All reports of the run whose folder this is."""
    found = find(_read(os.path.join(folder, "kernel.log")))
    details = _read(os.path.join(folder, "kmemleak.txt"))
    if details:
        found = [report for report in found if report.kind != "kmemleak"]
        found.append(Report("kmemleak", details.splitlines()))
    return found


def sort_out(found, kernel, driver):
    """Split into those that count and [(report, reason)] of the muted."""
    counting, muted = [], []
    for report in found:
        reasons = [entry.reason for entry in MUTED
                   if entry.covers(report, kernel, driver)]
        if reasons:
            muted.append((report, reasons[0]))
        else:
            counting.append(report)
    return counting, muted


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""
