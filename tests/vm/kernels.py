# SPDX-License-Identifier: GPL-2.0
"""Which kernels are there?"""

from .cross import Cross
from .debian import Debian
from .uml import Uml

KERNELS = {kernel.name: kernel for kernel in (
    Debian("stock", "newest Debian kernel of this release, QEMU"),
    Debian("6.1", "Debian 12's kernel, QEMU", "bookworm", "6.1"),
    Debian("6.12", "Debian 13's kernel, QEMU", "trixie", "6.12"),
    Debian("7.3", "kernel of Debian 13's backports, QEMU",
           "trixie-backports", "7.3"),
    Uml("uml", "User Mode Linux 7.3, release build, two CPUs"),
    Uml("kasan", "User Mode Linux 7.3 with KASAN and UBSAN, two CPUs"),
    Uml("debug", "User Mode Linux 7.3 with lockdep, KASAN, kmemleak, "
                 "one CPU"),
)}
DEFAULT = "uml"
# modules are built for these, and no machine starts them
CROSS = {kernel.name: kernel for kernel in (
    Cross("arm64", "arm64", "aarch64-linux-gnu", "pages of 64 KiB"),
    Cross("s390x", "s390", "s390x-linux-gnu", "big-endian"),
)}


def listing():
    """The lines of `tests/lab kernels`."""
    return ["%-6s %s" % (name, kernel.state())
            for name, kernel in KERNELS.items()]
