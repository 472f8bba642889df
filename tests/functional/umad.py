# SPDX-License-Identifier: GPL-2.0
"""Management datagrams of any content, sent and received through umad.

What the kernel wants stands in its include/uapi/rdma/ib_user_mad.h, the
packets' format in the InfiniBand specification, volume 1, 13.4 and 14.2.
"""

import errno
import fcntl
import itertools
import os
import pathlib
import select
import struct

BYTES = 256
# struct ib_user_mad_reg_req: agent, methods to receive, QP, class, version,
# OUI, RMPP version
REGISTER = struct.Struct("=I16xBBB3xBx")
IOCTL_REGISTER = 0xc0000000 | REGISTER.size << 16 | 0x1b << 8 | 1
IOCTL_ENABLE_PKEY = 0x1b << 8 | 3
# struct ib_user_mad_hdr: agent, status, timeout in ms, retries, length; QPN,
# Q_Key and LID big endian; no GRH, SL and path bits 0, P_Key index 0
ENVELOPE = struct.Struct("=IIIII4s4s2s34x")
QP1_QKEY = 0x80010000
PERMISSIVE = 0xffff

# Base version, class, class version, method, status; hops so far and in all;
# transaction, attribute, modifier, M_Key, LIDs of a path directed in part
SMP = struct.Struct(">BBBBHBBQHxxIQHH28x")
# The same for other classes
GMP = struct.Struct(">BBBBHHQHxxI")
# Where a subnet management packet has its data and its path
DATA, PATH = 64, 128

LID_ROUTED, DIRECTED, PERFORMANCE = 0x01, 0x81, 0x04
GET, SET, GET_RESP = 0x01, 0x02, 0x81
DIRECTION = 0x8000
PORT_INFO = 0x15


def device(hca):
    """The umad device of an HCA's first port."""
    for where in pathlib.Path("/sys/class/infiniband_mad").glob("umad*"):
        if (where / "ibdev").read_text().strip() == hca and \
                (where / "port").read_text().strip() == "1":
            return pathlib.Path("/dev/infiniband", where.name)
    raise FileNotFoundError(f"{hca} has no umad device")


def smp(method, attribute, modifier=0, data=b"", path=(), **more):
    """A packet of the subnet management classes, by directed route."""
    head = {"base": 1, "cls": DIRECTED, "version": 1, "status": 0,
            "hop_ptr": 0, "mkey": 0, **more}
    packet = SMP.pack(head["base"], head["cls"], head["version"], method,
                      head["status"], head["hop_ptr"], len(path), 1,
                      attribute, modifier, head["mkey"], PERMISSIVE,
                      PERMISSIVE)
    route = bytes([0, *path])
    return (packet + data.ljust(64, b"\0") + route.ljust(64, b"\0")
            ).ljust(BYTES, b"\0")


def gmp(cls, method, attribute, modifier=0, data=b"", version=1):
    """A packet of another class; @data begins behind the common header."""
    return (GMP.pack(1, cls, version, method, 0, 0, 1, attribute, modifier)
            + data).ljust(BYTES, b"\0")


def data(packet):
    """The attribute that a subnet management packet bears."""
    return packet[DATA:DATA + 64]


class Agent:
    """A way to ask from an HCA's port."""

    def __init__(self, hca, cls, version=1):
        self.qpn = 0 if cls in (LID_ROUTED, DIRECTED) else 1
        self.file = os.open(device(hca), os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.file, IOCTL_ENABLE_PKEY)
        agent = bytearray(REGISTER.pack(0, self.qpn, cls, version, 0))
        fcntl.ioctl(self.file, IOCTL_REGISTER, agent)
        self.number = REGISTER.unpack(agent)[0]
        self.transactions = itertools.count(1)

    def close(self):
        os.close(self.file)

    def ask(self, packet, lid=PERMISSIVE, timeout_ms=1000):
        """What comes back, None when nothing does.

        The kernel refuses the transaction of a request that it is not done
        with, so each has its own.
        """
        packet = packet[:8] + next(self.transactions).to_bytes(8, "big") + \
            packet[16:]
        os.write(self.file, ENVELOPE.pack(
            self.number, 0, timeout_ms, 0, BYTES, self.qpn.to_bytes(4, "big"),
            (QP1_QKEY if self.qpn else 0).to_bytes(4, "big"),
            lid.to_bytes(2, "big")) + packet)
        select.select([self.file], [], [])
        answer = os.read(self.file, ENVELOPE.size + BYTES)
        status = ENVELOPE.unpack_from(answer)[1]
        if status == errno.ETIMEDOUT:
            return None
        assert not status, os.strerror(status)
        return answer[ENVELOPE.size:]


def status(packet):
    """The status an answer bears, None for no answer."""
    return packet and struct.unpack_from(">H", packet, 4)[0] & ~DIRECTION
