# SPDX-License-Identifier: GPL-2.0
"""The little of netlink that sets up hosts.

Two hundred hosts want a thousand changes: one message each, instead of one
`ip` or `rdma` process each, is what keeps the lab's start short under
emulation.
"""

import os
import socket
import struct

RTM_NEWLINK = 16
RTM_GETLINK = 18
RTM_NEWADDR = 20
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_CREATE_EXCL = 0x600
NLM_F_DUMP = 0x300
NLMSG_ERROR = 2
NLMSG_DONE = 3
HEADER = 16
IFLA_ADDRESS = 1
IFLA_IFNAME = 3
IFLA_NET_NS_FD = 28
IFA_ADDRESS = 1
IFA_LOCAL = 2
IFA_BROADCAST = 4
IFA_F_NODAD = 0x02
IFF_UP = 1

# include/uapi/rdma/rdma_netlink.h
NETLINK_RDMA = 20
NLDEV = 5 << 10
NLDEV_GET = NLDEV | 1
NLDEV_SET = NLDEV | 2
NLDEV_PORT_GET = NLDEV | 5
NLDEV_SYS_SET = NLDEV | 7
NLDEV_DEV_INDEX = 1
NLDEV_DEV_NAME = 2
NLDEV_PORT_STATE = 12
NLDEV_NETNS_MODE = 66
NLDEV_NET_NS_FD = 68
# IBA 14.2.5.6
PORT_ACTIVE = 4


def attribute(kind, data):
    """One netlink attribute, padded."""
    length = 4 + len(data)
    return struct.pack("=HH", length, kind) + data + bytes(-length % 4)


def u8(kind, value):
    """An attribute of one byte."""
    return attribute(kind, struct.pack("=B", value))


def u32(kind, value):
    """An attribute of four bytes."""
    return attribute(kind, struct.pack("=I", value))


def unpack(body):
    """{kind: bytes} of a row of attributes."""
    found = {}
    while len(body) >= 4:
        length, kind = struct.unpack_from("=HH", body)
        found[kind] = body[4:length]
        body = body[(length + 3) & ~3:]
    return found


class Netlink:
    """A socket to the namespace the caller is in."""

    protocol = None

    def __init__(self):
        self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW,
                                  self.protocol)
        self.sock.bind((0, 0))
        self.sequence = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, kind, flags, body):
        """Send one request."""
        self.sequence += 1
        self.sock.send(struct.pack("=IHHII", HEADER + len(body), kind,
                                   flags | NLM_F_REQUEST, self.sequence, 0)
                       + body)

    def messages(self):
        """(kind, body) of each message of one answer's part."""
        data = self.sock.recv(65536)
        while len(data) >= HEADER:
            length, kind = struct.unpack_from("=IH", data)
            body = data[HEADER:length]
            error = struct.unpack_from("=i", body)[0] \
                if kind == NLMSG_ERROR else 0
            if error:
                raise OSError(-error, os.strerror(-error))
            yield kind, body
            data = data[(length + 3) & ~3:]

    def dump(self, kind, body):
        """Send one request and yield the body of each message it brings."""
        self.send(kind, NLM_F_DUMP, body)
        while True:
            for answer, said in self.messages():
                if answer == NLMSG_DONE:
                    return
                yield said

    def ask(self, kind, flags, body):
        """Send one request and wait for its acknowledgement."""
        self.send(kind, flags | NLM_F_ACK, body)
        for _ in self.messages():
            pass


class Route(Netlink):
    """Links and addresses."""

    protocol = socket.NETLINK_ROUTE

    def links(self):
        """{hardware address: index} of the links."""
        header = struct.pack("=BBHiII", socket.AF_UNSPEC, 0, 0, 0, 0, 0)
        found = {}
        for body in self.dump(RTM_GETLINK, header):
            index, = struct.unpack_from("=i", body, 4)
            address = unpack(body[len(header):]).get(IFLA_ADDRESS)
            if address:
                found[address] = index
        return found

    def set_link(self, index, *attributes, up=False):
        """Change a link."""
        flag = IFF_UP if up else 0
        self.ask(RTM_NEWLINK, 0, struct.pack(
            "=BBHiII", socket.AF_UNSPEC, 0, 0, index, flag, flag)
            + b"".join(attributes))

    def rename_link(self, index, name, *attributes):
        """Give a link, which is down, a new name."""
        self.set_link(index, attribute(IFLA_IFNAME, name.encode() + b"\0"),
                      *attributes)

    def move_link(self, index, namespace, name):
        """Move a link into a namespace under a new name."""
        self.rename_link(index, name, u32(IFLA_NET_NS_FD, namespace))

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


class Rdma(Netlink):
    """InfiniBand devices, as far as this namespace sees them."""

    protocol = NETLINK_RDMA

    def set_exclusive(self):
        """Give each device to one namespace alone, instead of to all."""
        self.ask(NLDEV_SYS_SET, 0, u8(NLDEV_NETNS_MODE, 0))

    def devices(self):
        """{name: index} of the devices."""
        found = {}
        for body in self.dump(NLDEV_GET, b""):
            said = unpack(body)
            index, = struct.unpack("=I", said[NLDEV_DEV_INDEX])
            found[said[NLDEV_DEV_NAME].rstrip(b"\0").decode()] = index
        return found

    def move_device(self, index, namespace):
        """Move a device into a namespace; its users let go of it."""
        self.ask(NLDEV_SET, 0, u32(NLDEV_DEV_INDEX, index)
                 + u32(NLDEV_NET_NS_FD, namespace))

    def port_states(self, name):
        """States of a device's ports, port 1 first; none of one not here."""
        index = self.devices().get(name)
        if index is None:
            return []
        return [unpack(body)[NLDEV_PORT_STATE][0] for body in
                self.dump(NLDEV_PORT_GET, u32(NLDEV_DEV_INDEX, index))]
