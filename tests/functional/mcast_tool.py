# SPDX-License-Identifier: GPL-2.0
"""Send to, or count what arrives from, an IP multicast group.

	mcast_tool.py send GROUP PORT COUNT [SECONDS]
						datagrams 0..COUNT-1, 5 ms apart
						or so many seconds
	mcast_tool.py recv GROUP PORT FILE	until SIGTERM; FILE holds the count
"""

import pathlib
import signal
import socket
import struct
import sys
import time

INTERFACE = "ib0"


def family(group):
    return socket.AF_INET6 if ":" in group else socket.AF_INET


def send(group, port, count, pause=0.005):
    fam = family(group)
    sock = socket.socket(fam, socket.SOCK_DGRAM)
    index = socket.if_nametoindex(INTERFACE)
    if fam == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        where = (group, port, 0, index)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF,
                        struct.pack("4s4si", bytes(4), bytes(4), index))
        where = (group, port)
    for number in range(count):
        sock.sendto(number.to_bytes(4, "big"), where)
        time.sleep(pause)


def join(group, port):
    fam = family(group)
    index = socket.if_nametoindex(INTERFACE)
    sock = socket.socket(fam, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    packed = socket.inet_pton(fam, group)
    if fam == socket.AF_INET6:
        sock.bind((group, port, 0, index))
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP,
                        packed + struct.pack("@i", index))
    else:
        sock.bind((group, port))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                        packed + struct.pack("4si", bytes(4), index))
    return sock


def recv(group, port, file):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sock = join(group, port)
    path = pathlib.Path(file)
    got = 0
    path.write_text("0")
    while True:
        sock.recv(64)
        got += 1
        # Written aside and renamed, so that a reader never sees half of it.
        fresh = path.with_suffix(".new")
        fresh.write_text(str(got))
        fresh.rename(path)


if __name__ == "__main__":
    verb, name, number, last, *pauses = sys.argv[1:]
    if verb == "send":
        send(name, int(number), int(last), *map(float, pauses))
    else:
        recv(name, int(number), last)
