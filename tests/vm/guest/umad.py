# SPDX-License-Identifier: GPL-2.0
"""Management datagrams: the kernel's umad device, and the subnet administrator.

What the kernel wants stands in its include/uapi/rdma/ib_user_mad.h, the
packets' format in the InfiniBand specification, volume 1, 13.4 and 15.2.
"""

import contextlib
import errno
import fcntl
import glob
import os
import select
import struct

MAD_BYTES = 256
QP1_QKEY = 0x80010000
METHOD_GET, METHOD_SET, METHOD_DELETE = 0x01, 0x02, 0x15
CLASS_SA = 0x03
SA_VERSION = 2
ATTR_MCMEMBER, ATTR_GUIDINFO = 0x38, 0x30

# struct ib_user_mad_reg_req: agent, methods to receive, QP, class, version,
# OUI, RMPP version
REGISTER = struct.Struct("=I16xBBB3xBx")
IOCTL_REGISTER = 0xc0000000 | REGISTER.size << 16 | 0x1b << 8 | 1
IOCTL_ENABLE_PKEY = 0x1b << 8 | 3
# struct ib_user_mad_hdr: agent, status, timeout in ms, retries, length; QPN,
# Q_Key and LID big endian, SL, path bits; no GRH. Who enabled P_Keys has an
# index and reserved bytes more, all zero here.
HEADER = struct.Struct("=IIIII4s4s2sBB24x")
PKEY_INDEX = bytes(8)
# common MAD header, RMPP header (unused), SA header
SA_HEAD = struct.Struct(">BBBBHHQHHI12xQHHQ")
TIMEOUT_MS = 2000
RETRIES = 5


class MadError(Exception):
    """The request failed; what is wrong in one line."""


def _device(hca, port):
    """The umad device of an HCA's port."""
    for where in glob.glob("/sys/class/infiniband_mad/umad*"):
        with open(where + "/ibdev", encoding="ascii") as name, \
                open(where + "/port", encoding="ascii") as num:
            if (name.read().strip(), num.read().strip()) == (hca, str(port)):
                return "/dev/infiniband/" + os.path.basename(where)
    raise MadError("%s port %d has no umad device" % (hca, port))


def port_file(hca, port, name):
    """What the kernel says of a port."""
    path = "/sys/class/infiniband/%s/ports/%d/%s" % (hca, port, name)
    with open(path, encoding="ascii") as file:
        return file.read().strip()


class Administrator:
    """The subnet administrator at a LID, asked by way of an open device."""

    def __init__(self, file, lid, level=0, more=PKEY_INDEX):
        self.file = file
        self.lid = lid
        self.level = level
        self.ready = select.poll()
        self.ready.register(file, select.POLLIN)
        self.transaction = os.getpid() << 8
        self.more = more
        if more:
            fcntl.ioctl(self.file, IOCTL_ENABLE_PKEY)
        agent = bytearray(REGISTER.pack(0, 1, CLASS_SA, SA_VERSION, 0))
        fcntl.ioctl(self.file, IOCTL_REGISTER, agent)
        self.agent = REGISTER.unpack(agent)[0]

    def close(self):
        """Give the agent back."""
        os.close(self.file)

    def ask(self, method, attribute, mask, record):
        """Send a request; the record that comes back."""
        self.send(method, attribute, mask, record)
        return self._answer()

    def send(self, method, attribute, mask, record):
        """Send a request, and leave it at that."""
        self.transaction += 1
        head = SA_HEAD.pack(1, CLASS_SA, SA_VERSION, method, 0, 0,
                            self.transaction, attribute, 0, 0, 0, 0, 0, mask)
        packet = (head + record).ljust(MAD_BYTES, b"\0")
        os.write(self.file, HEADER.pack(
            self.agent, 0, TIMEOUT_MS, RETRIES, MAD_BYTES,
            (1).to_bytes(4, "big"), QP1_QKEY.to_bytes(4, "big"),
            self.lid.to_bytes(2, "big"), self.level, 0) + self.more + packet)

    def _answer(self):
        """The record of the answer; the kernel reports when none comes."""
        while True:
            self.ready.poll()
            data = os.read(self.file, HEADER.size + len(self.more) +
                           MAD_BYTES)
            status = HEADER.unpack_from(data)[1]
            if status:
                raise MadError("the subnet administrator does not answer: " +
                               os.strerror(status))
            mad = data[HEADER.size + len(self.more):]
            fields = SA_HEAD.unpack_from(mad)
            # the kernel uses the upper half
            if (fields[6] ^ self.transaction) & 0xffffffff:
                continue
            if fields[4]:
                raise MadError("the subnet administrator refuses: status "
                               "0x%04x" % fields[4])
            return mad[SA_HEAD.size:]


