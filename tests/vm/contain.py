# SPDX-License-Identifier: GPL-2.0
"""How does everything end when the lab ends, in whatever way?

A lab starts compilers, package tools and machines, each with processes of
its own. Three processes see to it that none outlives the lab, not even after
SIGKILL:

    caller ---+--- janitor          removes temporary folders at the end
              +--- first (pid 1)    of a process id namespace of its own
                     +--- worker    the lab proper and all it starts

`first` dies with the caller (parent death signal), and the kernel then kills
all of the namespace. The janitor holds the reading end of a pipe whose
writing end only the caller has; at its end of file it waits until `first` is
gone and removes what carries this lab's token in the cache's temporary
folder.
"""

import ctypes
import os
import select
import signal
import sys
import traceback

from . import cache
from .errors import EXIT_SETUP, Interrupted

CLONE_NEWPID = 0x20000000
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    """Have the kernel kill this process when its parent dies."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def contained(work):
    """Run work() as described above; return its exit status."""
    lifeline_out, lifeline_in = os.pipe()
    janitor = _fork(_janitor, lifeline_out, lifeline_in)
    os.close(lifeline_out)
    if _libc.unshare(CLONE_NEWPID):
        print("lab: process namespace: %s (the lab must run as root)"
              % os.strerror(ctypes.get_errno()), file=sys.stderr)
        os.close(lifeline_in)
        os.waitpid(janitor, 0)
        return EXIT_SETUP
    start_out, start_in = os.pipe()
    caught = []
    first = _fork(_first, work, start_out, start_in, lifeline_in)
    _forward_signals(first, caught)
    os.write(lifeline_in, b"%d\n" % first)
    os.close(start_out)
    os.write(start_in, b"x")
    status = _wait(first)
    os.close(lifeline_in)
    _wait(janitor)
    return 128 + caught[0] if caught else status


def _fork(body, *args):
    pid = os.fork()
    if pid:
        return pid
    status = EXIT_SETUP
    try:
        status = body(*args)
    except Exception as err:  # pylint: disable=broad-exception-caught
        # a fault of the lab's own: still one line
        where = traceback.extract_tb(err.__traceback__)[-1]
        print("lab: internal fault: %s:%d: %r" % (where.filename,
                                                  where.lineno, err),
              file=sys.stderr, flush=True)
        if os.environ.get("LAB_TRACE"):
            traceback.print_exc()
    finally:
        os._exit(status)


def _wait(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xff


def _forward_signals(first, caught):
    def handler(signum, _frame):
        caught.append(signum)
        os.kill(first, signal.SIGTERM)

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, handler)


def _janitor(lifeline_out, lifeline_in):
    os.close(lifeline_in)
    os.setpgid(0, 0)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    # a caller that reads the lab's output to its end must not wait for us
    devnull = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(devnull, fd)
    line = os.read(lifeline_out, 32)
    first = _pidfd(int(line)) if line else None
    while os.read(lifeline_out, 32):
        pass
    if first is not None:
        select.select([first], [], [])
    cache.remove_temporaries()
    return 0


def _pidfd(pid):
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _first(work, start_out, start_in, lifeline_in):
    os.close(lifeline_in)
    os.close(start_in)
    die_with_parent()
    # end of file: the caller died before the line above took effect
    if not os.read(start_out, 1):
        return EXIT_SETUP
    os.close(start_out)
    worker = _fork(_worker, work)
    for signum in (signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(worker, signal.SIGTERM))
    while True:
        pid, status = os.wait()
        if pid == worker:
            return os.waitstatus_to_exitcode(status) & 0xff


def _worker(work):
    def handler(signum, _frame):
        raise Interrupted(signum)

    # the terminal's SIGINT reaches the caller too, who passes it on once
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, handler)
    try:
        return work()
    except Interrupted as err:
        return 128 + err.signum
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
