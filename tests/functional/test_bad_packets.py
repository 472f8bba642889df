# SPDX-License-Identifier: GPL-2.0
"""Packets that are not what they should be, and floods of good ones."""

import contextlib
import json
import pathlib
import re
import socket
import struct
import sys
import tempfile
import time

import pytest

from labkit import (HOSTS, SLOW, attr, counters, edit, ethtool_stats, fault,
                    has_carrier, inject, ip4, ip6, lid, link, on, ping,
                    pinging, start_on, traced, wait_until)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("rings")]

QKEY = 0xb1b


@pytest.fixture(autouse=True)
def traffic_goes_on():
    ping(1, ip4(2), 3)
    yield
    ping(1, ip4(2), 3)
    ping(2, ip4(1), 3)


def target():
    """Where host 2's interface receives."""
    return {"dlid": lid(2), "qkey": QKEY,
            "qpn": hex(int(link(2)["address"].replace(":", "")[2:8], 16))}


def counted(name, before, least):
    wait_until(f"{name} counts {least}",
               lambda: ethtool_stats(2)[name] - before[name] >= least)


LISTEN = """
import json, socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
# SO_RCVBUFFORCE: a burst is to fit
s.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)
s.bind(("ib0", 0x0003))
print("open", flush=True)
while True:
    data, (_, kind, how, *_) = s.recvfrom(4096)
    if how != socket.PACKET_OUTGOING:
        print(json.dumps((kind, how, data[:20].hex(), data[24:].hex())),
              flush=True)
"""
HOST, BROADCAST, MULTICAST = range(3)
# for experiments (IEEE 802): nobody else sends it
EXPERIMENT = 0x88b5


class Socket:
    """A packet socket of host 2, and what it heard."""

    def __init__(self):
        self.said = tempfile.NamedTemporaryFile()
        self.process = start_on(2, sys.executable, "-c", LISTEN,
                                stdout=self.said)
        wait_until("it listens", self._lines)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.said.close()

    def _lines(self):
        text = pathlib.Path(self.said.name).read_text()
        return text[:text.rfind("\n") + 1].splitlines()

    def heard(self, kind=None):
        """(type, kind, sender, data) of each packet, or each of a type."""
        packets = [json.loads(line) for line in self._lines()[1:]]
        return [packet for packet in packets if kind in (None, packet[0])]


@pytest.fixture(name="ear")
def packet_socket():
    ear = Socket()
    yield ear
    ear.close()


def went_up(ear, before, count):
    """So many were heard, and each of them was counted, once.

    What the stack has to say beside may have been heard before @before was.
    """
    wait_until(f"{count} packets went up",
               lambda: len(ear.heard(EXPERIMENT)) >= count)
    wait_until("each was counted", lambda: count <= ethtool_stats(
        2)["rx_packets"] - before["rx_packets"] <= len(ear.heard()))
    found = ear.heard(EXPERIMENT)
    assert len(found) == count
    return found


@pytest.mark.core
def test_every_length_up_to_60(ear):
    before, words = ethtool_stats(2), target()
    packet = EXPERIMENT.to_bytes(2, "big") + bytes([0, 0] + [0x45] * 60)
    for length in range(61):
        inject(1, packet[:length], **words)
    found = went_up(ear, before, 57)
    assert [data for *_, data in found] == ["45" * size for size in range(57)]
    assert ethtool_stats(2)["drop_rx_runt"] - before["drop_rx_runt"] == 4


@pytest.mark.core
def test_types_that_are_lengths():
    before = ethtool_stats(2)
    for kind in ("0000", "05dc", "05ff"):
        inject(1, bytes.fromhex(kind + "0000" + "00" * 40), **target())
    counted("drop_rx_proto", before, 3)


def test_types_that_nobody_knows():
    before = ethtool_stats(2)["rx_packets"]
    inject(1, bytes.fromhex("88b50000" + "00" * 40), **target(), repeat=50)
    wait_until("they went up",
               lambda: ethtool_stats(2)["rx_packets"] >= before + 50)


def test_the_wrong_qkey_never_arrives():
    before = counters("fab2/port1")
    words = target() | {"qkey": 0x1234}
    inject(1, bytes.fromhex("08000000" + "45" * 20), **words, repeat=20)
    wait_until("the port drops them", lambda: any(
        value - before[name] >= 20 for name, value in
        counters("fab2/port1").items() if "qkey" in name))


def guid(host):
    return int(link(host)["address"].replace(":", "")[24:], 16)


@contextlib.contextmanager
def another_guid(host, value):
    """Put a GUID into the second place of a port's table."""
    edit(host, "guids", f"1 {value:#x}")
    try:
        yield
    finally:
        edit(host, "guids", "1 0")


def sender(qpn, value):
    """What a packet socket says of who sent a packet with a GRH."""
    return f"{qpn:08x}fe80000000000000{value:016x}"