@contextlib.contextmanager
def administrator(hca, port=1):
    """The subnet administrator, for a while."""
    try:
        asked = Administrator(os.open(_device(hca, port), os.O_RDWR),
                              int(port_file(hca, port, "sm_lid"), 0),
                              int(port_file(hca, port, "sm_sl"), 0))
    except OSError as err:
        raise MadError("%s port %d: %s" % (hca, port, os.strerror(
            err.errno or errno.EIO))) from None
    try:
        yield asked
    finally:
        asked.close()


# -- GUIDInfoRecord ----------------------------------------------------------

BLOCK = 8
GUIDS = struct.Struct(">HBxxxxx8Q")
# component mask: LID, BlockNum, and the first GUID
MASK_LID, MASK_BLOCK, MASK_GUID = 1 << 0, 1 << 1, 1 << 4


def guid_block(sa, lid, method, guids=None, block=0):
    """Ask for, set or delete GUIDs of a port; {index: GUID} names which.

    Returns the block as the subnet administrator now has it.
    """
    values = [(guids or {}).get(i, 0) for i in range(BLOCK)]
    mask = MASK_LID | MASK_BLOCK
    for index in guids or {}:
        mask |= MASK_GUID << index
    answer = sa.ask(method, ATTR_GUIDINFO, mask,
                    GUIDS.pack(lid, block, *values))
    return list(GUIDS.unpack_from(answer)[2:])


# -- MCMemberRecord ----------------------------------------------------------

# MGID, PortGID, Q_Key, MLID, MTU, class, P_Key, rate, life time, SL with flow
# label and hop limit, scope with join state, proxy join
MEMBER = struct.Struct(">16s16sIHBBHBBIBBxx")
MASK_MGID, MASK_PORT_GID, MASK_JOIN = 1 << 0, 1 << 1, 1 << 16
# Q_Key, MTU, class, P_Key, rate, SL, flow label and hop limit; of MTU and rate
# also whether they are meant exactly
MASK_PARAMETERS = 1 << 2 | 0x3f << 4 | 7 << 12
EXACTLY = 2 << 6
FULL_MEMBER = 1


def join_group(sa, mgid, port_gid):
    """Ask that a port may join a group that is there."""
    record = MEMBER.pack(mgid, port_gid, 0, 0, 0, 0, 0, 0, 0, 0, FULL_MEMBER,
                         0)
    sa.ask(METHOD_SET, ATTR_MCMEMBER, MASK_MGID | MASK_PORT_GID | MASK_JOIN,
           record)


def make_group(sa, mgid, port_gid, qkey, mtu, pkey, rate, sl=0):
    """Make a group by joining a port to it; MTU and rate by their codes."""
    record = MEMBER.pack(mgid, port_gid, qkey, 0, EXACTLY | mtu, 0, pkey,
                         EXACTLY | rate, 0, sl << 28, FULL_MEMBER, 0)
    sa.ask(METHOD_SET, ATTR_MCMEMBER, MASK_MGID | MASK_PORT_GID |
           MASK_PARAMETERS | MASK_JOIN, record)
