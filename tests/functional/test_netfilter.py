# SPDX-License-Identifier: GPL-2.0
"""Netfilter sees packets with a sender that is longer than it has room for."""

import subprocess
import sys

import pytest

from labkit import inject, lid, link, on, ping, ip4, run, start_on

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.debian]

RULES = """
table ip t {
	chain c {
		type filter hook input priority 0;
		ip protocol 253 log group 5
	}
}
"""

# Netfilter's log, in its own numbers: bind group 5, copy packets, one by one;
# then the length and bytes of the sender's address, and the packet's protocol.
LISTEN = """
import socket, struct

def attr(kind, data):
    return struct.pack("HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)

def ask(*attrs):
    body = struct.pack(">BBH", 0, 0, 5) + b"".join(attrs)
    s.send(struct.pack("IHHII", 16 + len(body), 4 << 8 | 1, 5, 0, 0) + body)
    assert struct.unpack_from("i", s.recv(4096), 16) == (0,)

s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
ask(attr(1, bytes([1])))
ask(attr(2, struct.pack(">IBB", 0xffff, 2, 0)), attr(5, struct.pack(">I", 1)))
print("ready", flush=True)
data = s.recv(65536)
at, found = 20, {}
while at < struct.unpack_from("I", data)[0]:
    size, kind = struct.unpack_from("HH", data, at)
    found[kind & 0x3fff] = data[at + 4:at + size]
    at += size + -size % 4
print(found[9][9], int.from_bytes(found.get(8, bytes(2))[:2], "big"),
      flush=True)
"""


@pytest.mark.smoke
def test_the_log_gets_no_more_of_the_sender_than_it_has_room_for():
    """Its room is on the kernel's stack, and not asked for."""
    run("modprobe", "-a", "nf_tables", "nft_log", "nfnetlink_log")
    on(2, "sh", "-c", 'echo "$0" | nft -f -', RULES)
    listener = start_on(2, sys.executable, "-c", LISTEN,
                        stdout=subprocess.PIPE)
    try:
        assert listener.stdout.readline() == "ready\n"
        words = link(2)["address"].replace(":", "")
        gid = ":".join(words[i:i + 4] for i in range(8, 40, 4))
        packet = bytes.fromhex("08000000" "45000014000040000afd5b93"
                               "0a2c00010a2c0002")
        inject(1, packet, dlid=lid(2), qpn=hex(int(words[2:8], 16)),
               qkey=0xb1b, sqpn=0x77, dgid=gid, sgid_index=0)
        protocol, length = map(int, listener.stdout.readline().split())
        assert protocol == 253
        assert length <= 8
    finally:
        listener.kill()
        listener.wait()
        on(2, "nft", "flush", "ruleset")
    ping(1, ip4(2))
