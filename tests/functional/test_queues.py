# SPDX-License-Identifier: GPL-2.0
"""Several transmit queues, each with a queue pair of its own."""

import collections
import contextlib
import re
import sys

import pytest

from cablekit import Datagram, capture, packets
from labkit import (KERNEL, attr, credulous, ethtool_stats, fault, find_flow,
                    has_carrier, ip4, lid, link, on, packets_by_queue, ping,
                    queue_pairs, send_from, spray, spread_flows,
                    tx_queues, wait_until)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("queues")]


def queue_packets(host):
    stats = ethtool_stats(host)
    return packets_by_queue(stats)


def processors_of(host, queue):
    """Which send by a queue, as a mask; a kernel of one has no choice."""
    path = f"/sys/class/net/ib0/queues/tx-{queue}/xps_cpus"
    shown = on(host, "cat", path, check=KERNEL != "debug").stdout
    return int(shown.replace(",", "") or "1", 16)


@pytest.mark.lab()
def test_as_many_queues_as_processors_and_each_has_one_of_them():
    """HCAs of the lab have more completion vectors than it has processors."""
    there = set(map(int, on(1, "sh", "-c", "seq 0 $(($(nproc) - 1))"
                            ).stdout.split()))
    queues = queue_packets(1)
    assert len(queues) == min(len(there), 8)
    masks = [processors_of(1, queue) for queue in queues]
    assert all(masks)
    assert {cpu for cpu in there if any(mask >> cpu & 1 for mask in masks)} \
        == there


@pytest.mark.needs("rings")
def test_queues_come_and_go_beside_children():
    on(1, "ip", "link", "add", "link", "ib0", "name", "kid", "up", "type",
       "ipoib", "pkey", "0x8001")
    try:
        wait_until("the child has carrier", lambda: has_carrier(1, "kid"))
        with tx_queues(1, 4):
            assert len(queue_packets(1)) == 4
            ping(1, ip4(2), 5)
        ping(1, ip4(2), 5)
        assert has_carrier(1, "kid")
    finally:
        on(1, "ip", "link", "del", "kid")


@pytest.mark.core
def test_each_queue_sends():
    ping(1, ip4(2))
    before = queue_packets(1)
    assert len(before) >= 1

    def all_moved():
        spray(1, ip4(2))
        now = queue_packets(1)
        return all(now[queue] > before[queue] for queue in before)

    wait_until("every queue's counter moved", all_moved)


def test_queue_counters_add_up():
    ping(1, ip4(2), 20)

    def balanced():
        stats = ethtool_stats(1)
        return sum(packets_by_queue(stats).values()) + \
            stats["tx_gone_packets"] == stats["tx_packets"]

    wait_until("per-queue counters add up to tx_packets", balanced)


@pytest.mark.needs("rings")
def test_the_receive_queue_counts_all_that_is_received():
    before = ethtool_stats(1)["rx0_bytes"]
    ping(1, ip4(2), 20)

    def balanced():
        stats = ethtool_stats(1)
        return stats["rx0_packets"] == stats["rx_packets"] and \
            stats["rx0_bytes"] == stats["rx_bytes"]

    wait_until("its counters are the interface's", balanced)
    stats = ethtool_stats(1)
    assert stats["rx0_bytes"] > before
    # behind all that was there before them
    assert list(stats)[-4:] == ["rx0_packets", "rx0_bytes", "rx0_csum",
                                "rx0_alloc_fail"]


# Unicast and multicast from many ports, and each Neighbour Discovery message
# to many addresses: where nothing else decides, they go by several queues.
VARIETY = """
import os, socket, sys
group, address, *neighbours = sys.argv[1:]
processors = sorted(os.sched_getaffinity(0))
for port in range(20000, 20064):
    os.sched_setaffinity(0, {processors[port % len(processors)]})
    for target in (group, address):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"ib0")
            one.sendto(bytes(64), (target, port))
with socket.socket(socket.AF_INET6, socket.SOCK_RAW,
                   socket.IPPROTO_ICMPV6) as one:
    for neighbour in neighbours:
        for kind in range(133, 138):
            one.sendto(bytes([kind]) + bytes(23), (neighbour, 0))
"""
# One to each address.
KNOCK = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    for address in sys.argv[1:]:
        one.sendto(b"x", (address, 9))
