# SPDX-License-Identifier: GPL-2.0
"""Which lanes are there: every day, and in all?"""

from lanes import (BuildLane, GuestLane, HostLane, KunitLane, LintLane,
                   MutantLane, shards)
from vm.compilers import CLANG

DRIVERS = ("none", "stock", "ours")
UML = ("uml", "kasan", "debug")
DEBIAN = ("6.1", "6.12", "7.3")
CROSS = ("arm64", "s390x")
# HCAs 1 and 2 do everything, 3 and 4 one family each, 0 nothing. And what only
# a few tests want.
OFFLOADS = {"label": "offloads",
            "hca": ["csum=on", "lso=on", "3:csum=ipv4", "3:lso=ipv4",
                    "4:csum=ipv6", "4:lso=ipv6", "0:csum=off", "0:lso=off",
                    "3:post_in_reset=on"]}
# Labs with options that some tests ask for, see functional/conftest.py.
VARIANTS = (
    {"label": "two-sms", "sm": 2, "mtu": 4092},
    {"label": "exclusive", "rdma_netns": "exclusive", "hca": ["4:ports=2"]},
    OFFLOADS,
)
# One machine for every shape of an HCA: what one host's has, the others' lack.
SHAPES = {"label": "shapes",
          "hca": ["dma=platform", "1:sg=1", "1:vectors=1", "1:mtu=2048",
                  "2:max_wr=256", "2:modify_cq=off", "2:ports=2",
                  "3:mcast_loopback=off", "3:pkeys=64", "3:sg=2", "4:mtu=2048",
                  "4:pkeys=1", "4:guids=1", "4:inline=0", "4:ports=2",
                  "1:vfs=3", "2:vfs=2", "4:local_lkey=off", "3:rxqs=4",
                  "4:vf=on"]}
# As many partitions as there are children where there are many.
KEYS = {"label": "keys", "hca": ["pkeys=1024"]}

# What takes as long as all others together, see functional/conftest.py.
APART = {"matrix": UML + DEBIAN, "failures": UML[1:], "unrest": UML + DEBIAN}

# What a developer runs all day; the stock driver is left to the full run.
EVERYDAY = [
    LintLane(),
    *[BuildLane(kernel) for kernel in UML + DEBIAN + CROSS],
    KunitLane("kasan"), KunitLane("debug"),
    *shards(3, GuestLane, "kasan", "ours", "short"),
    *shards(2, GuestLane, "kasan", "none", "short"),
    *[GuestLane("kasan", driver, "short", **more) for more in VARIANTS
      for driver in ("none", "ours")],
    GuestLane("debug", "none", "core"),
    *shards(2, GuestLane, "debug", "ours", "core"),
    *[GuestLane(kernel, "ours", "smoke") for kernel in DEBIAN],
    *shards(2, HostLane, "short"),
]

# Everything.
COMPLETE = [
    LintLane(),
    *[BuildLane(kernel) for kernel in UML + DEBIAN + CROSS],
    *[BuildLane(kernel, CLANG) for kernel in UML + DEBIAN],
    *[KunitLane(kernel) for kernel in UML],
    *[GuestLane(kernel, driver, "rest") for kernel in UML + DEBIAN
      for driver in DRIVERS],
    *[GuestLane(kernel, "ours", part) for part, there in APART.items()
      for kernel in there],
    *[GuestLane(kernel, driver, **more) for kernel in UML[1:] + DEBIAN
      for more in VARIANTS for driver in DRIVERS],
    *[GuestLane(kernel, driver, **SHAPES) for kernel in UML[1:] + DEBIAN
      for driver in ("stock", "ours")],
    *[GuestLane(kernel, "ours", **KEYS) for kernel in UML],
    HostLane(),
    MutantLane(),
]
