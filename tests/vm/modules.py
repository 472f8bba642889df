# SPDX-License-Identifier: GPL-2.0
"""How do the checkout's sources become modules for a kernel?

Each part is copied to the cache and built there, under a name that says
sources and kernel: the checkout stays clean, two kernels never collide, and
what was built once is not built again.
"""

import glob
import os
import re
import shutil
import subprocess

from . import cache, host
from .compilers import OWN
from .errors import LabError

# entries that no lab has used for so long are cleared away
KEEP_DAYS = 14


class Part:
    """Sources that are built together."""

    def __init__(self, name, patterns, folder, modules, needs=None):
        self.name = name
        # the files, as globs from the top of the checkout
        self.patterns = patterns
        # where its Kbuild file is
        self.folder = folder
        # what comes out
        self.modules = modules
        # a kernel without this symbol has no use for it
        self.needs = needs

    def files(self, checkout):
        """Its source files, relative to the checkout."""
        return sorted(name for pattern in self.patterns
                      for name in glob.glob(pattern, root_dir=checkout)
                      if os.path.isfile(os.path.join(checkout, name)))

    def there(self, checkout):
        """Whether this checkout has it."""
        return os.path.isfile(os.path.join(checkout, self.folder, "Makefile"))


DRIVER_HEADERS = ["ipoib*.h", "compat/*", "compat/*/*", "compat/*/*/*"]
PARTS = {part.name: part for part in (
    Part("fabric", ["tests/fabric/Makefile", "tests/fabric/*.[ch]"],
         "tests/fabric", ["ib_fabric.ko", "fabric_loop.ko", "fabric_ear.ko",
                          "fabric_post.ko", "fabric_misuse.ko",
                          "fabric_cm.ko", "fabric_kapi.ko"]),
    Part("driver", ["Makefile", "Kconfig", "ipoib*.c", *DRIVER_HEADERS],
         "", ["ib_ipoib.ko"]),
    Part("kunit", ["tests/kunit/*", "tests/fabric/*.h", "Makefile",
                   "ipoib*.c", *DRIVER_HEADERS],
         "tests/kunit", ["ipoib_kunit.ko"], needs="KUNIT"),
    Part("provoke", ["tests/vm/provoke/*"], "tests/vm/provoke",
         ["lab_provoke.ko", "lab_watchdog.ko"]),
)}


def build(part, kernel, checkout, log, reader=None):
    """The folder with @part's modules for @kernel; @log gets make's output.

    @reader is a compiler that is to read the sources with all its warnings on,
    and as errors.
    """
    files = part.files(checkout)
    # dpkg's tilde and colon confuse make in a path
    kind = os.path.join("modules", cache.digest(kernel.folder))
    sources = cache.digest_files(checkout, files)
    name = _entry(part, sources, kernel, reader)
    if not reader:
        # the kernel's own compiler makes the same of them with warnings on
        strict = _entry(part, sources, kernel, OWN)
        if os.path.isdir(cache.path(kind, strict)):
            name = strict
    more = reader.arguments() if reader else []

    def make(folder):
        _copy(checkout, files, folder)
        _make(part, [*kernel.make(reader), *more], folder, log)

    fresh = not os.path.isdir(cache.path(kind, name))
    if fresh:
        cache.say("building %s for %s" % (part.name, kernel.name))
    where = cache.entry(kind, name, make)
    if fresh:
        cache.forget_unused(kind, KEEP_DAYS)
    return os.path.join(where, part.folder)


def _entry(part, sources, kernel, reader):
    """The name under which a build is kept."""
    return "%s-%s" % (part.name, cache.digest(
        sources, kernel.folder, *(reader.arguments() if reader else []),
        reader.name if reader else ""))


def _copy(checkout, files, folder):
    for name in files:
        to = os.path.join(folder, name)
        os.makedirs(os.path.dirname(to), exist_ok=True)
        shutil.copyfile(os.path.join(checkout, name), to)


def _make(part, command, folder, log):
    where = os.path.join(folder, part.folder)
    argv = [*command, "M=" + where, "-j%d" % os.cpu_count(),
            # headers have no vmlinux to take type data from, or no tool
            "CONFIG_DEBUG_INFO_BTF_MODULES=", "modules"]
    with open(log, "w", encoding="utf-8") as out, \
            host.build_environment(folder) as env:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=out,
                              stderr=out, env=env, check=False)
    if done.returncode:
        raise LabError("building " + part.name, "%s (all of it in %s)"
                       % (_first_error(log), log))
    missing = [name for name in part.modules
               if not os.path.exists(os.path.join(where, name))]
    if missing:
        raise LabError("building " + part.name,
                       "made no " + ", ".join(missing))


def _first_error(log):
    with open(log, encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines()
    marks = re.compile(r"\berror:|\bERROR:|undefined!|No rule to make|"
                       r"\*\*\*|: Error \d")
    found = [line for line in lines if marks.search(line)]
    return (found or lines[-1:] or ["make failed"])[0]
