# SPDX-License-Identifier: GPL-2.0
"""OpenSM meets on the fabric what it meets on Debian's simulator, ibsim.

The same OpenSM brings up both, with the same topology, GUIDs and partitions,
and two ports join a group. What it finds, what it sets and what it is answered
then is the same on both, field by field, but for the differences in KNOWN.
"""

import contextlib
import itertools
import os
import pathlib
import re
import signal
import subprocess

import pytest

import osmlog
from labkit import (HOSTS, SLOW, SM_GUID, all_active, mft, run, switch_port,
                    wait_until)

pytestmark = pytest.mark.fabric

MODULE = f"{os.environ.get('LAB_MODULES', '.')}/ib_fabric.ko"
LIBRARY = "/usr/lib/x86_64-linux-gnu/umad2sim/libumad2sim.so"
JOIN = pathlib.Path(__file__).with_name("sa_join.py")
GROUP, MLID, MEMBERS = "ff12:401b:ffff::ffff:ffff", 0xc000, (1, 2)
SM_LID = 1
SWITCH = "0,1"

PARTITIONS = """\
Default=0x7fff, ipoib, rate=3, mtu=4, scope=2 : ALL=full, SELF=full ;
p8001=0x0001, ipoib, rate=3, mtu=4, scope=2 : ALL=limited, SELF=full ;
p8002=0x0002 : 0x02fab00000000101=full, 0x02fab00000000201=limited ;
"""

# What the simulator can be told to be like the fabric: the links' widths and
# speeds; and the fabric like the simulator: P_Keys and MTU of an HCA
LINKS = "width=3\nspeed=7\n"
SHAPE = "shape=pkeys=64,mtu=2048"

# The differences there are to be, no more and no fewer. First where they show:
# f found by the first sweep, s set by OpenSM, a answered to that; last the
# values that the simulator and the fabric have. OpenSM sets a port more than
# once: a field's values follow one another as "0,16".
KNOWN = """
# two models of an HCA
f   HCA    Revision                     161      1
fsa HCA    CapabilityMask               0x50c048 0x2410808
fsa HCA    CapabilityMask               0x50c04a 0x241080a
fsa HCA    CapabilityMask2              48       0
fsa HCA    GUIDCap                      32       8
fsa HCA    LinkWidthSupported           31       3
fsa HCA    OperationalVLs               4        1
fsa HCA    VLArbitrationHighCap         8        0
fsa HCA    VLArbitrationLowCap          8        0
fsa HCA    VLCap                        4        1
fsa HCA    VLStallCount                 7        0

# two models of a switch
f   switch Revision                     161      1
f   switch PartitionCap                 8        32
fsa switch FilterRawInboundCap          1        0
fsa switch FilterRawOutboundCap         1        0
fsa switch LinearFDBCap                 30720    49152
fsa switch MulticastFDBCap              1024     4096
fsa switch PartitionEnforcementCap      64       0
fsa port0  CapabilityMask               0xc048   0x808
fsa port0  CapabilityMask2              48       0
fsa port0  LinkSpeedActive              1        4
fsa port0  LinkWidthSupported           31       3
fsa port0  MTUCap                       3        5
fsa port0  NeighborMTU                  1        5
fsa port0  OperationalVLs               4        1
fsa port0  RespTimeValue                8        0
fsa port0  VLArbitrationHighCap         8        0
fsa port0  VLArbitrationLowCap          8        0
fsa port0  VLCap                        4        1
fsa port   GUIDCap                      0        1
fsa port   LinkWidthSupported           31       3
fsa port   MTUCap                       4        5
fsa port   OperationalVLs               4        1
fsa port   VLArbitrationHighCap         8        0
fsa port   VLArbitrationLowCap          8        0
fsa port   VLCap                        4        1
f   idle   GUIDCap                      0        1
f   idle   LinkSpeedActive              1        4
f   idle   LinkWidthSupported           31       3
f   idle   LocalPhyErrors               4        0
f   idle   MTUCap                       4        5
f   idle   NeighborMTU                  4        5
f   idle   OperationalVLs               4        1
f   idle   VLArbitrationHighCap         8        0
f   idle   VLArbitrationLowCap          8        0
f   idle   VLCap                        4        1
f   idle   VLStallCount                 7        0

# before the manager came: the simulator's ports have no prefix, and numbers
# from a manager that was there before
f   HCA    GidPrefix                    0        0xfe80000000000000
f   HCA    SubnetTimeOut                31       0
f   HCA    M_KeyLeasePeriod             4089     0
f   port0  GidPrefix                    0        0xfe80000000000000
f   port0  SubnetTimeOut                31       0
f   port0  M_KeyLeasePeriod             4089     0
f   port   NeighborMTU                  4        5
f   port   VLStallCount                 7        0

# the simulator keeps none of what is set in these
s   HCA    M_KeyLeasePeriod             0,4089   0
s   HCA    SubnetTimeOut                18,31    18
a   HCA    M_KeyLeasePeriod             4089     0
a   HCA    SubnetTimeOut                31       18
a   port0  M_KeyLeasePeriod             4089     0
a   port0  SubnetTimeOut                31       18

# the fabric's HCAs can be told to register again, and are
s   HCA    ClientReregister             0        1,0

# the simulator's ports have extended speeds, which are set a second time
s   HCA    LinkWidthEnabled             3,255,3  3

# the simulator's switch enforces partitions, which is set before the rest
s   port   PartitionEnforcementInbound  1,0      0
s   port   PartitionEnforcementOutbound 1,0      0
s   port   HOQLife                      0,16     16
s   port   LinkDownDefaultState         0,2      2
s   port   LocalPhyErrors               0,8,0    8,0
s   port   OverrunErrors                0,8,0    8,0
a   port   HOQLife                      0,16     16
"""


