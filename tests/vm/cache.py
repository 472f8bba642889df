# SPDX-License-Identifier: GPL-2.0
"""What was made before, and who may make it now?

Everything the lab fetches or builds lives in one folder, each entry under a
name that says what it was made from. An entry is made in a temporary folder
and renamed into place when complete, under a lock that dies with its holder:
so an entry that is there is whole, and two labs never make the same one.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import time

# children inherit it, so the janitor knows what its lab made
TOKEN = "%x-%x" % (os.getpid(), time.time_ns())
# a lab in another container may use the same cache and be invisible from here
ORPHAN_SECONDS = 86400


def root():
    """The cache's folder."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "ib_ipoib")


def path(*parts):
    """A path in the cache."""
    return os.path.join(root(), *parts)


def say(text):
    """Tell the user what takes time."""
    print("lab: " + text, file=sys.stderr, flush=True)


def temporary(name):
    """A new empty folder that vanishes with this lab."""
    where = path("tmp", "%s.%s" % (name, TOKEN))
    os.makedirs(where)
    return where


def remove_temporaries():
    """Remove every temporary folder of this lab, and what is long orphaned.

    Orphans are left only where lab and janitor were killed together.
    """
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(path("tmp")):
            if name.endswith("." + TOKEN) or _orphaned(name):
                shutil.rmtree(path("tmp", name), ignore_errors=True)


def _orphaned(name):
    pid = name.rpartition(".")[2].partition("-")[0]
    with contextlib.suppress(OSError, ValueError):
        age = time.time() - os.stat(path("tmp", name)).st_mtime
        return age > ORPHAN_SECONDS and \
            not os.path.exists("/proc/%d" % int(pid, 16))
    return False


@contextlib.contextmanager
def lock(name):
    """Hold the lock called @name; the kernel drops it with its holder."""
    os.makedirs(path("locks"), exist_ok=True)
    with open(path("locks", name), "w", encoding="ascii") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another lab that makes " + name)
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def entry(kind, name, make):
    """The folder kind/name, made by make(folder) when it is not there."""
    where = path(kind, name)
    if os.path.isdir(where):
        os.utime(where)
        return where
    with lock(("%s-%s" % (kind, name)).replace("/", "-")):
        if not os.path.isdir(where):
            _make_entry(kind, name, make)
    return where


def _make_entry(kind, name, make):
    made = temporary(name)
    try:
        make(made)
        os.makedirs(path(kind), exist_ok=True)
        os.rename(made, path(kind, name))
    finally:
        shutil.rmtree(made, ignore_errors=True)


def forget_unused(kind, days):
    """Remove entries of @kind that no lab has used for @days."""
    limit = time.time() - days * 86400
    for name in os.listdir(path(kind)):
        where = path(kind, name)
        if os.stat(where).st_mtime < limit:
            shutil.rmtree(where, ignore_errors=True)


def digest(*parts):
    """A short name for the content of @parts (bytes or text)."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(b"%d:" % len(data))
        total.update(data)
    return total.hexdigest()[:16]


def digest_files(base, names):
    """A short name for the content of files @names under @base."""
    parts = []
    for name in sorted(names):
        with open(os.path.join(base, name), "rb") as file:
            parts += [name, file.read()]
    return digest(*parts)
