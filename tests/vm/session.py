# SPDX-License-Identifier: GPL-2.0
"""One run, from options to exit status.

The guest's programs are imported only to have them compiled: an emulated
machine would take long to do it, and could not keep the result.
"""

import contextlib
import fcntl
import json
import os
import secrets
import select
import signal
import struct
import sys
import termios
import time
import tty

from . import cache, channel, host, machines, modules, reports, variant
from .errors import (EXIT_REPORT, EXIT_SETUP, EXIT_TIMEOUT, Interrupted,
                     LabError)
from .guest import agent, tool  # noqa: F401 pylint: disable=unused-import
from .kernel import CORE_MODULES
from .kernels import KERNELS

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))

# how long a guest may be silent in its start, above what its waits may take,
# and after COMMAND was killed
BOOT_SECONDS = 90
KILL_SECONDS = 10
# a kernel with sanitizers has a scan for leaks to do at the end
END_SECONDS = 120
# select() takes no infinity, which a shell's limit is
LONG_WAIT = 3600.0
STDIN = 0


class Trace:
    """How long each step took, on stderr when LAB_TRACE is set."""

    def __init__(self):
        self.wanted = bool(os.environ.get("LAB_TRACE"))
        self.start = self.last = time.monotonic()

    def step(self, name):
        """A step begins."""
        now = time.monotonic()
        if self.wanted:
            print("lab: %6.3f (+%.3f) %s" % (now - self.start,
                                             now - self.last, name),
                  file=sys.stderr, flush=True)
        self.last = now


def new_run_folder(kernel):
    """The run's folder, one that was not there before."""
    base = os.path.join(CHECKOUT, "tests", "out")
    name = time.strftime("%Y%m%d-%H%M%S-") + kernel
    while True:
        where = os.path.join(base, "%s-%s" % (name, secrets.token_hex(2)))
        try:
            os.makedirs(where)
            return where
        except FileExistsError:
            continue


