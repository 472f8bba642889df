# SPDX-License-Identifier: GPL-2.0
"""The little of rtnetlink that sets up hosts.

Two hundred hosts want a thousand changes: one message each, instead of one
`ip` process each, is what keeps the lab's start short under emulation.
"""

import os
import socket
import struct

RTM_NEWLINK = 16
RTM_NEWADDR = 20
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_CREATE_EXCL = 0x600
NLMSG_ERROR = 2
IFLA_IFNAME = 3
IFLA_NET_NS_FD = 28
IFA_ADDRESS = 1
IFA_LOCAL = 2
IFA_BROADCAST = 4
IFA_F_NODAD = 0x02
IFF_UP = 1


def attribute(kind, data):
    """One netlink attribute, padded."""
    length = 4 + len(data)
    return struct.pack("=HH", length, kind) + data + bytes(-length % 4)


class Route:
    """A socket to the namespace the caller is in."""

    def __init__(self):
        self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW,
                                  socket.NETLINK_ROUTE)
        self.sock.bind((0, 0))
        self.sequence = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def ask(self, kind, flags, body):
        """Send one request and wait for its acknowledgement."""
        self.sequence += 1
        flags |= NLM_F_REQUEST | NLM_F_ACK
        self.sock.send(struct.pack("=IHHII", 16 + len(body), kind, flags,
                                   self.sequence, 0) + body)
        answer = self.sock.recv(65536)
        _, kind, _, _, _, error = struct.unpack_from("=IHHIIi", answer)
        if kind == NLMSG_ERROR and error:
            raise OSError(-error, os.strerror(-error))

    def set_link(self, index, *attributes, up=False):
        """Change a link."""
        flag = IFF_UP if up else 0
        self.ask(RTM_NEWLINK, 0, struct.pack(
            "=BBHiII", socket.AF_UNSPEC, 0, 0, index, flag, flag)
            + b"".join(attributes))

    def move_link(self, index, namespace, name):
        """Move a link into a namespace under a new name."""
        self.set_link(index,
                      attribute(IFLA_NET_NS_FD, struct.pack("=i", namespace)),
                      attribute(IFLA_IFNAME, name.encode() + b"\0"))

    def add_address(self, index, text, prefix):
        """Add an address; IPv6 without duplicate detection."""
        family = socket.AF_INET6 if ":" in text else socket.AF_INET
        address = socket.inet_pton(family, text)
        attributes = attribute(IFA_LOCAL, address)
        attributes += attribute(IFA_ADDRESS, address)
        if family == socket.AF_INET:
            mask = 2 ** (32 - prefix) - 1
            last = struct.pack(">I", struct.unpack(">I", address)[0] | mask)
            attributes += attribute(IFA_BROADCAST, last)
        flags = IFA_F_NODAD if family == socket.AF_INET6 else 0
        self.ask(RTM_NEWADDR, NLM_F_CREATE_EXCL, struct.pack(
            "=BBBBI", family, prefix, flags, 0, index) + attributes)
