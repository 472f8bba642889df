# SPDX-License-Identifier: GPL-2.0
"""The usual tools see what happens on the fabric, and the fabric shows it."""

import contextlib
import os
import pathlib
import re
import struct
import zlib

import pytest

from cablekit import BTH, DETH, GRH, LRH, capture, captured
from labkit import (FABRIC, HOSTS, all_active, counters, ib_port, lid, lft,
                    loop, port_is_active, run, set_lft, set_link, switch_port,
                    wait_until)

fabric = pytest.mark.fabric


@pytest.fixture(name="loops", scope="module")
def loop_module():
    wait_until("all ports ACTIVE", all_active)
    run("insmod", f"{os.environ['LAB_MODULES']}/fabric_loop.ko")
    yield
    run("rmmod", "fabric_loop")


def switch_lid():
    out = run("smpquery", "-C", "fab0", "-D", "portinfo", "0,1", "0").stdout
    return int(re.search(r"^Lid:\.+(\d+)$", out, re.M).group(1))


def perfquery(*args):
    """What perfquery prints, as numbers by name."""
    out = run("perfquery", "-C", "fab0", *args).stdout
    return {name: int(value, 0) for name, value in
            re.findall(r"^(\w+):\.+(\w+)$", out, re.M)}


# -- the performance manager -------------------------------------------------

# LRH, BTH, DETH, ICRC and the payload, in words of four bytes
def words(size):
    return (8 + 12 + 8 + 4 + size) // 4


@fabric
@pytest.mark.core
def test_packets_and_words_are_counted_at_both_ends(loops):
    ends = [(lid(1), 1), (switch_lid(), switch_port(1)),
            (switch_lid(), switch_port(2)), (lid(2), 1)]
    before = [perfquery("-x", *end) for end in ends]
    loop(1, 2, size=2048, messages=300)
    after = [perfquery("-x", *end) for end in ends]

    for way, old, new in zip(("Xmit", "Rcv", "Xmit", "Rcv"), before, after):
        packets = new[f"Port{way}Pkts"] - old[f"Port{way}Pkts"]
        data = new[f"Port{way}Data"] - old[f"Port{way}Data"]
        assert packets == new[f"PortUnicast{way}Pkts"] - \
            old[f"PortUnicast{way}Pkts"]
        # the questions themselves are the rest
        assert 300 <= packets <= 320
        assert data == 300 * words(2048) + (packets - 300) * words(256)


@fabric
def test_sysfs_shows_the_same_counters():
    shown = int(ib_port(1, "counters/port_xmit_data"))
    # the answer leaves by the port after it was made
    assert perfquery("-x", lid(1), 1)["PortXmitData"] - shown in \
        (0, words(256), 2 * words(256))
    assert ib_port(1, "counters/symbol_error") == "0"


@fabric
def test_counters_saturate_and_clear(loops):
    switch, port = switch_lid(), switch_port(1)
    run("perfquery", "-C", "fab0", "-R", switch, port)
    assert perfquery(switch, port)["PortRcvPkts"] == 0
    target = lid(3)
    set_lft(target, 255)
    try:
        for _ in range(2):
            loop(1, 3, messages=40000)
    finally:
        set_lft(target, switch_port(3))
    now = perfquery(switch, port)
    assert now["PortRcvSwitchRelayErrors"] == 0xffff
    # the host has questions of its own, to the subnet administrator
    assert 80000 <= now["PortRcvPkts"] <= 80020

    # CounterSelect: clear the relay errors alone
    run("perfquery", "-C", "fab0", "-R", switch, port, "0x20")
    now = perfquery(switch, port)
    assert now["PortRcvSwitchRelayErrors"] == 0
    assert 80000 <= now["PortRcvPkts"] <= 80020
    run("perfquery", "-C", "fab0", "-R", switch, port)
    run("perfquery", "-C", "fab0", "-x", "-R", switch, port)


@fabric
def test_all_ports_of_a_switch_are_summed_and_cleared(loops):
    switch = switch_lid()
    run("perfquery", "-C", "fab0", "-R", switch, "255")
    loop(1, 2, messages=200)
    single = sum(perfquery(switch, port)["PortRcvPkts"]
                 for port in range(1, HOSTS + 2))
    # each question is two packets more
    assert 0 <= perfquery(switch, "255")["PortRcvPkts"] - single <= \
        2 * (HOSTS + 2)
    assert single >= 200