@contextlib.contextmanager
def deaf_to(signum):
    """Its handler does not run in the middle of this."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signum})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Session:
    """One machine from start to end."""

    def __init__(self, options):
        self.options = options
        self.trace = Trace()
        self.out = None
        self.kernel = None
        self.machine = None
        self.step = "start"
        self.status = None
        self.failure = None
        self.deadline = None
        self.running = False
        self.started = False
        self.timed_out = False
        self.done = False
        self.unpacker = channel.Unpacker()
        self.outbox = channel.Outbox()

    # -- before the machine --------------------------------------------------

    def run(self):
        """Run COMMAND in a machine; the lab's exit status."""
        try:
            self.prepare()
            self.boot()
            return self.conclude()
        except LabError as err:
            print(err.line(), file=sys.stderr)
            return EXIT_SETUP

    def prepare(self):
        """Everything that can be had without a machine."""
        recipe = KERNELS[self.options.kernel]
        if " " in CHECKOUT or " " in cache.root():
            raise LabError("paths", "neither the checkout's path nor the "
                           "cache's may contain blanks")
        host.prepare()
        self.trace.step("packages")
        self.out = new_run_folder(self.options.kernel)
        self.kernel = recipe.ensure()
        self.trace.step("kernel")
        self.built = self.build_modules()
        self.trace.step("modules")

    def build_modules(self):
        """{file name: path} of the checkout's modules for this kernel."""
        built = {}
        for part in modules.PARTS.values():
            if part.needs and not self.kernel.config(part.needs):
                continue
            for where in self.build_part(part):
                built[os.path.basename(where)] = where
        return built

    def build_part(self, part):
        """Paths of one part's modules; none when it can be done without."""
        required = part.name == "fabric" or (
            part.name == "driver" and self.options.driver == "ours")
        log = os.path.join(self.out, "build-%s.log" % part.name)
        try:
            if not part.there(CHECKOUT):
                raise LabError("building " + part.name,
                               "this checkout has no sources of it")
            where = modules.build(part, self.kernel, CHECKOUT, log)
        except LabError as err:
            if required:
                raise
            cache.say("note: " + err.line()[len("lab: "):])
            return []
        return [os.path.join(where, name) for name in part.modules]

    def configuration(self):
        """What the guest's agent needs to know."""
        options = self.options
        machine = machines.MACHINES[self.kernel.machine]
        slow_build = self.kernel.config("KASAN")
        patience = machine.patience * (4 if slow_build else 1)
        return {
            "checkout": CHECKOUT, "out": self.out, "cache": cache.root(),
            "kernel": options.kernel, "release": self.kernel.release,
            "modules": self.kernel.modules, "stock": self.kernel.stock,
            "core": self.kernel.with_dependencies(CORE_MODULES),
            "built": self.built, "driver": options.driver,
            "hosts": options.hosts, "shape": options.hca, "slow": machine.slow,
            "sms": int(options.sm), "mtu": int(options.mtu),
            "patience": patience, "rdma_netns": options.rdma_netns,
            "variant": " ".join(variant.words(variant.chosen(options))),
            "command": options.command,
            # upper bound of one wait in the guest; it ends as soon as it can
            "seconds": int((30 + options.hosts) * patience),
            "environment": guest_environment(),
            "terminal": terminal_size() if options.terminal else None,
            "stdin": options.stdin and not options.terminal,
        }

    # -- with the machine ----------------------------------------------------

    def boot(self):
        """Start the machine and serve it until it has nothing more to say."""
        self.config = self.configuration()
        make = machines.MACHINES[self.kernel.machine]
        self.machine = make(self.kernel, self.options.hosts, self.out)
        # a step has up to three waits, and is to say itself what failed
        self.silence = BOOT_SECONDS + 3 * self.config["seconds"]
        self.trace.step("machine")
        self.limit = time.monotonic() + self.silence
        terminal = Terminal(self) if self.options.terminal else None
        try:
            self.serve()
        finally:
            if terminal:
                terminal.restore()
            self.machine.stop()
        self.trace.step("end")

    def send(self, kind, body=b""):
        """Send one frame to the guest, as soon as it has room for it."""
        self.outbox.put(channel.pack(kind, body))
        self.pump()

    def pump(self):
        """Send what the guest has room for; a dead one is noticed elsewhere."""
        with deaf_to(signal.SIGWINCH), contextlib.suppress(OSError):
            self.machine.channel.sendall(self.outbox.due())

    def sources(self):
        """What to listen to."""
        found = [self.machine.channel]
        if self.running and self.options.stdin and not self.outbox.data:
            found.append(STDIN)
        return found

    def serve(self):
        """Pass frames on until the guest is done, dead, or out of time."""
        while not self.done:
            wait = min(max(0.0, self.limit - time.monotonic()), LONG_WAIT)
            ready = select.select(self.sources(), [], [], wait)[0]
            if time.monotonic() > self.limit and self.out_of_time():
                return
            if self.machine.channel in ready:
                if not self.receive():
                    return
            if STDIN in ready:
                self.pass_input()

    def out_of_time(self):
        """A limit has passed; True when nothing more is to be expected."""
        if self.running and not self.timed_out:
            self.timed_out = True
            self.send("K")
            self.limit = time.monotonic() + KILL_SECONDS
            return False
        if self.status is None and not self.failure and not self.timed_out:
            self.failure = [self.step, "the machine says nothing more"]
        self.machine.show_tasks()
        return True

    def pass_input(self):
        """Pass the user's input on; its end too."""
        try:
            data = os.read(STDIN, channel.CHUNK)
        except OSError:
            # the terminal is gone
            data = b""
        if not data:
            self.options.stdin = False
        self.send("I", data)

    def receive(self):
        """Take what the guest says; False at its end."""
        try:
            data = self.machine.channel.recv(channel.CHUNK)
        except OSError:
            data = b""
        for kind, body in self.unpacker.feed(data):
            self.handle(kind, body)
        return bool(data)

    def handle(self, kind, body):
        """One frame from the guest."""
        if kind == "O":
            write_all(1, body)
        elif kind == "E":
            write_all(2, body)
        elif kind == "H":
            # not before: the guest's end drops what comes while it opens
            self.send("C", self.config)
            self.begin_step("guest")
        elif kind == "R":
            self.outbox.taken(int(body))
            self.pump()
        elif kind == "P":
            self.begin_step(body.decode())
        elif kind == "F":
            self.failure = json.loads(body)
        elif kind == "S":
            self.begin_step("command")
            self.running = self.started = True
            self.limit = time.monotonic() + self.options.timeout
        elif kind == "X":
            self.status = int(body)
        elif kind == "D":
            self.done = True

    def begin_step(self, name):
        """The guest begins a step of its start or of its end."""
        self.step = name
        self.trace.step(name)
        if self.running:
            self.running = False
            self.limit = time.monotonic() + END_SECONDS
        else:
            self.limit = time.monotonic() + self.silence

    # -- after the machine ---------------------------------------------------

    def conclude(self):
        """The exit status, by what mattered most."""
        counting, muted = reports.sort_out(reports.of_run(self.out),
                                           self.options.kernel,
                                           self.options.driver)
        for report, reason in muted:
            cache.say("muted a %s report (%s): %s"
                      % (report.kind, reason, report.lines[0]))
        if counting:
            self.tell(counting)
            return EXIT_REPORT
        if self.timed_out:
            cache.say("the command ran longer than %g s and was ended"
                      % self.options.timeout)
            return EXIT_TIMEOUT
        if self.failure:
            raise LabError(*self.failure)
        if self.status is None:
            return self.died()
        return self.status

    def tell(self, counting):
        """Print what the kernel complained about."""
        for report in counting:
            cache.say("the kernel reported: " + report.kind)
            print(report.text, file=sys.stderr)
        cache.say("the kernel's log is " + os.path.join(self.out,
                                                        "kernel.log"))

    def died(self):
        """The machine ended before COMMAND did, without a report."""
        log = os.path.join(self.out, "kernel.log")
        if not self.started:
            raise LabError(self.step, "the machine ended; " + last_line(log))
        cache.say("the machine ended before the command did; its log is "
                  + log)
        return EXIT_REPORT