PACKET = EXPERIMENT.to_bytes(2, "big") + bytes(42)
QPN = 0x123


@pytest.mark.core
@pytest.mark.parametrize("dgid, how", [
    ("ff12:401b:ffff::ffff:ffff", BROADCAST),
    ("ff12:401b:ffff::1", MULTICAST),
    ("ff12:601b:ffff::1", MULTICAST),
    ("fe80::2fa:b000:0:301", HOST)],
    ids=["broadcast", "group", "group-6", "another-guid"])
def test_a_grh_that_lies_of_where_it_goes(ear, dgid, how):
    """It comes to host 2 alone, and goes up as what it says."""
    before = ethtool_stats(2)
    # The port takes what is addressed to any GID of its table.
    with another_guid(2, guid(3)):
        inject(1, PACKET, **target(), repeat=20, sqpn=QPN, dgid=dgid)
    for _, kind, who, _ in went_up(ear, before, 20):
        assert (kind, who) == (how, sender(QPN, guid(1)))
    assert ethtool_stats(2)["multicast"] - before["multicast"] == \
        20 * (how == MULTICAST)


@pytest.mark.core
@pytest.mark.parametrize("other", [2, 3])
def test_a_grh_that_lies_of_where_it_comes_from(ear, other):
    """Another host's GID, and be it one's own, is believed: the LID is not
    ours, so it is no echo."""
    before, words = ethtool_stats(2), target()
    qpn = int(words["qpn"], 16)
    with another_guid(1, guid(other)):
        inject(1, PACKET, **words, repeat=20, sqpn=qpn, sgid_index=1,
               dgid="ff12:401b:ffff::ffff:ffff")
    for _, kind, who, _ in went_up(ear, before, 20):
        assert (kind, who) == (BROADCAST, sender(qpn, guid(other)))
    assert ethtool_stats(2)["drop_rx_echo"] == before["drop_rx_echo"]


@pytest.mark.core
def test_an_echo_is_known_by_its_gid_too(ear):
    """Of one LID and one number: a virtual HCA's neighbour may be so."""
    before, words = ethtool_stats(2), target()
    qpn = int(words["qpn"], 16)
    words |= {"sqpn": qpn, "dgid": "ff12:401b:ffff::ffff:ffff"}
    inject(2, PACKET, **words, repeat=20)
    counted("drop_rx_echo", before, 20)
    with another_guid(2, guid(3)):
        inject(2, PACKET, **words, repeat=20, sgid_index=1)
    for _, kind, who, _ in went_up(ear, before, 20):
        assert (kind, who) == (BROADCAST, sender(qpn, guid(3)))
    assert ethtool_stats(2)["drop_rx_echo"] - before["drop_rx_echo"] == 20


# --- Neighbours --------------------------------------------------------------

NOBODY4, NOBODY6 = ip4(99), ip6(99)
NOBODYS = bytes.fromhex(sender(QPN, 0x02fab0ff00000099))


