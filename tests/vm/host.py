# SPDX-License-Identifier: GPL-2.0
"""Which Debian packages does this machine lack, and what may a build see?"""

import contextlib
import os
import shutil
import subprocess

from .errors import LabError

HERE = os.path.dirname(os.path.abspath(__file__))
STATUS = "/var/lib/dpkg/status"


def wanted():
    """The names in the list that bootstrap.sh installs from."""
    with open(os.path.join(HERE, "packages"), encoding="ascii") as file:
        words = [line.split("#")[0].strip() for line in file]
    return [word for word in words if word]


def missing(more=()):
    """Those not installed, by dpkg's own book, without starting dpkg.

    Of that list and of @more.
    """
    with open(STATUS, "rb") as file:
        book = b"\n" + file.read()
    return [name for name in (*wanted(), *more)
            if b"\nPackage: %s\nStatus: install ok installed\n"
            % name.encode() not in book]


@contextlib.contextmanager
def build_environment(folder):
    """The environment of a build in @folder.

    What a calling make has set is none of its business, and the compiler's
    temporary files must go the way of the folder when the build is killed.
    """
    kept = ("PATH", "HOME", "LANG")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    scratch = os.path.join(folder, ".scratch")
    os.mkdir(scratch)
    yield dict(env, LC_ALL="C", TMPDIR=scratch)
    shutil.rmtree(scratch, ignore_errors=True)


def prepare(*more):
    """Install what is missing; costs one read when nothing is."""
    if not missing(more):
        return
    done = subprocess.run([os.path.join(HERE, "bootstrap.sh"), *more],
                          check=False)
    if done.returncode:
        raise LabError("packages", "could not install " +
                       " ".join(missing(more)))
