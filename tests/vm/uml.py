# SPDX-License-Identifier: GPL-2.0
"""How is a User Mode Linux kernel built from Debian's kernel source?"""

import glob
import os
import shutil
import subprocess

from . import cache, debs, host
from .errors import LabError
from .kernel import IPOIB, set_stock_aside, write_word
from .recipe import Recipe

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = "linux-source-7.3"
SUITE = "trixie-backports"

# what building external modules needs of a kernel tree; the rest is cleared
KEPT_OF_TREE = {"Makefile", "Kbuild", "Kconfig", ".config", "Module.symvers",
                "include", "scripts", "arch", "COPYING", "System.map",
                "tools"}
KEPT_ARCHES = {"um", "x86", "Kconfig"}


class Uml(Recipe):
    """Built from Debian's kernel source package."""

    machine = "uml"
    how = "not built yet; its first run builds it (minutes)"

    def fragments(self):
        """The texts the configuration grows from."""
        return [_text(os.path.join(HERE, "config", name + ".config"))
                for name in ("base", self.name)]

    def patches(self):
        """What is mended in the source: nothing, or one text."""
        found = glob.glob(os.path.join(HERE, "config", self.name + ".patch"))
        return [_text(name) for name in found]

    def pattern(self):
        return "%s-*-%s" % (self.name, cache.digest(*self.fragments(),
                                                    *self.patches()))

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
        cache.say("building the `%s` kernel %s: about %d minutes on two CPUs"
                  % (self.name, version, 7 if self.name == "debug" else 5))
        log = cache.path("logs", "kernel-%s.log" % self.name)
        os.makedirs(os.path.dirname(log), exist_ok=True)
        with open(log, "w", encoding="utf-8") as out:
            with host.build_environment(folder) as env:
                build = TreeBuild(folder, out, env)
                build.unpack(deb)
                build.mend(self.patches())
                build.configure(self.fragments())
                build.make("-j%d" % (os.cpu_count() + 1))
                build.harvest()
        write_word(folder, "version", version)


def source_package():
    """Debian's source package of the kernel for UML: (path, version).

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


class TreeBuild:
    """One build of a kernel tree, its output in a log."""

    def __init__(self, folder, log, env):
        self.folder = folder
        self.log = log
        self.env = env
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
        """Lay the source tree out, without what no UML build reads."""
        where = os.path.join(self.folder, "deb")
        debs.unpack(deb, where)
        tarball, = glob.glob(os.path.join(where, "usr/src/*.tar.xz"))
        os.mkdir(self.tree)
        self.run("unpacking", ["tar", "-I", "xz -T0", "-xf", tarball, "-C",
                               self.tree, "--strip-components=1"])
        shutil.rmtree(where)

    def mend(self, patches):
        """Apply each of @patches; one that does not fit ends the build."""
        for text in patches:
            self.run("patching", ["patch", "-p1", "--fuzz=0"], cwd=self.tree,
                     text=text)

    def make(self, *goals):
        """Run the kernel's make."""
        self.run("make " + " ".join(goals),
                 ["make", "ARCH=um", *goals], cwd=self.tree)

    def configure(self, fragments):
        """tinyconfig with @fragments on top; all of them must take."""
        self.make("tinyconfig")
        config = os.path.join(self.tree, ".config")
        with open(config, "a", encoding="utf-8") as file:
            file.writelines(fragments)
        self.make("olddefconfig")
        with open(config, encoding="utf-8") as file:
            got = set(file.read().splitlines())
        lost = [line for line in _wanted(fragments) if line not in got]
        if lost:
            raise LabError("kernel configuration",
                           "did not take: " + ", ".join(lost))

    def harvest(self):
        """Take out what is used and clear the rest away."""
        self.make("modules_install",
                  "INSTALL_MOD_PATH=" + os.path.join(self.folder, "modules"))
        shutil.move(os.path.join(self.tree, "linux"),
                    os.path.join(self.folder, "image"))
        release, = os.listdir(os.path.join(self.folder, "modules/lib/modules"))
        write_word(self.folder, "release", release)
        set_stock_aside(self.folder, release)
        prune(self.tree)


def _text(name):
    with open(name, encoding="ascii") as file:
        return file.read()


def _wanted(fragments):
    for line in "\n".join(fragments).splitlines():
        name, _, value = line.partition("=")
        if line.startswith("CONFIG_"):
            yield "# %s is not set" % name if value == "n" else line


def prune(tree):
    """Leave of a built tree what external modules are built against.

    The stock driver's source goes first: nobody is to come across it.
    """
    shutil.rmtree(os.path.join(tree, IPOIB))
    for base, kept in ((tree, KEPT_OF_TREE),
                       (os.path.join(tree, "arch"), KEPT_ARCHES)):
        for name in set(os.listdir(base)) - kept:
            where = os.path.join(base, name)
            if os.path.isdir(where) and not os.path.islink(where):
                shutil.rmtree(where)
            else:
                os.unlink(where)