# -- the two subnets ---------------------------------------------------------

def node(host):
    return f"H-02fab0000000{host:02x}00"


def port_gid(host):
    return f"fe80::2fa:b000:0:{host << 8 | 1:x}"


class Subnet:
    """Where an OpenSM runs: on the fabric, or on the simulator.

    sweep: the packets of its first sweep; group: ports of the switch that the
    group was sent to in the end, as OpenSM wrote it.
    """

    def __init__(self, folder, simulated):
        self.folder = folder
        self.simulated = simulated
        self.log = folder / "opensm.log"
        folder.mkdir()
        (folder / "partitions").write_text(PARTITIONS)
        # else a line waits in a buffer for the next ones
        (folder / "options").write_text("force_log_flush TRUE\n")
        with self.manager():
            for host in MEMBERS:
                self.join(host)
            self.group = wait_until("the group is sent to somebody",
                                    self.written_group)
        self.sweep = osmlog.Log(self.text().partition("SUBNET UP")[0])

    def text(self):
        return self.log.read_text(errors="replace") \
            if self.log.exists() else ""

    def environment(self, host):
        """What makes a program sit on a host's HCA."""
        env = dict(os.environ, OSM_CACHE_DIR=str(self.folder),
                   OSM_TMP_DIR=str(self.folder))
        if self.simulated:
            env.update(LD_PRELOAD=LIBRARY, SIM_HOST=node(host))
        return env

    @contextlib.contextmanager
    def manager(self):
        """OpenSM, from its start to its first SUBNET UP and to its end."""
        with subprocess.Popen(
                ["opensm", "-F", self.folder / "options", "-g", SM_GUID,
                 "-t", str(1000 * SLOW), "-s", "0",
                 "-D", osmlog.LOG_FLAGS, "-f", self.log,
                 "-P", self.folder / "partitions"], cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                env=self.environment(0)) as process:
            try:
                wait_until("SUBNET UP", lambda: "SUBNET UP" in self.text())
                yield
            finally:
                process.send_signal(signal.SIGTERM)

    def join(self, host):
        """Make a port a member."""
        device = "umad0" if self.simulated else f"umad{host}"
        subprocess.run(["/usr/bin/python3", JOIN, f"/dev/infiniband/{device}",
                        str(SM_LID), GROUP, port_gid(host)], check=True,
                       cwd=self.folder, env=self.environment(host),
                       timeout=60 * SLOW)

    def written_group(self):
        """Ports that the group's MLID leads to.

        One member alone needs no forwarding, so OpenSM writes it for the
        second.
        """
        blocks = osmlog.Log(self.text()).writes.get(
            osmlog.Key(SWITCH, "MulticastForwardingTable", 0))
        mask = blocks[-1]["entry0"] if blocks else 0
        return {port for port in range(16) if mask >> port & 1}


# -- the two topologies ------------------------------------------------------

def topology():
    """The fabric's own topology, in the simulator's format.

    Without what the lab's manager gave it, else the simulator begins with it.
    """
    text = run("ibnetdiscover", "-C", "fab0").stdout
    text = re.sub(r"^(\[.*?)\s*#.*$", r"\1", text, flags=re.M)
    return LINKS + re.sub(r" lid \d+ lmc \d+$", "", text, flags=re.M)


