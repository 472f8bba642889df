# SPDX-License-Identifier: GPL-2.0
"""Be a member of an IP group as a program of the RDMA connection manager is.

	cm_join.py ADDRESS GROUP	until it is killed; says "asked" first

ADDRESS is of the interface the group is on. What the kernel wants stands in its
include/uapi/rdma/rdma_user_cm.h.
"""

import ctypes
import os
import signal
import socket
import struct
import sys

CREATE_ID, BIND_IP, JOIN_IP_MCAST = 0, 2, 16
# a port space: groups as IPoIB makes them of IP addresses
PS_IPOIB = 0x0002


class Manager:
    """One identifier of the connection manager."""

    def __init__(self):
        self.file = os.open("/dev/infiniband/rdma_cm", os.O_RDWR)
        self.reply = ctypes.create_string_buffer(8)
        self.order(CREATE_ID, struct.pack("=QQHB5x", 0, self.where(),
                                          PS_IPOIB, 0))
        self.number = struct.unpack_from("=I", self.reply)[0]

    def where(self):
        """Where the kernel is to put its answer."""
        return ctypes.addressof(self.reply)

    def order(self, command, body):
        """A command; what it is answered is in self.reply."""
        head = struct.pack("=IHH", command, len(body), len(self.reply))
        os.write(self.file, head + body)

    def bind(self, address):
        """Choose the interface that has an address."""
        self.order(BIND_IP, struct.pack("=Q28sI", 0, sockaddr(address),
                                        self.number))

    def join(self, group):
        """Ask for a group."""
        self.order(JOIN_IP_MCAST, struct.pack("=QQ28sI", self.where(), 0,
                                              sockaddr(group), self.number))


def sockaddr(address):
    """An IPv4 address in the room of a struct sockaddr_in6."""
    return struct.pack("=H2x4s", socket.AF_INET, socket.inet_aton(address))


def main():
    """Join, and stay."""
    address, group = sys.argv[1:]
    manager = Manager()
    manager.bind(address)
    manager.join(group)
    print("asked", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
