# SPDX-License-Identifier: GPL-2.0
"""Do all hosts reach each other?

One raw socket a host and echo requests from one process, not a `ping` each.
A pair that answered is proved both ways: request and reply each needed a
resolved neighbour.

Up to MESH hosts every pair is asked, by IPv4 and IPv6. Beyond that the pairs
grow into tens of thousands, each with a broadcast that every host receives
(two hundred hosts: 76 seconds): there each host asks the next one and the
first, which still takes every port's LID, multicast membership and route.
"""

import contextlib
import select
import socket
import struct
import time

from .kernel import StepError

MESH = 32
BATCH = 1000
STEP = "hosts reach each other"

ECHO_REQUEST = {4: 8, 6: 128}
ECHO_REPLY = {4: 0, 6: 129}
IPV4_HEADER = 20


def address(version, host):
    """Where host number @host lives."""
    return ("10.44.0.%d" if version == 4 else "fd44::%d") % host


def checksum(data):
    """The Internet checksum of an even number of bytes."""
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff


def open_socket(version):
    """A socket for echo requests, in the namespace the caller is in."""
    family, protocol = ((socket.AF_INET, socket.IPPROTO_ICMP) if version == 4
                        else (socket.AF_INET6, socket.IPPROTO_ICMPV6))
    sock = socket.socket(family, socket.SOCK_RAW, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.setblocking(False)
    return sock


def pairs_to_ask(hosts):
    """(from, to) of each request that must be answered."""
    numbers = range(1, hosts + 1)
    if hosts <= MESH:
        return {(a, b) for a in numbers for b in numbers if a < b}
    ring = {(a, a % hosts + 1) for a in numbers}
    return ring | {(a, 1) for a in numbers if a != 1}


class Round:
    """The requests of one IP version."""

    def __init__(self, version, sockets):
        self.version = version
        self.sockets = sockets
        self.missing = pairs_to_ask(len(sockets))
        self.by_fd = {sock.fileno(): host for host, sock in sockets.items()}
        self.poll = select.epoll()
        for fd in self.by_fd:
            self.poll.register(fd, select.EPOLLIN)

    def request(self, host, to):
        """Send one echo request; what cannot be sent now is asked again."""
        body = struct.pack("!BBHHH", ECHO_REQUEST[self.version], 0, 0,
                           host, to)
        if self.version == 4:
            body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
        with contextlib.suppress(OSError):
            self.sockets[host].sendto(body, (address(self.version, to), 0))

    def collect(self, wait):
        """Take answers until @wait seconds have brought none that is new.

        A raw socket hears every echo reply of its host: a ping that runs
        beside us must not keep us from asking again.
        """
        end = time.monotonic() + wait
        while self.missing and time.monotonic() < end:
            before = len(self.missing)
            for fd, _ in self.poll.poll(max(end - time.monotonic(), 0)):
                self._drain(self.by_fd[fd])
            if len(self.missing) < before:
                end = time.monotonic() + wait

    def _drain(self, host):
        skip = IPV4_HEADER if self.version == 4 else 0
        with contextlib.suppress(OSError):
            while True:
                data = self.sockets[host].recv(256)[skip:]
                kind, _, _, who, to = struct.unpack_from("!BBHHH", data)
                if kind == ECHO_REPLY[self.version] and who == host:
                    self.missing.discard((host, to))

    def run(self, end):
        """Ask until all have answered, or until @end."""
        while self.missing:
            if time.monotonic() > end:
                host, to = min(self.missing)
                raise StepError(STEP, "%d of the pairs do not, first host%d "
                                "to %s" % (len(self.missing), host,
                                           address(self.version, to)))
            for host, to in sorted(self.missing)[:BATCH]:
                self.request(host, to)
            self.collect(0.1)


def wait_all(sockets_of, seconds):
    """Ask with the sockets that sockets_of(version) gives, by host number."""
    end = time.monotonic() + seconds
    for version in (4, 6):
        sockets = sockets_of(version)
        try:
            Round(version, sockets).run(end)
        finally:
            for sock in sockets.values():
                sock.close()