@fabric
def test_ports_that_are_not_there_are_refused():
    for target, port in ((lid(1), 2), (lid(1), 255), (switch_lid(), 200)):
        done = run("perfquery", "-C", "fab0", target, port, check=False)
        assert done.returncode, (target, port)


@pytest.fixture(name="errors")
def errors_at_known_places(loops):
    """Three kinds of errors: the switch's LID, what was known of errors at its
    port before, packets lost and looped.

    How many packets met them is for the fabric's own counters to say.
    """
    switch = switch_lid()
    where = f"switch0/port{switch_port(0)}"
    ends = [(switch, "255")] + [(lid(host), 1) for host in range(HOSTS + 1)]
    for end in ends:
        run("perfquery", "-C", "fab0", "-R", *end)
    details = perfquery("--rcverr", switch, switch_port(0))
    before = counters(where)
    looped, lost = lid(1), lid(2)
    rule = FABRIC / f"switch0/port{switch_port(3)}/faults/corrupt"
    set_lft(looped, switch_port(0))
    set_lft(lost, 255)
    rule.write_text("count=7 qp=ud")
    try:
        loop(0, 1, messages=11)
        loop(0, 2, messages=13)
        loop(0, 3, messages=20)
    finally:
        rule.write_text("off")
        set_lft(looped, switch_port(1))
        set_lft(lost, switch_port(2))
    now = counters(where)
    found = [now[name] - before[name]
             for name in ("dropped_no_route", "dropped_looping")]
    assert found[0] >= 13 and found[1] >= 11
    yield switch, details, *found
    for end in ends:
        run("perfquery", "-C", "fab0", "-R", *end)


@fabric
def test_ibqueryerrors_and_perfquery_find_errors_and_their_details(errors):
    switch, before, lost, looped = errors
    out = run("ibqueryerrors", "-C", "fab0", check=False).stdout
    # "ALL" sums up the ports of a node
    ports = dict(re.findall(r"GUID 0x(\w+ port \d+): (.*)", out))
    assert ports.keys() == {f"2fab0000f000000 port {switch_port(0)}",
                            "2fab00000000301 port 1"}
    assert f"[PortRcvSwitchRelayErrors == {lost + looped}]" in \
        ports[f"2fab0000f000000 port {switch_port(0)}"]
    assert "[PortRcvErrors == 7]" in ports["2fab00000000301 port 1"]

    details = perfquery("--rcverr", switch, switch_port(0))
    for name, count in (("PortDLIDMappingErrors", lost),
                        ("PortLoopingErrors", looped)):
        assert details[name] - before[name] == count
    assert perfquery("--rcverr", lid(3), 1)["PortLocalPhysicalErrors"] == 7


@fabric
def test_discards_and_downed_links_are_counted():
    switch, port = switch_lid(), switch_port(4)
    run("perfquery", "-C", "fab0", "-R", switch, port)
    target = lid(4)
    table = lft()
    set_link(4, "down")
    try:
        # OpenSM takes the entry away; a packet that was sent before meets
        # the dead port
        wait_until("OpenSM noticed", lambda: target not in lft())
        set_lft(target, port)
        run("ibping", "-C", "fab0", "-c", 1, "-t", 100, target, check=False)
        now = perfquery(switch, port)
    finally:
        set_link(4, "up")
    wait_until("fab4 is ACTIVE again", lambda: port_is_active(4))
    wait_until("fab4 is routed", lambda: lft() == table)
    assert now["LinkDownedCounter"] == 1
    assert now["PortXmitDiscards"] >= 1
    details = perfquery("--xmtdisc", switch, port)
    assert details["PortInactiveDiscards"] == now["PortXmitDiscards"]


# -- the other tools ---------------------------------------------------------

