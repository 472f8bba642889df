# SPDX-License-Identifier: GPL-2.0
"""How does Debian's kernel source become a tree that modules build against?"""

import glob
import os
import shutil
import subprocess

from . import cache, debs, host
from .errors import LabError
from .kernel import write_word
from .recipe import Recipe

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = "linux-source-7.3"
SUITE = "trixie-backports"

# what building external modules needs of a kernel tree; the rest is cleared
KEPT_OF_TREE = {"Makefile", "Kbuild", "Kconfig", ".config", "Module.symvers",
                "include", "scripts", "arch", "COPYING", "System.map",
                "tools"}


class Tree:
    """The making of a kernel tree, its output in a log."""

    # of the source, as tar's arguments; everything
    unpacked = ()

    def __init__(self, folder, log, env, recipe):
        self.folder = folder
        self.log = log
        self.env = env
        self.recipe = recipe
        self.tree = os.path.join(folder, "build")

    def run(self, step, argv, cwd=None, text=""):
        """Run one command of the build, with @text as its input."""
        self.log.flush()
        done = subprocess.run(argv, cwd=cwd, input=text, encoding="utf-8",
                              stdout=self.log, stderr=self.log,
                              env=self.env, check=False)
        if done.returncode:
            raise LabError("kernel build", "%s failed, see %s"
                           % (step, self.log.name))

    def unpack(self, deb):
        """Lay the source tree out, or what is wanted of it."""
        where = os.path.join(self.folder, "deb")
        debs.unpack(deb, where)
        tarball, = glob.glob(os.path.join(where, "usr/src/*.tar.xz"))
        os.mkdir(self.tree)
        self.run("unpacking", ["tar", "-I", "xz -T0", "-xf", tarball, "-C",
                               self.tree, "--strip-components=1",
                               *self.unpacked])
        shutil.rmtree(where)

    def mend(self, patches):
        """Apply each of @patches; one that does not fit ends the build."""
        for patch in patches:
            self.run("patching", ["patch", "-p1", "--fuzz=0"], cwd=self.tree,
                     text=patch)

    def make(self, *goals):
        """Run the kernel's make."""
        self.run("make " + " ".join(goals),
                 ["make", *self.recipe.words, *goals], cwd=self.tree)

    def configure(self, fragments):
        """tinyconfig with @fragments on top; all of them must take."""
        self.make("tinyconfig")
        config = os.path.join(self.tree, ".config")
        with open(config, "a", encoding="utf-8") as file:
            file.writelines(fragments)
        self.make("olddefconfig")
        with open(config, encoding="utf-8") as file:
            got = set(file.read().splitlines())
        lost = [line for line in wanted(fragments) if line not in got]
        if lost:
            raise LabError("kernel configuration",
                           "did not take: " + ", ".join(lost))

    def build(self):
        """Build what is wanted of the configured tree, clear the rest away."""
        raise NotImplementedError

    def prune(self, arches):
        """Leave of a built tree what external modules are built against.

        Of its architectures, @arches.
        """
        for base, kept in ((self.tree, KEPT_OF_TREE),
                           (os.path.join(self.tree, "arch"), arches)):
            for name in set(os.listdir(base)) - kept:
                where = os.path.join(base, name)
                if os.path.isdir(where) and not os.path.islink(where):
                    shutil.rmtree(where)
                else:
                    os.unlink(where)


class FromSource(Recipe):
    """A tree of Debian's kernel source package, configured by fragments."""

    # the class of its tree
    tree = Tree
    # fragments beside its own, by name
    common = ()

    def fragments(self):
        """The texts the configuration grows from."""
        return [_text(os.path.join(HERE, "config", name + ".config"))
                for name in (*self.common, self.name)]

    def patches(self):
        """What is mended in the source: nothing, or one text."""
        found = glob.glob(os.path.join(HERE, "config", self.name + ".patch"))
        return [_text(name) for name in found]

    def ingredients(self):
        """All texts that are put to the source."""
        return [*self.fragments(), *self.patches()]

    def pattern(self):
        return "%s-*-%s" % (self.name, cache.digest(*self.ingredients()))

    def tools(self):
        return debs.codename()

    def newer(self, kernel):
        suite = debs.Suite(SUITE)
        suite.refresh()
        version = suite.offered(SOURCE)
        if version in (None, kernel.version):
            return ""
        kept = [kernel.folder, *glob.glob(cache.path("source", "*"))]
        return "; %s is offered, remove %s to get it" % (version,
                                                         " and ".join(kept))

    def ensure(self):
        """The kernel, built when it is not there."""
        return self.ready() or self.build()

    def build(self):
        """Build it; another lab may be doing the same."""
        with cache.lock("build-" + self.name):
            kernel = self.ready()
            if kernel:
                return kernel
            deb, version = source_package()
            name = self.pattern().replace("*", version)
            cache.entry("kernels", name,
                        lambda folder: self.make_in(folder, deb, version))
        return self.ready()

    def make_in(self, folder, deb, version):
        """Make the kernel's folder from the source package @deb."""
        cache.say(self.what_is_made(version))
        log = cache.path("logs", "kernel-%s.log" % self.name)
        os.makedirs(os.path.dirname(log), exist_ok=True)
        with open(log, "w", encoding="utf-8") as out:
            with host.build_environment(folder) as env:
                tree = self.tree(folder, out, env, self)
                tree.unpack(deb)
                tree.mend(self.patches())
                tree.configure(self.fragments())
                tree.build()
        write_word(folder, "version", version)

    def what_is_made(self, version):
        """What to say before it is made, and how long that takes."""
        raise NotImplementedError


def source_package():
    """Debian's source package of the kernel: (path, version).

    What was fetched once is kept and used, whatever is offered now.
    """
    with cache.lock("source"):
        found = glob.glob(cache.path("source", "*", "*.deb"))
        if not found:
            found = [_fetch_source()]
    deb = max(found, key=os.path.getmtime)
    version = os.path.basename(deb).split("_")[1].replace("%3a", ":")
    return deb, version.replace(":", "~")


def _fetch_source():
    suite = debs.Suite(SUITE)
    suite.update()
    version = suite.offered(SOURCE)
    if not version:
        raise LabError("kernel source", "%s does not offer %s any more, but "
                       "%s" % (SUITE, SOURCE, suite.newest("linux-source-")))
    where = cache.entry("source", version.replace(":", "%3a"),
                        lambda to: suite.fetch(SOURCE, version, to))
    return glob.glob(os.path.join(where, "*.deb"))[0]


def _text(name):
    with open(name, encoding="ascii") as file:
        return file.read()


def wanted(fragments):
    """How .config is to say each option; a later fragment has the last word.
    """
    said = {}
    for line in "\n".join(fragments).splitlines():
        name, _, value = line.partition("=")
        if line.startswith("CONFIG_"):
            said[name] = "# %s is not set" % name if value == "n" else line
    return said.values()
