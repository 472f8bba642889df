# SPDX-License-Identifier: GPL-2.0
"""Where does the compiler of another Debian release come from?

Modules are built with the compiler that their kernel was built with, and its
build tools need their own release's C library. So each other release gets a
root file system in the cache, made once, and builds run in it. A build sees
there the cache at its usual path, and nothing else of this machine.
"""

import os

from . import cache, debs, host, mounts
from .compilers import COMPILERS

HERE = os.path.dirname(os.path.abspath(__file__))
INSIDE = os.path.join(HERE, "inroot.sh")

# gcc is each release's own; W=1 has perl read the comments
PACKAGES = ["gcc", "kmod", "libelf-dev", "make", "perl"]
# what nobody reads there
LEFT_OUT = ["/usr/share/%s/*" % name for name in
            ("doc", "info", "locale", "man")]


def inside(release, argv):
    """@argv as a command that runs with the tools of @release."""
    return [*mounts.own(), "/bin/sh", INSIDE, ensure(release), cache.root(),
            *argv]


def ensure(release):
    """The root file system of @release, made when it is not there."""
    packages = PACKAGES + [compiler.name for compiler in COMPILERS.values()
                           if compiler.release == release]
    name = "%s-%s" % (release, cache.digest(*packages, *LEFT_OUT))
    where = cache.entry("roots", name,
                        lambda folder: _make(folder, release, packages))
    return os.path.join(where, "root")


def _make(folder, release, packages):
    cache.say("making a root file system of %s to build modules in: about a "
              "minute" % release)
    argv = ["--quiet", "--mode=root", "--variant=apt",
            "--include=" + ",".join(packages)]
    argv += ["--dpkgopt=path-exclude=" + path for path in LEFT_OUT]
    argv += ["--aptopt=" + option for option in debs.proxies()]
    # nothing it mounts may be seen by who clears up after a lab was killed
    with host.build_environment(folder) as env:
        debs.run("root file system of " + release,
                 [*mounts.own(), "mmdebstrap", *argv, release,
                  os.path.join(folder, "root"), debs.mirror()], env=env)