@fabric
def test_iblinkinfo_shows_both_ends_of_each_cable():
    out = run("iblinkinfo", "-C", "fab0").stdout
    for host in range(HOSTS + 1):
        # an HCA's line: its GUID, LID and port, the switch's LID and port
        assert re.search(
            rf"0x02fab0000000{host:02x}01 +{lid(host)} +1\[  \] ==\( 4X +"
            rf"10\.0 Gbps Active/  LinkUp\)==> +{switch_lid()} +"
            rf"{switch_port(host)}\[", out), out
    # the other ports of the switch
    assert re.search(rf"{switch_lid()} +{switch_port(HOSTS) + 1}\[  \] ==\( +"
                     r"Down/ Polling\)==> +\[", out), out


@fabric
def test_ibtracert_follows_the_lft():
    out = run("ibtracert", "-C", "fab0", lid(1), lid(2)).stdout
    assert f"[1] -> switch port {{0x02fab0000f000000}}[{switch_port(1)}]" \
        in out
    assert f"[{switch_port(2)}] -> ca port {{0x02fab00000000201}}[1]" in out

    target = lid(2)
    set_lft(target, 255)
    try:
        done = run("ibtracert", "-C", "fab0", "-t", 100, lid(1), target,
                   check=False)
    finally:
        set_lft(target, switch_port(2))
    assert done.returncode and "find a route" in done.stderr


def members(*options):
    """(MGID, port GID) of each membership the subnet administrator knows."""
    out = run("saquery", "-C", "fab0", *options, "-m").stdout
    return set(re.findall(r"MGID\.+(\S+)\s+Mlid\.+\S+\s+PortGid\.+(\S+)",
                          out))


@fabric
def test_saquery_lists_groups_without_members():
    assert ("ff12:401b:8001::ffff:ffff", "::") in members()


@pytest.mark.needs("netdev")
def test_saquery_lists_each_host_in_the_broadcast_group():
    # the key shows who they are
    found = members("--smkey", 1)
    for host in range(1, HOSTS + 1):
        assert ("ff12:401b:ffff::ffff:ffff",
                f"fe80::2fa:b000:0:{host << 8 | 1:x}") in found


def portstate(*args):
    return run("ibportstate", "-C", "fab0", switch_lid(), switch_port(2),
               *args).stdout


@fabric
def test_ibportstate_shows_both_ends():
    mine, peer = portstate("query").split("Peer PortInfo:")
    for text in (mine, peer):
        assert re.search(r"^LinkState:\.+Active$", text, re.M)
        assert re.search(r"^PhysLinkState:\.+LinkUp$", text, re.M)
    assert re.search(rf"^Lid:\.+{lid(2)}$", peer, re.M)


@fabric
def test_ibportstate_disables_enables_and_resets():
    try:
        assert re.search(r"^PhysLinkState:\.+Disabled$",
                         portstate("disable").split("After")[1], re.M)
        wait_until("fab2 is down",
                   lambda: ib_port(2, "state").endswith("DOWN"))
    finally:
        portstate("enable")
    wait_until("fab2 is ACTIVE again", lambda: port_is_active(2))

    before = counters("fab2/port1")["link_downed"]
    portstate("reset")
    assert counters("fab2/port1")["link_downed"] > before
    wait_until("fab2 is ACTIVE after a reset", lambda: port_is_active(2))


@fabric
def test_rdma_lists_the_same_objects():
    for what, file in (("qp", "qps"), ("cq", "cqs")):
        out = run("rdma", "res", "show", what).stdout
        shown = len(re.findall(r"^(?:link|dev) fab1\b", out, re.M))
        text = (FABRIC / "fab1" / file).read_text()
        assert shown == len(text.splitlines()) > 0
    assert "dev fab1 " in run("rdma", "res", "show", "pd").stdout


# -- dumps -------------------------------------------------------------------

@fabric
def test_address_handles_are_listed(loops):
    # umad has made one for each question on the way to the manager
    text = (FABRIC / "fab0/ahs").read_text()
    assert re.search(rf"^port 1 dlid {lid(0)} sl 0 path_bits 0 in_use 0$",
                     text, re.M), text


@pytest.mark.needs("netdev")
def test_attached_groups_are_listed():
    text = (FABRIC / "fab1/port1/groups").read_text()
    broadcast = "ff12:401b:ffff:0000:0000:0000:ffff:ffff"
    qpn = re.search(rf"^mgid {broadcast} qpn (0x\w+)$", text, re.M).group(1)
    assert f"qpn {qpn} " in (FABRIC / "fab1/qps").read_text()


