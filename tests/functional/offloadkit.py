# SPDX-License-Identifier: GPL-2.0
"""IPoIB packets, byte by byte, and what an HCA made of them.

The third opinion about checksums and segments, next to the fabric's own two:
expected packets are built here from what the standards say.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import struct

from labkit import FABRIC, counters

POST = "/sys/kernel/debug/fabric_post"
CHECK = FABRIC / "offload_check"

# enum ib_wc_status, ib_wc_opcode and ib_wc_flags
SUCCESS, LOC_LEN_ERR, LOC_QP_OP_ERR = 0, 1, 2
WC_SEND, WC_LSO = 0, 7
CSUM_OK = 8

TCP, UDP = 6, 17
FIN, PSH, ACK, CWR = 0x01, 0x08, 0x10, 0x80
TIMESTAMPS = bytes.fromhex("0101080a1122334455667788")

# HCAs 1 and 2 do everything, 3 and 4 one family each, 0 nothing.
LAB = {"hca": ["csum=on", "lso=on", "3:csum=ipv4", "3:lso=ipv4", "4:csum=ipv6",
               "4:lso=ipv6", "0:csum=off", "0:lso=off"]}


def total(data, start=0):
    """Ones' complement sum of 16-bit words."""
    data = bytes(data) + bytes(len(data) % 2)
    start += sum(struct.unpack(f">{len(data) // 2}H", data))
    while start >> 16:
        start = (start & 0xffff) + (start >> 16)
    return start


def pattern(length):
    return bytes((7 * i + i // 256 + 3) & 0xff for i in range(length))


@dataclasses.dataclass
class Packet:
    """A TCP or UDP packet behind an IPoIB header."""

    v6: bool = False
    proto: int = TCP
    data: bytes = b""
    ident: int = 0x1c46
    seq: int = 0x01020304
    flags: int = ACK | PSH
    options: bytes = TIMESTAMPS
    # flags and offset of an IPv4 fragment
    fragment: int = 0x4000
    # IPv6 extension headers: (kind, bytes but for the first, next header)
    extensions: tuple = ()
    # behind the end of the IP packet
    padding: bytes = b""
    # what the checksum fields hold before
    blank: int = 0

    def transport(self, check):
        """Header and data of TCP or UDP."""
        if self.proto == UDP:
            return struct.pack(">4H", 40000, 5201, 8 + len(self.data),
                               check) + self.data
        return struct.pack(">HHIIBBHHH", 40000, 5201, self.seq, 0x0a0b0c0d,
                           (20 + len(self.options)) * 4, self.flags, 500,
                           check, 0) + self.options + self.data

    @property
    def addresses(self):
        if self.v6:
            return bytes.fromhex("fd44" + "00" * 13 + "01"
                                 "fd44" + "00" * 13 + "02")
        return bytes((10, 44, 0, 1, 10, 44, 0, 2))

    def check(self):
        """The right sum of TCP or UDP."""
        body = self.transport(0)
        pseudo = self.addresses + struct.pack(">II", len(body), self.proto)
        right = 0xffff ^ total(pseudo + body)
        return right or (0xffff if self.proto == UDP else 0)

    def ipv6(self, body):
        kinds = [kind for kind, _ in self.extensions] + [self.proto]
        chain = b"".join(bytes([following]) + rest for (_, rest), following
                         in zip(self.extensions, kinds[1:]))
        return struct.pack(">IHBB", 6 << 28, len(chain + body), kinds[0],
                           64) + self.addresses + chain + body

    def ipv4(self, body, summed):
        def header(check):
            return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body),
                               self.ident, self.fragment, 64, self.proto,
                               check) + self.addresses
        right = 0xffff ^ total(header(0))
        return header(right if summed else self.blank) + body

    def build(self, ip_sum, l4_sum):
        """Its bytes, with right sums or with blank ones."""
        body = self.transport(self.check() if l4_sum else self.blank)
        if self.v6:
            return b"\x86\xdd\0\0" + self.ipv6(body) + self.padding
        return b"\x08\0\0\0" + self.ipv4(body, ip_sum) + self.padding

    def posted(self):
        """As a driver leaves it to the HCA."""
        return self.build(False, False)

    def right(self):
        """As it has to be on the wire."""
        return self.build(True, True)

    def segments(self, mss):
        """What comes of it when it is cut."""
        last = max(len(self.data) - 1, 0) // mss
        for i in range(last + 1):
            flags = self.flags
            if i:
                flags &= ~CWR
            if i < last:
                flags &= ~(FIN | PSH)
            yield dataclasses.replace(
                self, data=self.data[i * mss:(i + 1) * mss], flags=flags,
                ident=(self.ident + i) & 0xffff,
                seq=(self.seq + i * mss) & 0xffffffff)


@dataclasses.dataclass
class Outcome:
    """What came of a send request."""

    post: int
    status: int | None = None
    opcode: int | None = None
    packets: list = dataclasses.field(default_factory=list)

    @property
    def data(self):
        return [data for _, data in self.packets]

    @property
    def flags(self):
        return [flags for flags, _ in self.packets]


def post(source, target, data, *words):
    """Post one send request, see what completes and arrives."""
    line = " ".join([f"fab{source} fab{target}", *words, f"data={data.hex()}"])
    fd = os.open(POST, os.O_WRONLY)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)
    return _outcome(pathlib.Path(POST).read_text())


def _outcome(text):
    outcome = None
    for line in text.splitlines():
        word, *rest = line.split()
        if word == "post":
            outcome = Outcome(int(rest[0]))
        elif word == "send":
            outcome.status, outcome.opcode = map(int, rest)
        else:
            outcome.packets.append((int(rest[0]),
                                    bytes.fromhex("".join(rest[1:]))))
    return outcome


def post_lso(source, target, packet, mss, *words):
    """Post a packet as one request for segmentation."""
    header = dataclasses.replace(packet, data=b"").posted()
    return post(source, target, packet.data, f"header={header.hex()}",
                f"mss={mss}", *words)


# --- The fabric's checker and its faults -------------------------------------

def checker():
    """Counts of the fabric's own checker, and its first complaint."""
    text = CHECK.read_text()
    found = {name: int(value) for name, value in
             re.findall(r"^offload_(\w+) (\d+)$", text, re.M)}
    return found, text


@contextlib.contextmanager
def checked():
    """Every offload inside is checked, and right. Gives the checker's counts
    so far by call."""
    CHECK.write_text("on")
    try:
        yield lambda: checker()[0]
    finally:
        CHECK.write_text("off")
    counts, text = checker()
    assert counts["wrong"] == 0, text
    assert counts["skipped"] == 0, text


def rx_csum_file(host):
    return FABRIC / f"fab{host}/port1/faults/rx_csum"


@contextlib.contextmanager
def rx_csum(host, what):
    """A fault of arriving packets' sums; gives how often it struck by call."""
    file = rx_csum_file(host)
    file.write_text(what)

    def hits():
        line = re.search(rf"^{what.split()[0]} .*hit=(\d+)", file.read_text(),
                         re.M)
        return int(line.group(1))
    try:
        yield hits
    finally:
        file.write_text("off")


def growth(host):
    """A function that says by how much a host's port counters grew."""
    before = counters(f"fab{host}/port1")
    return lambda name: counters(f"fab{host}/port1")[name] - before[name]