@contextlib.contextmanager
def simulator(net):
    """ibsim with a topology."""
    # it reads commands, over and over again where there are none
    with subprocess.Popen(["ibsim", "-s", "-n", net], stdin=subprocess.PIPE,
                          stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        try:
            wait_until("ibsim listens", lambda: "sim:ctl" in
                       pathlib.Path("/proc/net/unix").read_text())
            yield
        finally:
            process.kill()


@contextlib.contextmanager
def fresh_fabric():
    """A fabric that nobody configured; the lab's comes back at the end."""
    run("lab-sm", "stop")
    run("rmmod", "ib_fabric")
    try:
        run("insmod", MODULE, f"hcas={HOSTS + 1}", SHAPE)
        wait_until("umad is there", lambda: pathlib.Path(
            f"/dev/infiniband/umad{HOSTS}").exists())
        yield
    finally:
        run("rmmod", "ib_fabric", check=False)
        run("insmod", MODULE, f"hcas={HOSTS + 1}")
        run("lab-sm", "start")
        wait_until("all ports ACTIVE", all_active)


@pytest.fixture(name="reference", scope="module")
def on_the_simulator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulator")
    net = folder / "net"
    net.write_text(topology())
    with simulator(net):
        return Subnet(folder / "opensm", simulated=True)


@pytest.fixture(name="ours", scope="module")
def on_the_fabric(tmp_path_factory, reference):
    # the topology is asked of the lab's fabric, so the simulator comes first
    assert reference
    folder = tmp_path_factory.mktemp("fabric")
    with fresh_fabric():
        subnet = Subnet(folder / "opensm", simulated=False)
        subnet.in_hardware = mft()[MLID]
    return subnet


# -- the differences ---------------------------------------------------------

def kind(key):
    """What a packet was about."""
    if key.path != SWITCH:
        return "HCA"
    if key.attribute != "PortInfo":
        return "switch"
    if not key.modifier:
        return "port0"
    return "port" if key.modifier <= switch_port(HOSTS) else "idle"


def history(packets, field):
    """The values a field had, one after the other."""
    return tuple(value for value, _ in
                 itertools.groupby(fields[field] for fields in packets))


def differences(theirs, ours):
    """{(kind, field, their history, our history)} of the fields not alike.

    When a field is alike in one port and not in another, both are told.
    """
    found = {}
    for key in theirs.keys() & ours.keys():
        for field in theirs[key][0]:
            pairs = found.setdefault((kind(key), key.attribute, field), set())
            pairs.add((history(theirs[key], field),
                       history(ours[key], field)))
    return {(who, field, *pair) for (who, _, field), pairs in found.items()
            if any(one != other for one, other in pairs) for pair in pairs}


def known(phase):
    """What differences() is to find in a phase."""
    table = set()
    for line in KNOWN.splitlines():
        if not line or line.startswith("#"):
            continue
        phases, who, field, *values = line.split()
        if phase in phases:
            table.add((who, field, *(tuple(int(value, 0) for value
                                           in text.split(","))
                                     for text in values)))
    return table


def enforced(keys):
    """Those about a P_Key table of a switch's own port."""
    return {key for key in keys if kind(key) == "switch" and
            key.attribute == "P_KeyTable" and key.modifier >> 16}


def compare(theirs, ours, phase):
    assert theirs.keys() - enforced(theirs) == ours.keys()
    assert enforced(theirs)
    assert differences(theirs, ours) == known(phase)


def attributes(packets):
    """How many nodes and tables each attribute was about."""
    names = [key.attribute for key in packets]
    return {name: names.count(name) for name in names}


def test_opensm_finds_what_it_finds_on_the_simulator(reference, ours):
    theirs, mine = reference.sweep.reads, ours.sweep.reads
    compare(theirs, mine, "f")
    found = attributes(mine)
    nodes = HOSTS + 2
    assert found["NodeInfo"] == found["NodeDescription"] == nodes
    assert found["SwitchInfo"] == 1
    assert found["PortInfo"] > nodes
    # two blocks for an HCA's 64
    assert found["P_KeyTable"] == 2 * (HOSTS + 1) + 1


def test_opensm_sets_what_it_sets_on_the_simulator(reference, ours):
    theirs, mine = reference.sweep.writes, ours.sweep.writes
    compare(theirs, mine, "s")
    found = attributes(mine)
    assert found["PortInfo"] == 2 * (HOSTS + 1) + 1
    assert found["P_KeyTable"] >= HOSTS
    assert found["LinearForwardingTable"] >= 1
    assert found["SwitchInfo"] == 1


def test_opensm_is_answered_as_by_the_simulator(reference, ours):
    compare(reference.sweep.results, ours.sweep.results, "a")
    for subnet in reference, ours:
        assert subnet.sweep.results.keys() == subnet.sweep.writes.keys()
        assert not subnet.sweep.refused


def test_a_group_is_forwarded_as_on_the_simulator(reference, ours):
    members = {switch_port(host) for host in MEMBERS}
    assert reference.group == ours.group == ours.in_hardware == members
