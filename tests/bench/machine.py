# SPDX-License-Identifier: GPL-2.0
"""A lab machine seen from this host: its processes and what they used."""

import json
import os
import pathlib
import re
import subprocess

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
TICK = os.sysconf("SC_CLK_TCK")


def stat(pid):
    """(parent, seconds of processor time) of a process, or None."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii",
                                                           errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    # utime, stime, and both of the children it has waited for
    return int(fields[1]), sum(map(int, fields[11:15])) / TICK


def family(pid):
    """{pid: seconds} of a process and all that descend from it."""
    stats = {int(name): stat(name) for name in os.listdir("/proc")
             if name.isdigit()}
    children = {}
    for one, known in stats.items():
        if known:
            children.setdefault(known[0], []).append(one)
    found, todo = {}, [pid]
    while todo:
        one = todo.pop()
        if stats.get(one):
            found[one] = stats[one][1]
            todo += children.get(one, [])
    return found


def known_as(pid):
    """Number of one's child in /proc, which may be of an outer namespace."""
    handle = os.pidfd_open(pid)
    try:
        text = pathlib.Path(f"/proc/self/fdinfo/{handle}").read_text(
            encoding="ascii")
    finally:
        os.close(handle)
    return int(re.search(r"^Pid:\s+(\d+)$", text, re.M).group(1))


class Machine:
    """A lab that runs the measuring and tells what it does."""

    def __init__(self, options, command):
        self.process = subprocess.Popen(
            [str(TOP / "tests/lab"), "run", *options, "--", *command],
            cwd=TOP, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE)
        self.pid = known_as(self.process.pid)

    def seconds(self):
        """Processor time of the whole machine so far."""
        return sum(family(self.pid).values())

    def kernel_pid(self):
        """The process that is the machine's kernel."""
        for pid in family(self.pid):
            try:
                line = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if b"\0umid=lab\0" in line:
                return pid
        return None

    def folder(self):
        """The run's folder, known by what the machine's kernel has open."""
        pid = self.kernel_pid()
        return pathlib.Path(os.readlink(f"/proc/{pid}/fd/1")).parent

    def events(self):
        """What the machine tells, one fact after the other."""
        for line in self.process.stdout:
            if line.startswith("{"):
                yield json.loads(line)
            else:
                print(line, end="", flush=True)

    def status(self):
        """Its exit status."""
        return self.process.wait()
