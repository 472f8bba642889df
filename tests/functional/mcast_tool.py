# SPDX-License-Identifier: GPL-2.0
"""Send to, or hear, an IP multicast group.

	mcast_tool.py send GROUP[%NAME] PORT COUNT [SECONDS]
						datagrams 0..COUNT-1, 5 ms apart
						or so many seconds; says as each
						leaves: its number, the time
	mcast_tool.py recv GROUP[%NAME] PORT FILE
						until SIGTERM; FILE is there once
						the group is joined, and gets a
						line with each datagram's number

NAME is the interface's, ib0 if it is not said.
"""

import signal
import socket
import struct
import sys
import time


def place(text):
    """A group and the interface it is meant on."""
    group, _, name = text.partition("%")
    return group, name or "ib0"


def family(group):
    return socket.AF_INET6 if ":" in group else socket.AF_INET


def send(group, name, port, count, pause=0.005):
    fam = family(group)
    index = socket.if_nametoindex(name)
    sock = socket.socket(fam, socket.SOCK_DGRAM)
    if fam == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        where = (group, port, 0, index)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF,
                        struct.pack("4s4si", bytes(4), bytes(4), index))
        where = (group, port)
    for number in range(count):
        print(number, time.monotonic(), flush=True)
        sock.sendto(str(number).encode(), where)
        time.sleep(pause)


def join(group, name, port):
    fam = family(group)
    index = socket.if_nametoindex(name)
    sock = socket.socket(fam, socket.SOCK_DGRAM)
    # another interface may be in the group, too
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode())
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


def recv(group, name, port, file):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sock = join(group, name, port)
    with open(file, "w", buffering=1, encoding="ascii") as heard:
        while True:
            print(sock.recv(64).decode(), file=heard)


if __name__ == "__main__":
    verb, where, number, last, *pauses = sys.argv[1:]
    if verb == "send":
        send(*place(where), int(number), int(last), *map(float, pauses))
    else:
        recv(*place(where), int(number), last)
