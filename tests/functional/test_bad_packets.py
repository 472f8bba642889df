# SPDX-License-Identifier: GPL-2.0
"""Packets that are not what they should be, and floods of good ones."""

import contextlib
import re
import sys
import time

import pytest

from labkit import (HOSTS, SLOW, attr, counters, ethtool_stats, fault,
                    has_carrier, inject, ip4, lid, link, on, ping, pinging,
                    start_on, traced, wait_until)

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


@pytest.mark.core
def test_every_length_up_to_60():
    before, words = ethtool_stats(2), target()
    with pinging(1, ip4(2), 0.01) as pinger:
        for length in range(61):
            inject(1, bytes([8, 0, 0, 0] + [0x45] * 60)[:length], **words)
        counted("drop_rx_runt", before, 4)
    assert pinger.lost == 0
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


def test_a_lying_grh():
    """It says that host 3 sent it to a group: it goes up as what it says."""
    before = ethtool_stats(2)
    inject(1, bytes.fromhex("08000000" + "45000014000000000100000000000000"
                            "00000000"), **target(), repeat=20,
           dgid="ff12:401b:ffff::ffff:ffff", sgid_index=0)
    wait_until("they are counted", lambda: ethtool_stats(2)[
        "rx_packets"] >= before["rx_packets"] + 20)


@pytest.mark.parametrize("data", [
    # ARP with hardware lengths of Ethernet, none, and too many
    "08060000" "0020080006040001" + "00" * 40,
    "08060000" "0020080000040001" + "00" * 40,
    "08060000" "00200800ff040001" + "00" * 40,
    "08060000" "002008001404",
    # a neighbour solicitation whose option has no length, and a short one
    "86dd0000" "6000000000203aff" + "fe80" + "00" * 14 + "ff02" + "00" * 14 +
    "8700000000000000" + "00" * 16 + "0100",
    "86dd0000" "6000000000103aff" + "00" * 32 + "87",
], ids=["arp-6", "arp-0", "arp-255", "arp-cut", "nd-0", "nd-cut"])
def test_neighbours_that_cannot_spell(data):
    before = ethtool_stats(2)["rx_packets"]
    inject(1, bytes.fromhex(data), **target(), repeat=20)
    wait_until("they went up",
               lambda: ethtool_stats(2)["rx_packets"] >= before + 20)


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
@pytest.mark.parametrize("what, most", [("gids", 2048), ("qpns", 64)])
def test_a_flood_of_neighbours_nobody_has(what, most):
    """Memory is bounded, and whoever is known is served meanwhile."""
    count = 100_000 if SLOW == 1 else 5_000
    before = ethtool_stats(1)
    with pinging(1, ip4(2), 0.01) as pinger:
        on(1, sys.executable, "-c", FLOOD, count, what, timeout=240)
        after = ethtool_stats(1)
    assert pinger.lost == 0
    assert pinger.slowest_ms < 200 * SLOW
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
    with fault("fab0/port1", "mad", "drop class=3 method=0x81 attr=0x35 "
               "every=1"):
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
    with fault("fab0/port1", "mad", "drop class=3 method=0x81 attr=0x35 "
               "every=1"):
        with pinging(1, ip4(2), 0.01) as pinger:
            flood = start_on(1, sys.executable, "-c", FLOOD, 2000, "gids")
            flood.wait(timeout=120)
            before = ethtool_stats(1)["path_refusals"]
            wait_until("some have failed", lambda: ethtool_stats(1)[
                "path_refusals"] > before + 10, timeout=60)
    assert pinger.lost == 0
    assert pinger.slowest_ms < 200 * SLOW


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
            assert time.monotonic() - start < SLOW
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