# -- captures ----------------------------------------------------------------

def vcrc(data):
    """IBA 7.8.2, bit by bit: x^16 + x^12 + x^3 + x + 1, lowest bit first."""
    rest = 0xffff
    for byte in data:
        for bit in range(8):
            carry = (rest >> 15) ^ (byte >> bit & 1)
            rest = (rest << 1 & 0xffff) ^ (0x100b if carry else 0)
    return int(f"{rest ^ 0xffff:016b}"[::-1], 2)


def icrc(data):
    """IBA 7.8.1: a CRC-32 in which what changes on the way is all ones."""
    fields = bytearray(data)
    bth = LRH
    if data[1] & 3 == 3:
        fields[:LRH] = b"\xff" * LRH
        fields[LRH] |= 0x0f
        fields[LRH + 1:LRH + 4] = b"\xff" * 3
        fields[LRH + 7] = 0xff
        bth += GRH
    else:
        fields[0] |= 0xf0
    fields[bth + 4] = 0xff
    return zlib.crc32(bytes(fields))


def to_loop(packet):
    """Is it a datagram of neither QP0 nor QP1?"""
    bth = LRH + (GRH if packet[1] & 3 == 3 else 0)
    return int.from_bytes(packet[bth + 5:bth + 8], "big") > 1


@fabric
def test_captured_headers_and_checksums_are_right(loops, tmp_path):
    path = tmp_path / "cable.pcap"
    with capture("fab1/port1", path):
        loop(1, 2, size=70, messages=5)
        found = captured(path, 5, to_loop)
    sequence = []
    for packet in found[:5]:
        dlid, length, slid = struct.unpack_from(">HHH", packet, 2)
        assert (dlid, slid) == (lid(2), lid(1))
        # padded to words; PktLen leaves the VCRC out
        assert length * 4 + 2 == len(packet) == LRH + BTH + DETH + 72 + 4 + 2
        opcode, flags, pkey, _, psn = struct.unpack_from(">BBHII", packet,
                                                         LRH)
        assert (opcode, flags >> 4 & 3, pkey) == (0x64, 2, 0xffff)
        assert struct.unpack("<I", packet[-6:-2])[0] == icrc(packet[:-6])
        assert struct.unpack("<H", packet[-2:])[0] == vcrc(packet[:-2])
        sequence.append(psn & 0xffffff)
    assert sequence == list(range(sequence[0], sequence[0] + 5))


@fabric
def test_both_ends_capture_the_same(loops, tmp_path):
    ends = {"fab1/port1": tmp_path / "hca",
            f"switch0/port{switch_port(1)}": tmp_path / "switch"}
    with contextlib.ExitStack() as stack:
        for port, path in ends.items():
            stack.enter_context(capture(port, path))
        loop(1, 2, messages=50, both=1)
        one, other = (captured(path, 100, to_loop) for path in ends.values())
    assert sorted(one) == sorted(other)


@fabric
def test_what_the_cable_loses_is_seen_where_it_left(loops, tmp_path):
    ends = {"fab1/port1": tmp_path / "hca",
            f"switch0/port{switch_port(1)}": tmp_path / "switch"}
    rule = FABRIC / "fab1/port1/faults/loss"
    with contextlib.ExitStack() as stack:
        for port, path in ends.items():
            stack.enter_context(capture(port, path))
        rule.write_text("count=3 qp=ud")
        try:
            loop(1, 2, messages=10)
        finally:
            rule.write_text("off")
        left = captured(ends["fab1/port1"], 10, to_loop)
        arrived = captured(ends[f"switch0/port{switch_port(1)}"], 7, to_loop)
    assert (len(left), len(arrived)) == (10, 7)
    assert left[3:] == arrived


@fabric
def test_one_capture_a_port_and_none_without_a_reader(loops, tmp_path):
    path = tmp_path / "cable.pcap"
    with capture("fab1/port1", path):
        with pytest.raises(OSError):
            (FABRIC / "fab1/port1/pcap").open("rb")
    wait_until("the capture ended", lambda: not loop_is_captured())


def loop_is_captured():
    before = counters("fab1/port1")["captured"]
    loop(1, 2, messages=10)
    return counters("fab1/port1")["captured"] > before


