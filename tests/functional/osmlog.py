# SPDX-License-Identifier: GPL-2.0
"""What OpenSM read and wrote, from the packets in its log.

OpenSM logs each subnet management packet when its log flags hold 0x20. Each
attribute is decoded into fields by name; formats are those of the InfiniBand
specification, volume 1, 14.2.5.
"""

import collections
import re

LOG_FLAGS = "0x23"

NODE_INFO = (
    "BaseVersion:8 ClassVersion:8 NodeType:8 NumPorts:8 SystemImageGUID:64 "
    "NodeGUID:64 PortGUID:64 PartitionCap:16 DeviceID:16 Revision:32 "
    "LocalPortNum:8 VendorID:24")
SWITCH_INFO = (
    "LinearFDBCap:16 RandomFDBCap:16 MulticastFDBCap:16 LinearFDBTop:16 "
    "DefaultPort:8 DefaultMulticastPrimaryPort:8 "
    "DefaultMulticastNotPrimaryPort:8 LifeTimeValue:5 PortStateChange:1 "
    "OptimizedSLtoVL:2 LIDsPerPort:16 PartitionEnforcementCap:16 "
    "InboundEnforcementCap:1 OutboundEnforcementCap:1 FilterRawInboundCap:1 "
    "FilterRawOutboundCap:1 EnhancedPort0:1 reserved:11 MulticastFDBTop:16")
PORT_INFO = (
    "M_Key:64 GidPrefix:64 LID:16 MasterSMLID:16 CapabilityMask:32 "
    "DiagCode:16 M_KeyLeasePeriod:16 LocalPortNum:8 LinkWidthEnabled:8 "
    "LinkWidthSupported:8 LinkWidthActive:8 LinkSpeedSupported:4 PortState:4 "
    "PortPhysicalState:4 LinkDownDefaultState:4 M_KeyProtectBits:2 "
    "reserved1:3 LMC:3 LinkSpeedActive:4 LinkSpeedEnabled:4 NeighborMTU:4 "
    "MasterSMSL:4 VLCap:4 InitType:4 VLHighLimit:8 VLArbitrationHighCap:8 "
    "VLArbitrationLowCap:8 InitTypeReply:4 MTUCap:4 VLStallCount:3 HOQLife:5 "
    "OperationalVLs:4 PartitionEnforcementInbound:1 "
    "PartitionEnforcementOutbound:1 FilterRawInbound:1 FilterRawOutbound:1 "
    "M_KeyViolations:16 P_KeyViolations:16 Q_KeyViolations:16 GUIDCap:8 "
    "ClientReregister:1 MulticastPKeyTrapSuppressionEnabled:2 "
    "SubnetTimeOut:5 reserved2:3 RespTimeValue:5 LocalPhyErrors:4 "
    "OverrunErrors:4 MaxCreditHint:16 reserved3:8 LinkRoundTripLatency:24 "
    "CapabilityMask2:16 LinkSpeedExtActive:4 LinkSpeedExtSupported:4 "
    "reserved4:3 LinkSpeedExtEnabled:5")


def table(name, entries, width):
    """The format of an attribute that is all entries of one kind."""
    return " ".join(f"{name}{number}:{width}" for number in range(entries))


FORMATS = {
    "NodeInfo": NODE_INFO,
    "SwitchInfo": SWITCH_INFO,
    "PortInfo": PORT_INFO,
    "P_KeyTable": table("entry", 32, 16),
    "LinearForwardingTable": table("entry", 64, 8),
    "MulticastForwardingTable": table("entry", 32, 16),
    "NodeDescription": table("byte", 64, 8),
}

# Of a packet that goes by a directed path; a trap that is routed by LID ends
# before its path.
PACKET = re.compile(
    r".*?method\.+\S+ \((\w+)\).*?status\.+(\w+)"
    r".*?trans_id\.+(\w+).*?attr_id\.+\S+ \((\w+)\).*?attr_mod\.+(\w+)"
    r".*?Initial path: ([\d,]+)\n.*?Reserved:[^\n]*\n"
    r"((?:\s*(?:[0-9A-F]{2}\s+){16})+)", re.S)


def decode(attribute, data):
    """{field: number} of an attribute's 64 bytes."""
    bits = int.from_bytes(data, "big")
    left = len(data) * 8
    fields = {}
    for word in FORMATS[attribute].split():
        name, width = word.split(":")
        left -= int(width)
        fields[name] = bits >> left & (1 << int(width)) - 1
    return fields


# What was asked about: the path to the node, the attribute, its modifier
Key = collections.namedtuple("Key", "path attribute modifier")

# In the modifier of PortInfo: who asks knows of extended link speeds, should
# the port have them
EXTENDED_SPEEDS = 1 << 31


def _key(path, attribute, modifier):
    modifier = int(modifier, 0)
    if attribute == "PortInfo":
        modifier &= ~EXTENDED_SPEEDS
    return Key(path, attribute, modifier)


class Log:
    """The packets of a log.

    reads: answers to a Get; writes: what is Set; results: answers to a Set.
    Each is {Key: [fields, ...]} in the order of the packets. refused: [(Key,
    status)] of the answers that were no success.
    """

    def __init__(self, text):
        self.reads = collections.defaultdict(list)
        self.writes = collections.defaultdict(list)
        self.results = collections.defaultdict(list)
        self.refused = []
        self._asked = {}
        for dump in text.split("SMP dump:\n")[1:]:
            found = PACKET.match(dump)
            if found:
                self._add(*found.groups())

    def _add(self, method, status, tid, attribute, modifier, path, data):
        if attribute not in FORMATS:
            return
        fields = decode(attribute, bytes.fromhex(data))
        if method in ("SubnGet", "SubnSet"):
            key = _key(path, attribute, modifier)
            self._asked[tid] = method, key
            if method == "SubnSet":
                self.writes[key].append(fields)
        elif tid in self._asked:
            self._add_answer(*self._asked.pop(tid), status, fields)

    def _add_answer(self, method, key, status, fields):
        answers = self.reads if method == "SubnGet" else self.results
        answers[key].append(fields)
        if int(status, 0) & 0x7fff:
            self.refused.append((key, status))
