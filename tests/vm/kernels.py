# SPDX-License-Identifier: GPL-2.0
"""Which kernels are there, and how is each made?

A kernel in the cache is a folder with a fixed inside, whatever its origin:

    image          what the machine starts (vmlinux of UML, bzImage of Debian)
    build          the tree that external modules are built against
    modules        lib/modules/<release>, with its dependency lists
    stock          the kernel's own ib_ipoib.ko, kept out of `modules` so that
                   nothing loads it by itself
    release        what uname -r says
    version        the version of the Debian package it was made from
"""

import glob
import os
import re
import shutil
import subprocess

from . import cache, debs, host
from .errors import LabError, UsageError

HERE = os.path.dirname(os.path.abspath(__file__))
UML_SOURCE = "linux-source-7.3"
UML_SUITE = "trixie-backports"
IPOIB = "drivers/infiniband/ulp/ipoib"

# what building external modules needs of a kernel tree; the rest is cleared
KEPT_OF_TREE = {"Makefile", "Kbuild", "Kconfig", ".config", "Module.symvers",
                "include", "scripts", "arch", "COPYING", "System.map",
                "tools"}
KEPT_ARCHES = {"um", "x86", "Kconfig"}


class Kernel:
    """A kernel that is ready to start."""

    def __init__(self, name, folder, machine):
        self.name = name
        self.folder = folder
        self.machine = machine
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

    @property
    def make(self):
        """The start of a make command for external modules."""
        arch = ["ARCH=um"] if self.machine == "uml" else []
        return ["make", *arch, "-C", self.path("build")]

    def config(self, symbol):
        """Whether the kernel was built with CONFIG_@symbol."""
        with open(self.path("build/include/config/auto.conf"),
                  encoding="utf-8") as file:
            found = re.search(r"^CONFIG_%s=[ym]$" % symbol, file.read(), re.M)
        return bool(found)

    @property
    def stock(self):
        """The kernel's own ib_ipoib.ko."""
        return glob.glob(self.path("stock", "ib_ipoib.ko*"))[0]

    def with_dependencies(self, names):
        """Paths of modules @names and of all they need, in loading order."""
        needs = {}
        with open(os.path.join(self.modules, "modules.dep"),
                  encoding="utf-8") as file:
            for line in file:
                path, _, deps = line.partition(":")
                needs[_module_name(path)] = (path, deps.split())
        order = []
        for name in names:
            path, deps = needs[name]
            order += [dep for dep in reversed(deps) if dep not in order]
            order += [path] if path not in order else []
        return [os.path.join(self.modules, path) for path in order]


def _module_name(path):
    return os.path.basename(path).split(".")[0].replace("-", "_")


class Later:
    """A kernel that a later version of the lab brings."""

    def __init__(self, name, what):
        self.name = name
        self.what = what

    def ready(self):
        """Never here."""
        return None

    def state(self):
        """What `tests/lab kernels` shows."""
        return "%s: not in this version, comes later" % self.what

    def refuse(self):
        """Say so."""
        raise UsageError("--kernel %s is not in this version, comes later"
                         % self.name)


def _made(folder):
    """When a kernel was made; its folder itself is touched by each use."""
    return os.path.getmtime(os.path.join(folder, "version"))


class Recipe:
    """How one kernel is made and found."""

    # what starts it, a name in machines.MACHINES
    machine = ""

    def __init__(self, name, what):
        self.name = name
        self.what = what

    def refuse(self):
        """Nothing to refuse."""

    def source(self):
        """(package, suite) that it is made from."""
        raise NotImplementedError

    def entries(self):
        """Folders of this kernel in the cache, the newest version last."""
        found = glob.glob(cache.path("kernels", self.pattern()))
        return sorted(found, key=_made)

    def pattern(self):
        """The name of this kernel's entries, as a glob."""
        raise NotImplementedError

    def ready(self):
        """The kernel from the cache, or None."""
        found = self.entries()
        return Kernel(self.name, found[-1], self.machine) if found else None

    def state(self):
        """What `tests/lab kernels` shows."""
        kernel = self.ready()
        if not kernel:
            return "%s: %s" % (self.what, self.how)
        line = "%s: ready, %s of package version %s" % (
            self.what, kernel.release, kernel.version)
        newer = self.newer(kernel.version)
        if newer:
            line += "; %s is offered, remove %s to get it" % (newer,
                                                              kernel.folder)
        return line

    def newer(self, version):
        """A version that is offered now and is not the one at hand."""
        try:
            package, suite = self.source()
            offered = suite.offered(package) if suite.known() else None
        except LabError:
            # no lists of packages: nothing is known to be newer
            return None
        return offered if offered != version else None


def write_word(folder, name, word):
    """Note one fact in a kernel's folder."""
    with open(os.path.join(folder, name), "w", encoding="ascii") as file:
        file.write(word + "\n")


# -- User Mode Linux ---------------------------------------------------------

class Uml(Recipe):
    """Built from Debian's kernel source package."""

    machine = "uml"
    how = "not built yet; its first run builds it (minutes)"

    def fragments(self):
        """The texts the configuration grows from."""
        texts = []
        for name in ("base", self.name):
            with open(os.path.join(HERE, "config", name + ".config"),
                      encoding="ascii") as file:
                texts.append(file.read())
        return texts

    def pattern(self):
        return "%s-*-%s" % (self.name, cache.digest(*self.fragments()))

    def source(self):
        return UML_SOURCE, debs.Suite(UML_SUITE)

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
    suite = debs.Suite(UML_SUITE)
    suite.update()
    version = suite.offered(UML_SOURCE)
    if not version:
        raise LabError("kernel source", "%s does not offer %s any more"
                       % (UML_SUITE, UML_SOURCE))
    where = cache.entry("source", version.replace(":", "%3a"),
                        lambda to: suite.fetch(UML_SOURCE, version, to))
    return glob.glob(os.path.join(where, "*.deb"))[0]


