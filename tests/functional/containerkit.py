# SPDX-License-Identifier: GPL-2.0
"""Containers: a user namespace, and a network namespace that belongs to it."""

import pathlib
import subprocess
import sys

from labkit import run, wait_until

# The errno of a write, 0 without one.
WRITE = """
import os, sys
try:
    with open(sys.argv[1], "wb", buffering=0) as file:
        file.write(sys.argv[2].encode())
except OSError as error:
    print(error.errno)
else:
    print(0)
"""


def write(prefix, path, text):
    """The errno of a write by who the prefix makes one."""
    return int(run(*prefix, sys.executable, "-c", WRITE, path, text).stdout)


class Container:
    """A network namespace that belongs to a user namespace."""

    FIRST, COUNT = 100000, 65536

    def __init__(self):
        self.process = subprocess.Popen(
            ["unshare", "--user", "--net", "--mount", "sleep", "infinity"],
            stdin=subprocess.DEVNULL)
        self.pid = self.process.pid
        try:
            self._fill()
        except BaseException:
            self.close()
            raise

    def _fill(self):
        proc = pathlib.Path(f"/proc/{self.pid}")
        wait_until("it is in its own namespaces", lambda: "sleep" in
                   (proc / "comm").read_text())
        for name in ("uid_map", "gid_map"):
            (proc / name).write_text(f"0 {self.FIRST} {self.COUNT}\n")
        self.run("mount", "-t", "sysfs", "none", "/sys")
        self.run("ip", "link", "set", "lo", "up")

    def close(self):
        """End it, and with it what is in it."""
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def prefix(self):
        """What makes of a command one of its root."""
        return ["nsenter", "-t", self.pid, "-U", "-n", "-m", "-S", "0", "-G",
                "0"]

    def run(self, *cmd, **kwargs):
        """Run a command as its root."""
        return run(*self.prefix, *cmd, **kwargs)

    def names(self):
        """Names of its interfaces but for the loopback."""
        return set(self.run("ls", "/sys/class/net").stdout.split()) - {"lo"}

    def write(self, file, text, name="ib0"):
        """The errno of its root's writing to a file of an interface."""
        return write(self.prefix, f"/sys/class/net/{name}/{file}", text)
