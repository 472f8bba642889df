# SPDX-License-Identifier: GPL-2.0
"""How is one of Debian's own kernels fetched?

Straight from its packages, of the machine's own release or of another suite.
A suite moves on; what was fetched once is kept and serves.
"""

import lzma
import os
import re
import shutil

from . import cache, debs, initrd
from .errors import LabError
from .kernel import (CORE_MODULES, list_dependencies, set_stock_aside,
                     with_dependencies, write_word)
from .recipe import Recipe

META = "linux-image-amd64"
# what the lab loads without modprobe's help, and so without its unpacking
LOADED = [*initrd.MODULES, *CORE_MODULES, "ib_ipoib"]
FLAVOUR = re.compile(r"-(cloud|rt)-")


class Debian(Recipe):
    """A Debian kernel: of one @series, or the newest of @suite.

    No @suite means the machine's own release.
    """

    machine = "qemu"
    how = "not fetched yet; its first run does"

    def __init__(self, name, what, suite=None, series=None):
        super().__init__(name, what)
        self._suite = suite
        self.series = series

    @property
    def suite_name(self):
        """The suite it comes from."""
        return self._suite or debs.codename()

    def suite(self):
        """Where its packages come from."""
        own = self.suite_name == debs.codename()
        return debs.Own() if own else debs.Suite(self.suite_name)

    def tools(self):
        # backports are built with what their release has
        return self.suite_name.partition("-")[0]

    def pattern(self):
        # a digit, lest trixie's be looked for among trixie-backports'
        return "debian-%s-%s" % (self.suite_name, self.series + ".*"
                                 if self.series else "[0-9]*")

    def is_one(self, package):
        """Whether @package is an image of this series."""
        start = "linux-image-" + (self.series + "." if self.series else "")
        return package.startswith(start) and package.endswith("-amd64") and \
            not FLAVOUR.search(package)

    def image(self, suite):
        """The image package to fetch, or None.

        What the suite's users get by default; where that is of another series
        by now, what is left of this one.
        """
        image = default_image(suite)
        if image and self.is_one(image):
            return image
        left = [name for name in suite.names("linux-image-")
                if self.is_one(name) and suite.offered(name)]
        return max(left, key=debs.numbers, default=None)

    def newer(self, kernel):
        suite = self.suite()
        suite.refresh()
        image = default_image(suite)
        version = image and suite.offered(image)
        if version in (None, kernel.version):
            return ""
        if not self.is_one(image):
            return "; %s has moved on to %s, this one is kept" % (
                self.suite_name, version)
        return "; %s is offered, remove %s to get it" % (version,
                                                         kernel.folder)

    def ensure(self):
        """The kernel, fetched when it is not there."""
        return self.ready() or self.fetch()

    def fetch(self):
        """Fetch it; another lab may be doing the same."""
        with cache.lock("fetch-debian-" + self.suite_name):
            kernel = self.ready()
            if kernel:
                return kernel
            suite = self.suite()
            suite.update()
            image = self.image(suite)
            if not image:
                raise LabError("kernel package", self.not_offered(suite))
            version = suite.offered(image)
            name = "debian-%s-%s" % (self.suite_name,
                                     version.replace(":", "~"))
            cache.entry("kernels", name, lambda folder:
                        make_in(folder, suite, image, version))
        return self.ready()

    def not_offered(self, suite):
        """What to say where the suite has no image of this series."""
        image = default_image(suite)
        return "%s offers no %s any more, but %s" % (
            self.suite_name, self.series or META, image or "no other")


def default_image(suite):
    """The image package that users of @suite get, or None."""
    images = [name for name in suite.depends(META)
              if name.startswith("linux-image-")]
    return images[0] if images else None


# -- making the folder -------------------------------------------------------

def make_in(folder, suite, image, version):
    """Make the kernel's folder from its packages; the image's is @version.

    Its tools may be ahead of an image that still waits to be signed, and serve
    it all the same.
    """
    release = image[len("linux-image-"):]
    for package in parts(suite, release):
        deb = suite.fetch(package, suite.offered(package), folder)
        debs.unpack(deb, folder)
        os.unlink(deb)
    arrange(folder, release)
    write_word(folder, "release", release)
    write_word(folder, "version", version)


def parts(suite, release):
    """Packages that make up kernel @release and what modules need of it.

    Newer kernels spread the image over several packages.
    """
    common = release[:-len("-amd64")]
    wanted = re.compile(r"linux-(image|binary|modules|base|headers)-%s"
                        r"(-amd64|-common)|linux-kbuild-.*"
                        % re.escape(common))
    found = ["linux-image-" + release, "linux-headers-" + release]
    for package in found:
        found += [name for name in suite.depends(package)
                  if wanted.fullmatch(name) and name not in found]
    return found


def arrange(folder, release):
    """Give unpacked Debian packages the inside of a kernel's folder."""
    arrange_image(folder, release)
    arrange_modules(folder, release)
    set_stock_aside(folder, release)
    arrange_headers(folder, release)


def arrange_image(folder, release):
    """The image: in /boot, or where newer kernels have it."""
    places = ("boot/vmlinuz-" + release,
              "usr/lib/modules/%s/vmlinuz" % release)
    for place in places:
        if os.path.exists(os.path.join(folder, place)):
            os.rename(os.path.join(folder, place),
                      os.path.join(folder, "image"))
            return
    raise LabError("kernel package", release + " has no image in " +
                   " or ".join(places))


def arrange_modules(folder, release):
    """The modules, those the lab loads unpacked."""
    base = os.path.join(folder, "modules")
    os.makedirs(os.path.join(base, "lib/modules"))
    where = os.path.join(base, "lib/modules", release)
    for place in ("lib/modules", "usr/lib/modules"):
        if os.path.isdir(os.path.join(folder, place, release)):
            os.rename(os.path.join(folder, place, release), where)
    list_dependencies(base, release)
    for path in with_dependencies(where, LOADED):
        if path.endswith(".xz"):
            with lzma.open(path) as packed, \
                    open(path[:-len(".xz")], "wb") as plain:
                shutil.copyfileobj(packed, plain)
            os.unlink(path)


def arrange_headers(folder, release):
    """The headers, whose Makefile names their places once installed."""
    headers = "usr/src/linux-headers-" + release
    os.symlink(headers, os.path.join(folder, "build"))
    makefile = os.path.join(folder, headers, "Makefile")
    with open(makefile, encoding="utf-8") as file:
        text = file.read()
    here = "$(dir $(abspath $(lastword $(MAKEFILE_LIST))))"
    text = re.sub(r"(?m)^KBUILD_OUTPUT=.*", "KBUILD_OUTPUT:=" + here, text)
    text = text.replace("include /usr/src/", "include %s../" % here)
    with open(makefile, "w", encoding="utf-8") as file:
        file.write(text)