class TreeBuild:
    """One build of a kernel tree, its output in a log."""

    def __init__(self, folder, log, env):
        self.folder = folder
        self.log = log
        self.env = env
        self.tree = os.path.join(folder, "build")

    def run(self, step, argv, cwd=None):
        """Run one command of the build."""
        self.log.flush()
        done = subprocess.run(argv, cwd=cwd, stdin=subprocess.DEVNULL,
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


def _wanted(fragments):
    for line in "\n".join(fragments).splitlines():
        name, _, value = line.partition("=")
        if line.startswith("CONFIG_"):
            yield "# %s is not set" % name if value == "n" else line


def set_stock_aside(folder, release):
    """Keep the kernel's own ib_ipoib.ko where nothing loads it by itself."""
    base = os.path.join(folder, "modules")
    where = os.path.join(base, "lib/modules", release)
    found, = glob.glob(os.path.join(where, "kernel", IPOIB, "ib_ipoib.ko*"))
    os.mkdir(os.path.join(folder, "stock"))
    shutil.move(found, os.path.join(folder, "stock"))
    done = subprocess.run(["/sbin/depmod", "-b", base, release], check=False,
                          capture_output=True, text=True)
    if done.returncode:
        raise LabError("kernel modules", done.stderr)
    for link in ("build", "source"):
        if os.path.islink(os.path.join(where, link)):
            os.unlink(os.path.join(where, link))


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


# -- Debian's own kernels ----------------------------------------------------

class Debian(Recipe):
    """A kernel of the machine's own release, straight from its packages."""

    machine = "qemu"
    how = "not fetched yet; its first run does"
    meta = "linux-image-amd64"

    def pattern(self):
        return "debian-%s-*" % debs.codename()

    def source(self):
        suite = debs.Own()
        images = [name for name in suite.depends(self.meta)
                  if name.startswith("linux-image-")]
        return (images or [self.meta])[0], suite

    def refuse(self):
        """Only the kernel of the machine's own release, for now."""
        if self.name == "6.1" and debs.codename() != "bookworm":
            raise UsageError("--kernel 6.1 is not in this version on a "
                             "machine of another release, comes later")

    def ensure(self):
        """The kernel, fetched when it is not there."""
        return self.ready() or self.fetch()

    def fetch(self):
        """Fetch it; another lab may be doing the same."""
        with cache.lock("fetch-debian"):
            kernel = self.ready()
            if kernel:
                return kernel
            image, suite = self.source()
            suite.update()
            image, suite = self.source()
            version = suite.offered(image)
            if not version:
                raise LabError("kernel package", image + " is not offered")
            name = self.pattern().replace("*", version.replace(":", "~"))
            cache.entry("kernels", name,
                        lambda folder: self.make_in(folder, image, version))
        return self.ready()

    def make_in(self, folder, image, version):
        """Make the kernel's folder from packages of one @version."""
        release = image[len("linux-image-"):]
        suite = debs.Own()
        headers = "linux-headers-" + release
        packages = [image, headers] + [
            name for name in suite.depends(headers)
            if re.match(r"linux-headers-.*-common$|linux-kbuild-", name)]
        for package in packages:
            deb = suite.fetch(package, version, folder)
            debs.unpack(deb, folder)
            os.unlink(deb)
        arrange_debian(folder, release)
        write_word(folder, "release", release)
        write_word(folder, "version", version)


def arrange_debian(folder, release):
    """Give unpacked Debian packages the inside that Kernel expects."""
    os.rename(os.path.join(folder, "boot/vmlinuz-" + release),
              os.path.join(folder, "image"))
    os.mkdir(os.path.join(folder, "modules"))
    for name in ("lib", "usr/lib/modules"):
        if os.path.isdir(os.path.join(folder, name)):
            os.rename(os.path.join(folder, name),
                      os.path.join(folder, "modules", "lib"))
            break
    set_stock_aside(folder, release)
    headers = "usr/src/linux-headers-" + release
    os.symlink(headers, os.path.join(folder, "build"))
    # the package's Makefile names its other half by its installed path
    makefile = os.path.join(folder, headers, "Makefile")
    with open(makefile, encoding="utf-8") as file:
        text = file.read()
    here = "include $(dir $(lastword $(MAKEFILE_LIST)))../"
    with open(makefile, "w", encoding="utf-8") as file:
        file.write(text.replace("include /usr/src/", here))


# -- all of them -------------------------------------------------------------

KERNELS = {kernel.name: kernel for kernel in (
    Debian("stock", "newest Debian kernel of this release, QEMU"),
    Debian("6.1", "Debian 12's kernel, QEMU"),
    Later("6.12", "Debian 13's kernel, QEMU"),
    Later("7.3", "Debian's backported kernel, QEMU"),
    Uml("uml", "User Mode Linux 7.3, release build, two CPUs"),
    Later("kasan", "User Mode Linux 7.3 with KASAN and UBSAN, two CPUs"),
    Uml("debug", "User Mode Linux 7.3 with lockdep, KASAN, kmemleak, "
                 "one CPU"),
)}
DEFAULT = "uml"


def listing():
    """The lines of `tests/lab kernels`."""
    return ["%-6s %s" % (name, kernel.state())
            for name, kernel in KERNELS.items()]