def last_line(path):
    """The last line of a log, to explain an early end."""
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = file.read().split("\n")
    said = [line for line in lines if line.startswith("lab-init: ")]
    words = [line for line in lines if line.strip()]
    return (said or words or ["its log is empty"])[-1]


def write_all(fd, data):
    """Write to the user; one who reads no more ends the lab quietly."""
    try:
        while data:
            data = data[os.write(fd, data):]
    except BrokenPipeError:
        raise Interrupted(signal.SIGPIPE) from None


def guest_environment():
    """The caller's environment without what means only this host."""
    drop = ("LAB_", "XDG_", "DBUS_", "SSH_", "MAKE", "MFLAGS", "TMPDIR",
            "PYTHON", "DISPLAY", "LD_")
    return {name: value for name, value in os.environ.items()
            if not name.startswith(drop)}


def terminal_size():
    """[rows, columns] of the user's terminal."""
    packed = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
    rows, columns, _, _ = struct.unpack("HHHH", packed)
    return [rows or 24, columns or 80]


class Terminal:
    """The user's terminal while a shell in the guest has it."""

    def __init__(self, session):
        self.saved = termios.tcgetattr(0)
        # what was typed ahead stays
        tty.setraw(0, termios.TCSADRAIN)
        signal.signal(signal.SIGWINCH,
                      lambda *_: session.send("W", terminal_size()))

    def restore(self):
        """Give it back as it was."""
        signal.signal(signal.SIGWINCH, signal.SIG_DFL)
        termios.tcsetattr(0, termios.TCSADRAIN, self.saved)
