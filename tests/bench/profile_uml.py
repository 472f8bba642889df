# SPDX-License-Identifier: GPL-2.0
"""Where does a machine's processor time go, by symbol of its kernel?

perf samples the kernel's process from outside. It knows the kernel's own
symbols but not those of its modules, which lie in what perf takes for plain
memory; the guest's /proc/kallsyms has them all. So perf gives addresses only.
"""

import bisect
import collections
import os
import pathlib
import re
import select
import subprocess
import sys
import tempfile

from vm import mounts

RATE = 997
READY = "watched"
TOP_LINES = 40
# addresses of the host's kernel begin here, and perf's own marks here
HOST = 1 << 63
MARKS = (1 << 64) - 4096
LONGEST = 1 << 16
PROC_OF_ITS_OWN = 'mount -t proc proc /proc && exec "$@"'


class Symbols:
    """The guest's symbols, by address."""

    def __init__(self, path):
        found = []
        for line in path.read_text(encoding="ascii").splitlines():
            address, kind, name, *module = line.split()
            if kind in "tTwW":
                found.append((int(address, 16), name,
                              module[0] if module else ""))
        found.sort()
        self.starts = [address for address, _, _ in found]
        self.names = [f"{name} {module}".strip()
                      for _, name, module in found]

    def name(self, address):
        """The symbol an address lies in, or whose it is when not the guest's.
        """
        if address >= HOST:
            return "(host kernel: system calls, faults)"
        at = bisect.bisect_right(self.starts, address) - 1
        # no function is longer, so it is somebody else's
        if at < 0 or address - self.starts[at] > LONGEST:
            return "(elsewhere: libc, stubs)"
        return self.names[at]


def numbers(process):
    """A process's number in each namespace of processes it is in."""
    text = pathlib.Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return re.search(r"^NSpid:\s+(.*)$", text, re.M).group(1).split()


class Recorder:
    """perf on one process, which waits with its load until perf samples."""

    def __init__(self, pid, scratch):
        self.where = str(pathlib.Path(scratch, "perf.data"))
        self.pipes = [pathlib.Path(scratch, name) for name in ("tell", "ack")]
        for pipe in self.pipes:
            os.mkfifo(pipe)
        # /proc may be of an outer namespace; perf insists on one of its own.
        own = numbers(pid)[len(numbers("self")) - 1]
        self.process = subprocess.Popen(
            [*mounts.own(), "sh", "-c", PROC_OF_ITS_OWN, "sh",
             "perf", "record", "-q", "-e", "cpu-clock", "-F", str(RATE), "-g",
             "-D", "-1", "--control", f"fifo:{self.pipes[0]},{self.pipes[1]}",
             "-p", own, "-o", self.where],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)

    def wait(self):
        """Until perf samples, which takes it seconds on a busy host."""
        tell, ack = self.pipes
        # for reading, too: neither end waits for perf, should it be gone
        with open(tell, "r+b", buffering=0) as orders, \
                open(ack, "r+b", buffering=0) as answers:
            orders.write(b"enable\n")
            while not select.select([answers], [], [], 1)[0]:
                if self.process.poll() is not None:
                    sys.exit(f"perf ended with {self.process.returncode}")

    def end(self):
        """Sample no more, and have all samples in the file."""
        self.process.terminate()
        self.process.wait()


def samples(where):
    """Addresses of each sample, innermost first.

    The raw dump has them as they were; a script's output has them relative to
    what is mapped there, which says nothing of a module.
    """
    done = subprocess.run(["perf", "script", "-i", where, "-D"], text=True,
                          errors="replace", capture_output=True, check=True)
    for block in done.stdout.split("PERF_RECORD_SAMPLE")[1:]:
        frames = re.findall(r"^\.+\s+\d+: ([0-9a-f]{16})$", block, re.M)
        chain = [int(address, 16) for address in frames]
        # marks between the chain's parts are no addresses
        yield [address for address in chain if address < MARKS]


def owner(name):
    """Whose code a symbol is: a module's, the kernel's, the host's."""
    found = re.search(r"[\[(].*[\])]$", name)
    return found.group() if found else "(the machine's kernel)"


def table(stacks, symbols):
    """Lines: share by owner; share alone, share with callees, symbol."""
    alone, within, total = collections.Counter(), collections.Counter(), 0
    owners = collections.Counter()
    for stack in stacks:
        names = [symbols.name(address) for address in stack]
        if not names:
            continue
        total += 1
        alone[names[0]] += 1
        owners[owner(names[0])] += 1
        within.update(set(names))
    lines = [f"{total} samples of the machine's kernel process"]
    lines += [f"{100 * count / total:6.1f}%  {name}"
              for name, count in owners.most_common()]
    lines += ["", f"{'alone':>7} {'with callees':>13}  symbol"]
    for name, count in alone.most_common(TOP_LINES):
        lines.append(f"{100 * count / total:6.1f}% "
                     f"{100 * within[name] / total:12.1f}%  {name}")
    return lines


def folded(stacks, symbols):
    """A line for each way to where samples were, as flame graphs are drawn
    from: outermost first, and how many samples.
    """
    ways = collections.Counter(
        ";".join(symbols.name(address) for address in reversed(stack))
        for stack in stacks)
    return [f"{way} {count}" for way, count in ways.items() if way]


def profile(machine, out):
    """Run the machine's one load under perf; print and keep the profile.

    The load begins when the file READY is in the run's folder.
    """
    folder, recorder = None, None
    with tempfile.TemporaryDirectory() as scratch:
        for fact in machine.events():
            if fact["event"] == "begin":
                folder = machine.folder()
                recorder = Recorder(machine.kernel_pid(), scratch)
                recorder.wait()
                (folder / READY).touch()
            elif fact["event"] == "end":
                recorder.end()
                print(f"{fact['contender']} {fact['row']}: "
                      f"{fact['value']:.6g}")
        status = machine.status()
        if status or not folder:
            return status or 1
        stacks = list(samples(recorder.where))
        symbols = Symbols(folder / "kallsyms")
    lines = table(stacks, symbols)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in (("profile.txt", lines),
                       ("profile.folded", folded(stacks, symbols))):
        (out / name).write_text("\n".join(text) + "\n", encoding="utf-8")
    print("\n".join(lines))
    return 0
