# SPDX-License-Identifier: GPL-2.0
"""How is a User Mode Linux kernel built from Debian's kernel source?"""

import os
import shutil

from .kernel import IPOIB, set_stock_aside, write_word
from .source import FromSource, Tree

KEPT_ARCHES = {"um", "x86", "Kconfig"}


class UmlTree(Tree):
    """A tree that is built whole, and what is taken out of it."""

    def build(self):
        self.make("-j%d" % (os.cpu_count() + 1))
        self.harvest()

    def harvest(self):
        """Take out what is used and clear the rest away.

        The stock driver's source goes first: nobody is to come across it.
        """
        self.make("modules_install",
                  "INSTALL_MOD_PATH=" + os.path.join(self.folder, "modules"))
        shutil.move(os.path.join(self.tree, "linux"),
                    os.path.join(self.folder, "image"))
        release, = os.listdir(os.path.join(self.folder, "modules/lib/modules"))
        write_word(self.folder, "release", release)
        set_stock_aside(self.folder, release)
        shutil.rmtree(os.path.join(self.tree, IPOIB))
        self.prune(KEPT_ARCHES)


class Uml(FromSource):
    """User Mode Linux, ready to start."""

    machine = "uml"
    how = "not built yet; its first run builds it (minutes)"
    words = ["ARCH=um"]
    tree = UmlTree
    common = ("base",)

    def what_is_made(self, version):
        return "building the `%s` kernel %s: about %d minutes on two CPUs" % (
            self.name, version, 7 if self.name == "debug" else 5)
