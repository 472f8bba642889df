# SPDX-License-Identifier: GPL-2.0
"""Process 1 of a lab machine: it sets up, runs COMMAND, and reports.

It is started by init, through start.py, with the name of the channel's device
and talks to the lab as channel.py says. As process 1 it also reaps what tests
leave behind.
"""

import contextlib
import errno
import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import termios
import time
import traceback
import tty

from vm import channel

from . import kernel, leaks
from .kernel import StepError
from .lab import FOLDER, Lab

KILL_GRACE = 2.0


def open_channel(name):
    """The file descriptor of the channel's device."""
    fd = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if os.isatty(fd):
        tty.setraw(fd)
    return fd


class Agent:
    """The guest's end of the channel."""

    def __init__(self, fd):
        self.fd = fd
        self.unpacker = channel.Unpacker()
        self.waiting = []
        self.command = None

    def send(self, kind, body=b""):
        """Send one frame; waits while the lab does not read."""
        data = memoryview(channel.pack(kind, body))
        while data:
            data = data[os.write(self.fd, data):]

    def frames(self):
        """Read once and yield the frames that are complete."""
        with contextlib.suppress(InterruptedError):
            data = os.read(self.fd, channel.CHUNK)
            self.send("R", b"%d" % len(data))
            yield from self.unpacker.feed(data)

    def wait_config(self):
        """The first frame from the lab."""
        while True:
            for kind, body in self.frames():
                if kind == "C":
                    return json.loads(body)

    def set_up(self, lab):
        """Run the steps of the start; False when one failed."""
        for name, step in lab.steps():
            self.send("P", name.encode())
            try:
                step()
            except StepError as err:
                self.send("F", [err.step, str(err)])
                return False
            except OSError as err:
                traceback.print_exc()
                self.send("F", [name, str(err)])
                return False
        return True

    def handle(self, kind, body):
        """One frame from the lab while COMMAND runs."""
        if kind == "I":
            self.command.feed(body)
        elif kind == "W":
            self.command.resize(json.loads(body))
        elif kind == "K":
            self.command.kill()

    def run(self, config, env):
        """Run COMMAND to its end; its status."""
        self.command = Command(config, env)
        self.send("S")
        command = self.command
        while not command.finished():
            readable, writable, _ = select.select(
                [self.fd, *command.outputs], command.hungry(), [], 0.2)
            if self.fd in readable:
                for kind, body in self.frames():
                    self.handle(kind, body)
            for fd in set(readable) & set(command.outputs):
                self.pass_on(fd)
            if writable:
                command.pass_in()
        return command.status

    def pass_on(self, fd):
        """Pass on what COMMAND wrote."""
        if fd == self.command.wake:
            return
        try:
            data = os.read(fd, channel.CHUNK)
        except OSError as err:
            # a terminal whose last user is gone
            if err.errno != errno.EIO:
                raise
            data = b""
        if data:
            self.send(self.command.outputs[fd], data)
        else:
            self.command.close_output(fd)