@fabric
def test_a_slow_reader_loses_packets_and_knows(loops):
    before = counters("fab1/port1")
    with open(FABRIC / "fab1/port1/pcap", "rb"):
        loop(1, 2, size=4096, messages=1000)
    now = counters("fab1/port1")
    kept, lost = (now[name] - before[name]
                  for name in ("captured", "capture_lost"))
    # a mebibyte holds some 250 of them
    assert 200 < kept < 300
    assert kept + lost >= 1000


def tshark(path, *options):
    return run("lab-pcap", path, "-V", *options).stdout


@fabric
def test_tshark_reads_subnet_management(tmp_path):
    path = tmp_path / "cable.pcap"
    with capture("fab1/port1", path):
        run("smpquery", "-C", "fab0", "-D", "nodeinfo",
            f"0,1,{switch_port(1)}")
        captured(path, 2)
    out = tshark(path)
    for line in ("Virtual Lane: 0xf", "Destination Queue Pair: 0x000000",
                 "SMP (Directed Route) SubnGetResp(NodeInfo)",
                 "NodeGUID: 0x02fab00000000100"):
        assert line in out, out


@pytest.mark.needs("netdev")
def test_tshark_reads_a_ping(tmp_path):
    path = pathlib.Path(tmp_path / "cable.pcap")
    with capture("fab1/port1", path):
        run("ip", "netns", "exec", "host1", "ip", "neigh", "flush", "dev",
            "ib0")
        run("ip", "netns", "exec", "host1", "ping", "-n", "-c", 3, "-i",
            "0.1", "10.44.0.2")
        # a request and its answer: LRH, BTH, DETH, 4 + 84, ICRC, VCRC
        captured(path, 6, lambda packet: len(packet) == 122)
    out = tshark(path)
    for line in ("Local Route Header", "Base Transport Header",
                 "DETH - Datagram Extended Transport Header",
                 "Ethertype: IPv4 (0x0800)",
                 "Type: 8 (Echo (ping) request)",
                 "Type: 0 (Echo (ping) reply)",
                 "Address Resolution Protocol"):
        assert line in out, out
    assert out.count("Echo (ping) reply") >= 3
    assert "Global Route Header" in out
    assert "Malformed" not in out


# -- alias GUIDs -------------------------------------------------------------

ALIAS = 0x02fab0cafe000001


def gids(host):
    return {place: ib_port(host, f"gids/{place}") for place in range(8)}


@fabric
def test_alias_guids_reach_the_subnet_manager_and_the_host():
    out = run("lab-guid", "add", 1, f"{ALIAS:#x}", 0).stdout
    table = dict(line.split() for line in out.splitlines())
    try:
        assert table["1"] == f"{ALIAS:#018x}"
        # the manager chose the second
        assert int(table["2"], 16)
        now = gids(1)
        assert now[1] == "fe80:0000:0000:0000:02fa:b0ca:fe00:0001"
        assert now[2].replace(":", "").endswith(table["2"][2:])
        smp = run("smpquery", "-C", "fab0", "guidinfo", lid(1)).stdout
        assert f"{ALIAS:#018x}" in smp
        sa = run("saquery", "-C", "fab0", "GUIDInfoRecord", lid(1)).stdout
        assert f"{ALIAS:#018x}" in sa
    finally:
        for guid in list(table.values())[1:]:
            run("lab-guid", "del", 1, guid)
    now = gids(1)
    assert all(now[place].endswith("0000:0000:0000:0000")
               for place in range(1, 8))


@fabric
@pytest.mark.parametrize("args, status, said", [
    (["add", "99", "1"], 1, "lab-guid: guid: there is no host 99"),
    (["del", "1", "1"], 1, "has no alias 0x0000000000000001"),
    (["add", "1", *"12345678"], 1, "has room for 7 more GUIDs, not 8"),
    (["add", "1", "blue"], 2, "usage: lab-guid"),
    (["paint", "1"], 2, "usage: lab-guid"),
    (["add", "1"], 2, "usage: lab-guid"),
])
def test_lab_guid_says_what_is_wrong(args, status, said):
    done = run("lab-guid", *args, check=False)
    assert done.returncode == status
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
