#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Print what an interface's queues count, as netdev-genl has it, in JSON.

	qstats_tool.py IFINDEX device|queue

One object for the whole interface, or one for each queue with its `type`, rx
or tx, and its `id`. Exits with 2 where the kernel has no such statistics.
"""

import json
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.dont_write_bytecode = True

from vm.guest.netlink import Netlink, attribute, u32, unpack  # noqa: E402 pylint: disable=wrong-import-position

# include/uapi/linux/netlink.h, genetlink.h
NETLINK_GENERIC = 16
GENL_ID_CTRL = 16
CTRL_CMD_GETFAMILY = 3
CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 1, 2
# include/uapi/linux/netdev.h
NETDEV_CMD_QSTATS_GET = 12
IFINDEX, QUEUE_TYPE, QUEUE_ID, SCOPE = 1, 2, 3, 4
SCOPE_QUEUE = 1
COUNTS = {8: "rx_packets", 9: "rx_bytes", 10: "tx_packets", 11: "tx_bytes"}


class Generic(Netlink):
    """The families of generic netlink."""

    protocol = NETLINK_GENERIC

    def family(self, name):
        """Number of a family."""
        self.send(GENL_ID_CTRL, 0, command(CTRL_CMD_GETFAMILY) + attribute(
            CTRL_ATTR_FAMILY_NAME, name.encode() + b"\0"))
        (_, body), = self.messages()
        return int.from_bytes(unpack(body[4:])[CTRL_ATTR_FAMILY_ID],
                              sys.byteorder)


def command(number):
    """Header of a request."""
    return struct.pack("=BBH", number, 1, 0)


def readable(fields):
    """One record by name."""
    number = {kind: int.from_bytes(value, sys.byteorder)
              for kind, value in fields.items()}
    found = {name: number[kind] for kind, name in COUNTS.items()
             if kind in number}
    if QUEUE_ID in number:
        found |= {"id": number[QUEUE_ID],
                  "type": ("rx", "tx")[number[QUEUE_TYPE]]}
    return found


def main(ifindex, scope):
    with Generic() as link:
        wanted = u32(IFINDEX, int(ifindex))
        if scope == "queue":
            wanted += attribute(SCOPE, struct.pack("=Q", SCOPE_QUEUE))
        try:
            records = list(link.dump(link.family("netdev"), command(
                NETDEV_CMD_QSTATS_GET) + wanted))
        except OSError:
            return 2
        print(json.dumps([readable(unpack(record[4:]))
                          for record in records]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
