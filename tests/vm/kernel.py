# SPDX-License-Identifier: GPL-2.0
"""What is in the folder of a kernel that is ready to start?

The same for each origin:

    image          what the machine starts (vmlinux of UML, bzImage of Debian)
    build          the tree that external modules are built against
    modules        lib/modules/<release>, with its dependency lists; those the
                   lab loads by path are not compressed
    stock          the kernel's own ib_ipoib.ko, kept out of `modules` so that
                   nothing loads it by itself
    release        what uname -r says
    version        the version of the Debian package it was made from
"""

import glob
import os
import re
import subprocess

from . import debs, roots
from .errors import LabError

# what fabric and drivers build on
CORE_MODULES = ["ib_umad", "ib_cm", "ib_uverbs"]
IPOIB = "drivers/infiniband/ulp/ipoib"


class Kernel:
    """A kernel that is ready to start."""

    def __init__(self, name, folder, recipe):
        self.name = name
        self.folder = folder
        self.machine = recipe.machine
        self.words = recipe.words
        # the Debian release whose compiler it was built with
        self.tools = recipe.tools()
        self.release = self._word("release")
        self.version = self._word("version")

    def _word(self, name):
        with open(self.path(name), encoding="ascii") as file:
            return file.read().strip()

    def path(self, *parts):
        """A path in the kernel's folder."""
        return os.path.join(self.folder, *parts)

    @property
    def image(self):
        """What the machine starts."""
        return self.path("image")

    @property
    def modules(self):
        """The folder that modprobe looks into."""
        return self.path("modules", "lib", "modules", self.release)

    def make(self, compiler=None):
        """The start of a make command for external modules.

        With @compiler, or by default the kernel's own.
        """
        argv = ["make", *self.words, "-C", self.path("build")]
        if compiler and compiler.release:
            return roots.inside(compiler.release, [
                *argv, "CC=" + compiler.name, *compiler.config])
        if self.tools != debs.codename():
            return roots.inside(self.tools, argv)
        return argv

    def config(self, symbol):
        """Whether the kernel was built with CONFIG_@symbol."""
        with open(self.path("build/include/config/auto.conf"),
                  encoding="utf-8") as file:
            found = re.search(r"^CONFIG_%s=[ym]$" % symbol, file.read(), re.M)
        return bool(found)

    @property
    def stock(self):
        """The kernel's own ib_ipoib.ko."""
        return self.path("stock", "ib_ipoib.ko")

    def with_dependencies(self, names):
        """Paths of modules @names and of all they need, in loading order."""
        return with_dependencies(self.modules, names)


def with_dependencies(folder, names):
    """The same, below the modules' folder @folder.

    What is built into the kernel is no module, and left out.
    """
    needs = {}
    with open(os.path.join(folder, "modules.dep"), encoding="utf-8") as file:
        for line in file:
            path, _, deps = line.partition(":")
            needs[_module_name(path)] = (path, deps.split())
    order = []
    for name in names:
        path, deps = needs.get(name, (None, ()))
        order += [dep for dep in reversed(deps) if dep not in order]
        order += [path] if path and path not in order else []
    return [os.path.join(folder, path) for path in order]


def _module_name(path):
    return os.path.basename(path).split(".")[0].replace("-", "_")


# -- making such a folder ----------------------------------------------------

def write_word(folder, name, word):
    """Note one fact in a kernel's folder."""
    with open(os.path.join(folder, name), "w", encoding="ascii") as file:
        file.write(word + "\n")


def list_dependencies(base, release):
    """Have depmod write the lists of the modules of @release in @base."""
    done = subprocess.run(["/sbin/depmod", "-b", base, release], check=False,
                          capture_output=True, text=True)
    if done.returncode:
        raise LabError("kernel modules", done.stderr)


def set_stock_aside(folder, release):
    """Keep the kernel's own ib_ipoib.ko where nothing loads it by itself."""
    base = os.path.join(folder, "modules")
    where = os.path.join(base, "lib/modules", release)
    found, = glob.glob(os.path.join(where, "kernel", IPOIB, "ib_ipoib.ko"))
    os.mkdir(os.path.join(folder, "stock"))
    os.rename(found, os.path.join(folder, "stock", "ib_ipoib.ko"))
    list_dependencies(base, release)
    for link in ("build", "source"):
        if os.path.islink(os.path.join(where, link)):
            os.unlink(os.path.join(where, link))
