# SPDX-License-Identifier: GPL-2.0
"""How is a tree made to build modules of another architecture against?

Of Debian's kernel source, with the cross compilers of the machine's own
release. Nothing of it is started: what is learnt is what a compiler sees where
pages are larger, or where the first byte of a number is its highest.
"""

import os
import shutil

from . import host
from .kernel import IPOIB
from .source import SOURCE, FromSource, Tree

TOP = os.path.normpath(os.path.join(os.path.dirname(__file__), "../.."))
KCONFIG = os.path.join(TOP, "Kconfig")
# what configuring and preparing reads beside the architecture; of x86, the
# list of system calls that all are to have
MEMBERS = ["Kbuild", "Makefile", "arch/x86/entry/syscalls", "include",
           "kernel", "lib/vdso", "scripts", "tools/include"]


class CrossTree(Tree):
    """A tree that is prepared for external modules, and not built."""

    @property
    def unpacked(self):
        arch = "arch/" + self.recipe.arch
        # the stock driver's source stays where it is
        return ["--exclude=*/" + IPOIB, "--exclude=*/arch/*/boot/dts",
                "--wildcards", "*/Kconfig*",
                *["%s/%s" % (SOURCE, name) for name in (*MEMBERS, arch)]]

    def configure(self, fragments):
        """Configure it with this driver in the place of the stock one."""
        os.makedirs(os.path.join(self.tree, IPOIB))
        shutil.copy(KCONFIG, os.path.join(self.tree, IPOIB))
        super().configure(fragments)

    def build(self):
        self.make("-j%d" % (os.cpu_count() + 1), "modules_prepare")
        shutil.copy(os.path.join(self.tree, "include/config/kernel.release"),
                    os.path.join(self.folder, "release"))
        self.prune({self.recipe.arch, "Kconfig"})


class Cross(FromSource):
    """A tree of another architecture."""

    how = "not prepared yet; its first build does"
    tree = CrossTree
    common = ("cross",)

    def __init__(self, name, arch, compiler, what):
        super().__init__(name, what)
        # the kernel's name for it
        self.arch = arch
        self.package = "gcc-" + compiler
        # no kernel was built that could say which symbols it exports
        self.words = ["ARCH=" + arch, "CROSS_COMPILE=%s-" % compiler,
                      "KBUILD_MODPOST_WARN=1"]

    def ingredients(self):
        with open(KCONFIG, encoding="utf-8") as file:
            return [*super().ingredients(), file.read()]

    def ensure(self):
        host.prepare(self.package)
        return super().ensure()

    def what_is_made(self, version):
        return "preparing kernel %s for %s: half a minute" % (version,
                                                              self.name)
