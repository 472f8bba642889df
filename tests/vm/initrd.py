# SPDX-License-Identifier: GPL-2.0
"""How does a machine find its first process?

User Mode Linux starts it from the host's file system. QEMU's kernels get an
initramfs with it and the modules that reach the host's file system.
"""

import os
import stat
import subprocess

from . import cache
from .errors import LabError

HERE = os.path.dirname(os.path.abspath(__file__))

# what the host's file system comes by; some are built into some kernels
MODULES = ["virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"]


def init_program():
    """The guest's first program, compiled once."""
    source = os.path.join(HERE, "guest", "init.c")
    name = cache.digest_files(os.path.dirname(source), ["init.c"])

    def make(folder):
        done = subprocess.run(
            ["gcc", "-static", "-O2", "-Wall", "-Wextra", "-o",
             os.path.join(folder, "init"), source],
            capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError("guest init", done.stderr)

    return os.path.join(cache.entry("init", name, make), "init")


def initramfs(kernel):
    """The initramfs of a kernel under QEMU, packed once."""
    name = cache.digest(init_program(), kernel.folder, *MODULES)

    def make(folder):
        with open(os.path.join(folder, "initrd"), "wb") as file:
            pack(file, init_program(), kernel)

    return os.path.join(cache.entry("initrd", name, make), "initrd")


def pack(file, init, kernel):
    """Write the archive."""
    archive = Archive(file)
    archive.add_file("init", init, 0o755)
    archive.add("modules", stat.S_IFDIR | 0o755)
    archive.add("tmp", stat.S_IFDIR | 0o755)
    for number, path in enumerate(kernel.with_dependencies(MODULES)):
        # they are inserted in the order of their names
        archive.add_file("modules/%02d-%s" % (number, os.path.basename(path)),
                         path, 0o644)
    archive.add("TRAILER!!!", 0)


class Archive:
    """A cpio archive in the `newc` form that the kernel unpacks."""

    def __init__(self, file):
        self.file = file
        self.inode = 0

    def add_file(self, name, source, mode):
        """Add the regular file @source as @name."""
        with open(source, "rb") as file:
            self.add(name, stat.S_IFREG | mode, file.read())

    def add(self, name, mode, data=b""):
        """Add one member."""
        self.inode += 1
        fields = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0,
                  len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields)
        self._write(head + name.encode() + b"\0")
        self._write(data)

    def _write(self, data):
        self.file.write(data + bytes(-len(data) % 4))
