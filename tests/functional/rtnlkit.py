# SPDX-License-Identifier: GPL-2.0
"""Requests to rtnetlink as `ip` never sends them, and what the kernel says.

	rtnlkit.py REQUEST
	rtnlkit.py dump TIMES
	rtnlkit.py data NAME

This side of a process has link_request(), dump_seconds() and info_data(); the
other, in the namespace that it is about, sends the requests and prints the
answer, all of it JSON.
"""

import json
import pathlib
import socket
import struct
import sys
import time

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))
sys.dont_write_bytecode = True

from labkit import on  # noqa: E402 pylint: disable=wrong-import-position
from vm.guest import netlink  # noqa: E402 pylint: disable=wrong-import-position

# include/uapi/linux/netlink.h, socket.h
SOL_NETLINK = 270
NETLINK_CAP_ACK, NETLINK_EXT_ACK = 10, 11
NLMSGERR_ATTR_MSG = 1

# include/uapi/linux/if_link.h
IFLA_ADDRESS, IFLA_BROADCAST, IFLA_IFNAME, IFLA_MTU, IFLA_LINK = 1, 2, 3, 4, 5
IFLA_LINKINFO = 18
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
PKEY, MODE, UMCAST = 1, 2, 3


def u16(value):
    return struct.pack("=H", value)


def u32(value):
    return struct.pack("=I", value)


class Link(netlink.Route):
    """A socket that is told why."""

    def __init__(self):
        super().__init__()
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
            self.sock.setsockopt(SOL_NETLINK, option, 1)

    def tell(self, flags, body):
        """Send one request of a link; its errno, and the kernel's words."""
        self.send(netlink.RTM_NEWLINK, netlink.NLM_F_ACK | flags, body)
        data = self.sock.recv(65536)
        error, = struct.unpack_from("=i", data, netlink.HEADER)
        # of what was asked there is only the header
        more = netlink.unpack(data[netlink.HEADER + 4 + netlink.HEADER:])
        words = more.get(NLMSGERR_ATTR_MSG, b"")
        return -error, words.rstrip(b"\0").decode()


def attributes(pairs):
    return b"".join(netlink.attribute(kind, bytes.fromhex(data))
                    for kind, data in pairs)


def answer(request):
    """What comes of one request: its errno, and why."""
    name = request["name"]
    index = 0 if request["new"] else socket.if_nametoindex(name)
    body = struct.pack("=BBHiII", socket.AF_UNSPEC, 0, 0, index, 0, 0)
    body += attributes(request["attributes"])
    if request["new"]:
        body += netlink.attribute(IFLA_IFNAME, name.encode() + b"\0")
    body += netlink.attribute(IFLA_LINKINFO, netlink.attribute(
        IFLA_INFO_KIND, b"ipoib\0") + netlink.attribute(
            IFLA_INFO_DATA, attributes(request["data"])))
    with Link() as link:
        return link.tell(netlink.NLM_F_CREATE_EXCL if request["new"] else 0,
                         body)


def link_request(host, name, new=False, attrs=(), data=()):
    """Make or change a link of ours; the errno, and what the kernel says.

    @attrs and @data, what is of this kind alone, are pairs of a number and the
    attribute's bytes.
    """
    text = json.dumps({"name": name, "new": new,
                       "attributes": [(kind, value.hex()) for kind, value in
                                      attrs],
                       "data": [(kind, value.hex()) for kind, value in data]})
    return tuple(json.loads(on(host, sys.executable, __file__, text).stdout))


def shortest_dump(times):
    """Seconds of the shortest of some listings, and how many are listed."""
    body = struct.pack("=BBHiII", socket.AF_UNSPEC, 0, 0, 0, 0, 0)
    shortest, listed = float("inf"), 0
    with netlink.Route() as route:
        for _ in range(times):
            begun = time.perf_counter()
            listed = sum(1 for _ in route.dump(netlink.RTM_GETLINK, body))
            shortest = min(shortest, time.perf_counter() - begun)
    return shortest, listed


def dump_seconds(host, times):
    """How long a host's interfaces take to list, and how many they are."""
    return tuple(json.loads(on(host, sys.executable, __file__, "dump",
                               times).stdout))


def dumped_data(name):
    """Attributes of a link that are its kind's alone: hex bytes by number."""
    body = struct.pack("=BBHiII", socket.AF_UNSPEC, 0, 0, 0, 0, 0)
    with netlink.Route() as route:
        for message in route.dump(netlink.RTM_GETLINK, body):
            found = netlink.unpack(message[len(body):])
            if found[IFLA_IFNAME].rstrip(b"\0").decode() == name:
                info = netlink.unpack(found[IFLA_LINKINFO])
                return {kind: data.hex() for kind, data in
                        netlink.unpack(info[IFLA_INFO_DATA]).items()}
    return {}


def info_data(host, name):
    """The same of a host's link, the bytes by number."""
    text = on(host, sys.executable, __file__, "data", name).stdout
    return {int(kind): bytes.fromhex(data) for kind, data in
            json.loads(text).items()}


if __name__ == "__main__":
    if sys.argv[1] == "data":
        print(json.dumps(dumped_data(sys.argv[2])))
    elif sys.argv[1] == "dump":
        print(json.dumps(shortest_dump(int(sys.argv[2]))))
    else:
        print(json.dumps(answer(json.loads(sys.argv[1]))))
