# SPDX-License-Identifier: GPL-2.0
"""How is a kernel found in the cache, and is a newer one offered?"""

import glob
import os

from . import cache
from .errors import LabError
from .kernel import Kernel


def _made(folder):
    """When a kernel was made; its folder itself is touched by each use."""
    return os.path.getmtime(os.path.join(folder, "version"))


class Recipe:
    """How one kernel is made and found."""

    # what starts it: a key of machines.MACHINES
    machine = ""
    # what every make command in its tree says
    words = ()
    # how it comes here when it is not there
    how = ""

    def __init__(self, name, what):
        self.name = name
        self.what = what

    def tools(self):
        """The Debian release whose compiler builds its modules."""
        raise NotImplementedError

    def pattern(self):
        """The name of this kernel's entries, as a glob."""
        raise NotImplementedError

    def ensure(self):
        """The kernel, fetched or built when it is not there."""
        raise NotImplementedError

    def newer(self, kernel):
        """What to say of a version offered that is not @kernel's, if any."""
        raise NotImplementedError

    def entries(self):
        """Folders of this kernel in the cache, the newest version last."""
        found = glob.glob(cache.path("kernels", self.pattern()))
        return sorted(found, key=_made)

    def ready(self):
        """The kernel from the cache, or None."""
        found = self.entries()
        return Kernel(self.name, found[-1], self) if found else None

    def state(self):
        """What `tests/lab kernels` shows."""
        kernel = self.ready()
        if not kernel:
            return "%s: %s" % (self.what, self.how)
        return "%s: ready, %s of package version %s%s" % (
            self.what, kernel.release, kernel.version,
            self._newer_if_known(kernel))

    def _newer_if_known(self, kernel):
        try:
            return self.newer(kernel)
        except LabError:
            # no lists of packages: nothing is known to be newer
            return ""
