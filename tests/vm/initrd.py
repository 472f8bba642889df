# SPDX-License-Identifier: GPL-2.0
"""How does a machine find its first process?

User Mode Linux starts it from the host's file system. QEMU's kernels get an
initramfs with it and the modules that reach the host's file system.
"""

import glob
import os
import stat
import subprocess

from . import cache
from .errors import LabError

HERE = os.path.dirname(os.path.abspath(__file__))

# in the order in which they can be inserted
MODULES = ["virtio_ring", "virtio", "virtio_pci_modern_dev",
           "virtio_pci_legacy_dev", "virtio_pci", "virtio_console", "netfs",
           "fscache", "9pnet", "9pnet_virtio", "9p", "overlay"]


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


def module_path(kernel, name):
    """Where module @name of @kernel is, or None."""
    pattern = os.path.join(kernel.modules, "kernel", "**", name + ".ko")
    found = glob.glob(pattern, recursive=True)
    return found[0] if found else None


def pack(file, init, kernel):
    """Write the archive."""
    archive = Archive(file)
    archive.add_file("init", init, 0o755)
    archive.add("modules", stat.S_IFDIR | 0o755)
    archive.add("tmp", stat.S_IFDIR | 0o755)
    for number, name in enumerate(MODULES):
        path = module_path(kernel, name)
        # some are built into some kernels
        if path:
            archive.add_file("modules/%02d-%s.ko" % (number, name), path,
                             0o644)
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