"""
MANY = range(1, 9)
LEAST = {"arp": len(MANY), "nd": 5 * len(MANY), "multicast": 64, "udp": 64}


@contextlib.contextmanager
def more_addresses(host, addresses):
    words = ["dev", "ib0"]
    for address in addresses:
        on(host, "ip", "addr", "add", address, *words,
           *["nodad"] * (":" in address))
    try:
        yield
    finally:
        for address in addresses:
            on(host, "ip", "addr", "del", address, *words)


def kind(datagram):
    """What is to be told apart by where it leaves."""
    data = datagram.data
    proto = data[:2].hex()
    if datagram.multicast:
        return "multicast"
    if proto == "0806":
        return "arp"
    if proto == "86dd" and data[10] == 58 and 133 <= data[44] <= 137:
        return "nd"
    return "udp" if proto == "0800" and data[13] == 17 else None


def sent_by_kind(host, path):
    """Source queue pairs of what a host sent, one for each packet, by kind."""
    found = collections.defaultdict(list)
    for packet in packets(path):
        datagram = Datagram(packet)
        if datagram.slid == lid(host) and datagram.source_qpn > 1:
            found[kind(datagram)].append(datagram.source_qpn)
    return found


def test_what_tells_the_address_leaves_by_its_queue_pair(tmp_path):
    """ARP, Neighbour Discovery and multicast; other flows by several."""
    own = [f"10.44.0.{100 + number}" for number in MANY]
    theirs = [f"fd44::2:{number}" for number in MANY]
    path = tmp_path / "cable.pcap"

    def all_captured():
        found = sent_by_kind(1, path)
        return found if all(len(found[name]) >= least
                            for name, least in LEAST.items()) else None

    with more_addresses(1, [f"{one}/24" for one in own]), \
            more_addresses(2, [f"{one}/64" for one in theirs]), \
            tx_queues(1, 4), capture("fab1/port1", path):
        # each is asked for by host 2, and host 1 answers it alone
        on(2, sys.executable, "-c", KNOCK, *own)
        spread_flows(1)
        on(1, sys.executable, "-c", VARIETY, "224.0.0.1", ip4(2), *theirs)
        found = wait_until("all is captured", all_captured)
    known = int(link(1)["address"].replace(":", "")[2:8], 16)
    for name in ("arp", "nd", "multicast"):
        assert set(found[name]) == {known}, name
    assert len(set(found["udp"])) > 1


@pytest.mark.needs("heals")
def test_queue_above_the_first_is_recreated_alone():
    """Its completion queue is in error: nothing but that queue changes."""
    def unchanged():
        return (link(1)["address"], attr(1, "carrier_changes"),
                ethtool_stats(1)["join_voids"])

    def queue_fails():
        """What was there before; None when queue 0 sent first, and failed."""
        before, pairs = unchanged(), set(queue_pairs(1))
        recreated = ethtool_stats(1)["heal_recreate"]
        first = queue_packets(1)[0]
        with fault("fab1", "completions", "overflow nth=1 dir=send") as failure:
            send_from(1, port, ip4(2))
            wait_until("a completion queue fails", lambda: failure.hit)
            wait_until("it is recreated", lambda: ethtool_stats(
                1)["heal_recreate"] > recreated)
        wait_until("all are in RTS", lambda: has_carrier(1) and all(
            pair["state"] == "RTS" for pair in queue_pairs(1).values()))
        if queue_packets(1)[0] != first or link(1)["address"] != before[0]:
            return None
        return before, pairs, recreated

    with tx_queues(1, 4), credulous(1), credulous(2):
        spread_flows(1)
        ping(1, ip4(2))
        port, queue = find_flow(1, ip4(2), lambda queue: queue)
        before, pairs, recreated = wait_until("no other queue sends",
                                              queue_fails, timeout=120)
        assert unchanged() == before
        gone = pairs - set(queue_pairs(1))
        assert len(gone) == 1 and len(queue_pairs(1)) == len(pairs)
        sent = queue_packets(1)[queue]
        send_from(1, port, ip4(2))
        wait_until("it sends", lambda: queue_packets(1)[queue] > sent)
        assert ethtool_stats(1)["heal_recreate"] == recreated + 1
    ping(1, ip4(2), 5)


def test_each_queue_has_a_queue_pair():
    queues = len(queue_packets(1))
    text = open("/sys/kernel/debug/ib_fabric/fab1/qps",
                encoding="ascii").read()
    ready = [line for line in text.splitlines() if "state RTS" in line and
             not re.match(r"qpn 0x00000[01] ", line)]
    assert len(ready) == queues


@pytest.fixture(params=[1, 3, 8, 9, 64])
def child(request):
    """One that the stack has so many queues for; their number."""
    for host, more in ((1, ("numtxqueues", request.param, "numrxqueues", 4)),
                       (2, ())):
        on(host, "ip", "link", "add", "link", "ib0", "name", "kid", *more,
           "type", "ipoib")
        on(host, "ip", "addr", "add", f"10.83.0.{host}/24", "dev", "kid")
        on(host, "ip", "link", "set", "kid", "up")
    yield request.param
    for host in (1, 2):
        on(host, "ip", "link", "del", "kid")


def test_a_child_of_another_number_of_queues(child):
    """The stack's may be fewer than are ours, or more."""
    most = min(child, 8)
    wait_until("carrier", lambda: has_carrier(1, "kid"))
    wait_until("an answer", lambda: ping(1, "10.83.0.2", 1, check=False))
    assert link(1, "kid")["num_tx_queues"] == child
    assert len(packets_by_queue(ethtool_stats(1, "kid"))) <= most
    shown = on(1, "ethtool", "-l", "kid").stdout
    assert re.findall(r"^(RX|TX):\s+(\d+)$", shown, re.M)[:2] == [
        ("RX", "1"), ("TX", str(most))]
    for count in (most, 1, most):
        on(1, "ethtool", "-L", "kid", "tx", count)
        ping(1, "10.83.0.2", 3)
        assert len(packets_by_queue(ethtool_stats(1, "kid"))) == count
    for count in (most + 1, 64):
        assert on(1, "ethtool", "-L", "kid", "tx", count,
                  check=False).returncode
    spray(1, "10.83.0.2")
    ping(1, "10.83.0.2", 3)
