# SPDX-License-Identifier: GPL-2.0
"""What goes over a cable of the fabric, packet by packet."""

import contextlib
import struct
import subprocess

from labkit import FABRIC, wait_until

LINKTYPE_INFINIBAND = 247
LRH, GRH, BTH, DETH = 8, 40, 12, 8


@contextlib.contextmanager
def capture(port, target):
    """Write what goes over a port's cable to a file, meanwhile."""
    with open(target, "wb") as out, subprocess.Popen(
            ["cat", FABRIC / port / "pcap"], stdout=out) as reader:
        try:
            wait_until("the capture began",
                       lambda: target.stat().st_size >= 24)
            yield
        finally:
            reader.kill()


def packets(path):
    """The packets of a capture as bytes."""
    data = path.read_bytes()
    magic, _, _, _, linktype = struct.unpack_from("=I4xIIII", data)
    assert (magic, linktype) == (0xa1b23c4d, LINKTYPE_INFINIBAND)
    found, at = [], 24
    while at + 16 <= len(data):
        kept, length = struct.unpack_from("=8xII", data, at)
        assert kept == length
        if at + 16 + length > len(data):
            break
        found.append(data[at + 16:at + 16 + length])
        at += 16 + length
    return found


def captured(path, count, select=lambda packet: True):
    """Wait until so many packets are in a file; those."""
    def enough():
        now = [packet for packet in packets(path) if select(packet)]
        return now if len(now) >= count else None

    return wait_until(f"{count} packets captured", enough)


class Datagram:
    """What the headers of a packet say, and what it carries."""

    def __init__(self, packet):
        self.sl = packet[1] >> 4
        self.slid = int.from_bytes(packet[6:8], "big")
        # link next header: with a GRH or without
        grh = packet[LRH:LRH + GRH] if packet[1] & 3 == 3 else b""
        bth = LRH + len(grh)
        self.source_gid, self.gid = grh[8:24], grh[24:40]
        self.multicast = self.gid[:1] == b"\xff"
        self.psn = int.from_bytes(packet[bth + 9:bth + BTH], "big")
        self.source_qpn = int.from_bytes(
            packet[bth + BTH + 5:bth + BTH + 8], "big")
        self.data = packet[bth + BTH + DETH:-6]