def packed(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.inet_pton(family, address)


def arp(length, size=56):
    """A request by nobody for host 2, with a hardware length."""
    body = struct.pack(">HHBBH", 32, 0x0800, length, 4, 1) + NOBODYS + \
        packed(NOBODY4) + bytes(20) + packed(ip4(2))
    # ARP of lengths that are not ours would be longer
    return bytes.fromhex("08060000") + body.ljust(600, b"\0")[:size]


def checksum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total ^ 0xffff


def solicitation(option, size=None):
    """By nobody, for host 2's address; nothing is wrong but the option."""
    body = bytes([135, 0, 0, 0]) + bytes(4) + packed(ip6(2)) + option
    body = body[:size]
    ends = packed(NOBODY6) + packed(ip6(2))
    total = checksum(ends + struct.pack(">II", len(body), 58) + body)
    body = body[:2] + struct.pack(">H", total) + body[4:]
    return bytes.fromhex("86dd0000") + bytes([0x60, 0, 0, 0]) + \
        struct.pack(">HBB", len(body), 58, 255) + ends + body


def link_layer(length, size):
    """The option of a source's address, of so many bytes; RFC 4391, 9.3."""
    return (bytes([1, length, 0, 0]) + NOBODYS).ljust(2048, b"\0")[:size]


def neighbours():
    """Who host 2 knows, and by which addresses."""
    shown = json.loads(on(2, "ip", "-j", "neigh", "show", "dev",
                          "ib0").stdout)
    return {one["dst"]: one.get("lladdr", "") for one in shown}


def icmp6(name):
    text = on(2, "cat", "/proc/net/snmp6").stdout
    return int(re.search(rf"^Icmp6{name}\s+(\d+)$", text, re.M).group(1))


def no_paths():
    """The subnet administrator tells nobody of any, nor that there is none."""
    return fault("fab0/port1", "mad",
                 "drop class=3 method=0x81 attr=0x35 every=1")


@contextlib.contextmanager
def forgotten(address):
    """What host 2 learns of an address is gone in the end."""
    try:
        yield
    finally:
        on(2, "ip", "neigh", "del", address, "dev", "ib0", check=False)


@pytest.mark.core
@pytest.mark.parametrize("address, packet", [
    (NOBODY4, arp(20)), (NOBODY6, solicitation(link_layer(3, 24)))],
    ids=["arp", "nd"])
def test_neighbours_that_can_spell(address, packet):
    """Else the next tests would show nothing.

    Host 2 answers, and were it told that nobody has that GID, it would doubt
    what it has learned.
    """
    with forgotten(address), no_paths():
        inject(1, packet, **target(), repeat=20)
        wait_until("it is known", lambda: neighbours().get(
            address, "").replace(":", "") == NOBODYS.hex())


@pytest.mark.core
@pytest.mark.parametrize("packet", [
    # of Ethernet, of none, of too many, and cut
    arp(6), arp(0), arp(255, 528), arp(20, 55)],
    ids=["6", "0", "255", "cut"])
def test_arp_that_cannot_spell(packet):
    before = neighbours()
    assert NOBODY4 not in before
    with traced("skb/kfree_skb") as lines:
        inject(1, packet, **target(), repeat=20)
        wait_until("ARP refuses them", lambda: sum(
            "location=arp_rcv" in line for line in lines()) == 20)
    assert neighbours() == before


@pytest.mark.core
@pytest.mark.parametrize("packet", [
    solicitation(link_layer(0, 24)), solicitation(link_layer(1, 8)),
    solicitation(link_layer(2, 16)), solicitation(link_layer(255, 1976)),
    solicitation(link_layer(3, 23)), solicitation(b"", 22)],
    ids=["0", "1", "2", "255", "3-cut", "cut"])
def test_solicitations_that_cannot_spell(packet):
    before = neighbours(), icmp6("InCsumErrors")
    assert NOBODY6 not in before[0]
    heard = icmp6("InNeighborSolicits")
    inject(1, packet, **target(), repeat=20)
    wait_until("they came to be read",
               lambda: icmp6("InNeighborSolicits") >= heard + 20)
    assert (neighbours(), icmp6("InCsumErrors")) == before


FLOOD = """
import socket, sys
count = int(sys.argv[1])
name = sys.argv[3] if len(sys.argv) > 3 else "ib0"
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
kind = sys.argv[4] if len(sys.argv) > 4 else "0800"
s.bind((name, int(kind, 16)))
# what waits for a path counts as being sent, and would hold this up
s.setsockopt(socket.SOL_SOCKET, 32, 1 << 29)
for number in range(count):
    gid = number if sys.argv[2] == "gids" else 0
    ha = (72 + (number if sys.argv[2] == "qpns" else 0)).to_bytes(4, "big") + \\
        bytes.fromhex("fe80000000000000") + \\
        (0x02fab0ff00000000 + gid).to_bytes(8, "big")
    try:
        s.send(ha + bytes.fromhex(kind + "0000") + bytes(40))
    except OSError:
        pass
"""


def kept_neighbours(stats):
    return stats["neigh_adds"] - stats["neigh_removes"]


@pytest.mark.core
@pytest.mark.parametrize("what, most", [("gids", 8192), ("qpns", 64)])
def test_a_flood_of_neighbours_nobody_has(what, most):
    """Memory is bounded, and whoever is known is served meanwhile."""
    count = 100_000 if SLOW == 1 else 5_000
    before = ethtool_stats(1)
    with pinging(1, ip4(2), 0.01) as pinger:
        on(1, sys.executable, "-c", FLOOD, count, what, timeout=240)
        after = ethtool_stats(1)
    assert pinger.lost == 0
    assert pinger.slowest_ms < 2000 * SLOW
    assert kept_neighbours(after) - kept_neighbours(before) <= most
    dropped = sum(after[name] - before[name] for name in after
                  if name.startswith("drop_tx_"))
    # the others wait for an answer still
    assert count - dropped <= most


def test_of_a_flood_at_one_gid_one_address_is_remembered():
    """That there is no path to it; the next flood finds room again."""
    before = ethtool_stats(1)
    on(1, sys.executable, "-c", FLOOD, 200, "qpns")
    kept = kept_neighbours(ethtool_stats(1)) - kept_neighbours(before)
    wait_until("the others are forgotten", lambda: kept_neighbours(
        ethtool_stats(1)) - kept_neighbours(before) <= min(kept, 1),
        timeout=60)


KNOWN = """
import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
s.bind(("ib0", 0x0800))
gid = bytes.fromhex(sys.argv[1])
for number in range(int(sys.argv[2])):
    s.send((0x500000 + number).to_bytes(4, "big") + gid +
           bytes.fromhex("08000000") + bytes(40))
    time.sleep(0.002)
"""


def test_a_path_that_is_known_serves_new_numbers_in_a_flood():
    """A peer that was restarted has another queue pair, and the old GID."""
    gid = link(2)["address"].replace(":", "")[8:]
    before = counters("fab2/port1")["dropped_no_qp"]
    with no_paths():
        flood = start_on(1, sys.executable, "-c", FLOOD, 10 ** 8, "gids")
        try:
            full = ethtool_stats(1)["drop_tx_park_full"]
            wait_until("no more are taken", lambda: ethtool_stats(1)[
                "drop_tx_park_full"] > full + 1000, timeout=60)
            on(1, sys.executable, "-c", KNOWN, gid, 500)
        finally:
            flood.kill()
            flood.wait()
    wait_until("each has arrived", lambda: counters("fab2/port1")[
        "dropped_no_qp"] == before + 500)


@pytest.mark.core
def test_a_flood_of_paths_that_fail():
    """Who waits in back-off does not keep the others from being served."""
    with no_paths():
        with pinging(1, ip4(2), 0.01) as pinger:
            flood = start_on(1, sys.executable, "-c", FLOOD, 2000, "gids")
            flood.wait(timeout=120)
            before = ethtool_stats(1)["path_refusals"]
            wait_until("some have failed", lambda: ethtool_stats(1)[
                "path_refusals"] > before + 10, timeout=60)
    assert pinger.lost == 0
    assert pinger.slowest_ms < 2000 * SLOW


def test_queries_come_with_measure():
    """A burst, then so many a second, whatever is asked for."""
    before = ethtool_stats(1)["path_queries"]
    on(1, sys.executable, "-c", FLOOD, 1000, "gids", timeout=120)
    assert ethtool_stats(1)["path_queries"] - before < 600
    text = on(1, "ethtool", "-S", "ib0").stdout
    assert re.search(r"path_queries", text)


@contextlib.contextmanager
def second_port(host):
    """A network of a host's second interface and everybody's first; it knows
    nobody there yet."""
    names = {other: "ib0" for other in range(1, HOSTS + 1)} | {host: "ib1"}
    on(host, "ip", "link", "set", "ib1", "down")
    on(host, "ip", "link", "set", "ib1", "up")
    for other, name in names.items():
        on(other, "ip", "addr", "add", f"10.46.0.{other}/24", "dev", name)
    try:
        wait_until("carrier", lambda: has_carrier(host, "ib1"))
        yield
    finally:
        for other, name in names.items():
            on(other, "ip", "addr", "del", f"10.46.0.{other}/24", "dev", name)


# enum ipoib_path_state: to be asked for, was asked for, and now again
PUT_OFF = "state=1->0"


@pytest.mark.lab(hca="4:ports=2")
def test_a_flood_by_one_port_holds_nobody_up_at_the_other():
    """What the one may ask for at once it may, whatever the other asks for."""
    def asked(name):
        return ethtool_stats(4, name)["path_queries"]

    def put_off(name):
        index = attr(4, "ifindex", name)
        return [line for line in lines() if PUT_OFF in line and
                f"ifindex={index} " in line]

    with second_port(4), traced("ipoib/ipoib_path") as lines:
        before = asked("ib1")
        flood = start_on(4, sys.executable, "-c", FLOOD, 2000, "gids", "ib0")
        try:
            wait_until("the first port is to wait", lambda: put_off("ib0"))
            on(4, sys.executable, "-c", FLOOD, 40, "gids", "ib1")
            start = time.monotonic()
            ping(4, "10.46.0.1", 1)
            assert time.monotonic() - start < 5 * SLOW
            wait_until("they are asked for",
                       lambda: asked("ib1") >= before + 40)
        finally:
            flood.kill()
            flood.wait()
        assert not put_off("ib1")


@pytest.mark.parametrize("kind, reasons", [
    ("0800", {"drop_tx_park_full": "NEIGH_QUEUEFULL",
              "drop_tx_no_path": "NEIGH_FAILED"}),
    ("88b5", {"drop_tx_proto": "UNHANDLED_PROTO"})], ids=["nowhere", "type"])
def test_the_kernel_is_told_why_packets_are_dropped(kind, reasons):
    with traced("skb/kfree_skb") as lines:
        before = ethtool_stats(1)
        # all to the same address, which nobody has
        on(1, sys.executable, "-c", FLOOD, 500, "one", "ib0", kind)
        for name, reason in reasons.items():
            count = wait_until(
                name, lambda: ethtool_stats(1)[name] - before[name])
            told = [line for line in lines() if f"reason: {reason}" in line and
                    f"protocol={int(kind, 16)} " in line]
            assert len(told) >= count