class Command:
    """COMMAND: a process group of its own, its streams at our end."""

    def __init__(self, config, env):
        self.config = config
        self.env = env
        self.status = None
        self.deadline = None
        self.wake = _child_wakeup()
        self.outputs = {self.wake: None}
        self.stdin = None
        self.unfed = bytearray()
        self.input_ended = False
        if config["terminal"]:
            self._start_on_terminal()
        else:
            self._start_on_pipes()
        if self.stdin is not None:
            os.set_blocking(self.stdin, False)

    def _start_on_terminal(self):
        self.pid, master = pty.fork()
        if not self.pid:
            self._become()
        self.stdin = master
        self.outputs[master] = "O"
        self.resize(self.config["terminal"])

    def _start_on_pipes(self):
        out, err = os.pipe(), os.pipe()
        source = os.pipe() if self.config["stdin"] else None
        self.pid = os.fork()
        if not self.pid:
            os.setsid()
            os.dup2(source[0] if source else os.open(os.devnull, os.O_RDONLY),
                    0)
            os.dup2(out[1], 1)
            os.dup2(err[1], 2)
            self._become()
        os.close(out[1])
        os.close(err[1])
        self.outputs.update({out[0]: "O", err[0]: "E"})
        if source:
            os.close(source[0])
            self.stdin = source[1]

    def _become(self):
        argv = self.config["command"]
        try:
            signal.set_wakeup_fd(-1)
            for signum in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGINT):
                signal.signal(signum, signal.SIG_DFL)
            os.chdir(self.config["checkout"])
            os.execvpe(argv[0], argv, self.env)
        except OSError as err:
            missing = isinstance(err, FileNotFoundError)
            os.write(2, ("lab: %s: %s\n" % (argv[0], os.strerror(err.errno)))
                     .encode())
            os._exit(127 if missing else 126)

    def feed(self, data):
        """Bytes for stdin, passed on as COMMAND takes them; none: its end."""
        if data:
            self.unfed += data
        else:
            self.input_ended = True
        self.pass_in()

    def hungry(self):
        """Descriptors to wait for before pass_in() is called again."""
        return [self.stdin] if self.unfed and self.stdin is not None else []

    def pass_in(self):
        """Write what COMMAND's stdin takes now."""
        if self.stdin is None:
            return
        try:
            while self.unfed:
                del self.unfed[:os.write(self.stdin, self.unfed)]
        except BlockingIOError:
            return
        except OSError:
            # COMMAND reads no more
            self.unfed.clear()
        if self.input_ended and self.config["terminal"]:
            self.kill()
        elif self.input_ended:
            os.close(self.stdin)
            self.stdin = None

    def resize(self, size):
        """Tell the terminal its size: [rows, columns]."""
        if self.stdin is not None:
            fcntl.ioctl(self.stdin, termios.TIOCSWINSZ,
                        struct.pack("HHHH", *size, 0, 0))

    def close_output(self, fd):
        """One of the outputs has ended."""
        if fd != self.wake:
            del self.outputs[fd]
            os.close(fd)

    def kill(self):
        """End COMMAND and all it started: every process but this one.

        The machine is COMMAND's alone, and what it left in another session
        would hold its output open.
        """
        if self.deadline is None:
            # for the log: what was it waiting for?
            kernel.write("/proc/sysrq-trigger", "w")
            self.deadline = time.monotonic() + KILL_GRACE
            _signal_all(signal.SIGTERM)

    def finished(self):
        """Reap; True when COMMAND has ended and its output is read."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake, 512)
        self._reap()
        if self.deadline and time.monotonic() > self.deadline:
            _signal_all(signal.SIGKILL)
        if self.status is None:
            return False
        return not self._pending()

    def _reap(self):
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if pid == self.pid:
                    code = os.waitstatus_to_exitcode(status)
                    self.status = code if code >= 0 else 128 - code

    def _pending(self):
        fds = [fd for fd in self.outputs if fd != self.wake]
        return bool(fds and select.select(fds, [], [], 0)[0])


def _child_wakeup():
    """A descriptor that becomes readable when a child ends."""
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    theirs.detach()
    return ours.detach()


def _signal_all(signum):
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signum)


def main(device):
    """Serve one run, then wait to be switched off."""
    agent = Agent(open_channel(device))
    agent.send("H")
    config = agent.wait_config()
    os.makedirs(FOLDER)
    socket.sethostname("lab")
    lab = Lab(config)
    if agent.set_up(lab):
        status = agent.run(config, lab.environment())
        agent.send("P", b"leaks")
        leaks.scan(config["out"])
        agent.send("X", b"%d" % status)
    for manager in lab.managers:
        manager.keep_log(config["out"])
    os.sync()
    agent.send("D")
    while True:
        signal.pause()
