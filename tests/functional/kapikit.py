# SPDX-License-Identifier: GPL-2.0
"""References on interfaces, and calls to them, as other modules make them."""

import contextlib
import os
import pathlib

from labkit import run, wait_until

FILE = pathlib.Path("/sys/kernel/debug/fabric_kapi")
PATIENCE = pathlib.Path("/proc/sys/net/core/netdev_unregister_timeout_secs")
MODULE = f"{os.environ.get('LAB_MODULES', '.')}/fabric_kapi.ko"


class Kapi:
    """The module's file; a host is the network namespace of its writer."""

    @staticmethod
    def _write(host, words):
        # `ip netns exec` would bring a /sys without debugfs
        run("nsenter", f"--net=/run/netns/host{host}", "sh", "-c",
            f"echo {words} > {FILE}")

    @staticmethod
    def _number(name):
        return int(dict(line.split() for line in
                        FILE.read_text().splitlines())[name])

    def link(self, host, name="ib0"):
        """What the interface's get_link answers without RTNL."""
        self._write(host, f"link {name}")
        return self._number("link")

    def forced(self):
        """References that were dropped without RTNL: nobody gave it back."""
        return self._number("forced")

    def held(self):
        return self._number("held")

    def drop(self):
        """Drop the reference as soon as RTNL is free."""
        FILE.write_text("drop")
        wait_until("the reference is dropped", lambda: not self.held())

    @contextlib.contextmanager
    def holding(self, host, name):
        """A reference on an interface meanwhile, or until drop()."""
        before = PATIENCE.read_text()
        # the lab takes it for a fault when the kernel tells of a reference
        PATIENCE.write_text("300")
        self._write(host, f"hold {name}")
        try:
            yield
        finally:
            if self.held():
                self.drop()
            PATIENCE.write_text(before)


@contextlib.contextmanager
def loaded():
    """The module, until the end."""
    run("insmod", MODULE)
    try:
        yield Kapi()
    finally:
        run("rmmod", "fabric_kapi")
