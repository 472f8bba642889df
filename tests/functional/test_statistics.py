# SPDX-License-Identifier: GPL-2.0
"""Do an interface's counters say what was on the wire?"""

import collections
import json
import pathlib
import sys

import pytest

from groupkit import member, send
from labkit import (KERNEL, carry, completion_queues, counters, ethtool_stats,
                    ip4, ip6, link, on, opensm_held, ping, queue_pairs, spray,
                    wait_until)
from offloadkit import LAB

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("rings")]

# Headers and ICRC of a datagram on its way: LRH, BTH, DETH, ICRC.
AROUND = 8 + 12 + 8 + 4


# What an interface counts of all its packets.
WHOLE = {"tx_packets", "tx_bytes", "rx_packets", "rx_bytes"}


def cables():
    """What the fabric counts at hosts 1 and 2: {(host, name): number}.

    Among it the management datagrams that the host has sent.
    """
    found = {(host, name): value for host in (1, 2)
             for name, value in counters(f"fab{host}/port1").items()}
    for host in (1, 2):
        found[host, "mads"] = sum(
            int(pair["send_requests"])
            for qpn, pair in queue_pairs(host).items() if qpn <= 1)
    return found


def interfaces():
    """The same of what their interfaces count, queues of one kind added up."""
    found = collections.Counter()
    for host in (1, 2):
        for name, value in ethtool_stats(host).items():
            if name in WHOLE:
                found[host, name] = value
            elif name.endswith(("_lso", "_lso_packets")):
                found[host, name.partition("_")[2]] += value
    return found


def all_handled():
    """Has the driver seen every completion? It counts what it sent by them."""
    return not any(cq["used"] for host in (1, 2)
                   for cq in completion_queues(host))


def at_rest():
    """All of it, from a while in which nothing moved."""
    def still():
        before = cables(), interfaces()
        if all_handled() and (cables(), interfaces()) == before:
            return before[0] | before[1]
        return None
    return wait_until("nothing moves", still)


# What somebody else sent, or what was lost, and makes the two ends differ.
NOISE = ("xmit_mcast", "rcv_mcast", "mads", "dropped_no_recv_wqe")


def grown(action):
    """What grew by how much, in a time when nobody else sent anything."""
    result = {}

    def undisturbed():
        before = at_rest()
        action()
        after = at_rest()
        result.update({key: after[key] - before[key] for key in after})
        return not any(result[host, name] for host in (1, 2) for name in NOISE)
    with opensm_held():
        wait_until("a transfer that nothing disturbed", undisturbed,
                   timeout=60)
    return result


def assert_counted_alike(by, source, target):
    """At both ends, and as the cable had it."""
    packets, length = by[source, "tx_packets"], by[source, "tx_bytes"]
    assert (by[target, "rx_packets"], by[target, "rx_bytes"]) == \
        (packets, length)
    assert by[source, "sent"] == by[source, "xmit_packets"] == packets
    # each is padded to words
    padding = 4 * by[source, "xmit_words"] - AROUND * packets - length
    assert 0 <= padding <= 3 * packets


def transfer(v6=False):
    ping(1, (ip6 if v6 else ip4)(2), 1)
    by = grown(lambda: carry(1, 2, 1 << 20, v6))
    # 1990 bytes of it at most are in each packet, with headers of 56 or more
    assert by[1, "tx_packets"] >= (1 << 20) / 1990
    assert by[1, "tx_bytes"] >= (1 << 20) + 56 * by[1, "tx_packets"]
    assert_counted_alike(by, 1, 2)
    assert_counted_alike(by, 2, 1)
    return by


@pytest.mark.core
@pytest.mark.lab(**LAB)
def test_packets_that_the_hca_cuts_are_counted_as_on_the_wire():
    by = transfer()
    assert by[1, "lso"] == by[1, "lso_requests"] > 10
    assert by[1, "lso_packets"] == by[1, "lso_segments"]
    assert by[1, "lso_segments"] > 2 * by[1, "lso_requests"]


@pytest.mark.lab(**LAB)
def test_packets_that_the_stack_cuts_are_counted_as_on_the_wire():
    on(1, "ethtool", "-K", "ib0", "tso", "off")
    try:
        by = transfer()
    finally:
        on(1, "ethtool", "-K", "ib0", "tso", "on")
    assert by[1, "lso"] == by[1, "lso_packets"] == 0


@pytest.mark.parametrize("v6", [False, True], ids=["ipv4", "ipv6"])
def test_packets_are_counted_as_on_the_wire(v6):
    transfer(v6)


SHOUT = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF,
             socket.inet_aton("10.44.0.1"))
for address, count in (("10.44.0.255", 7), (sys.argv[1], 5)):
    for _ in range(count):
        s.sendto(b"x", (address, 6000))
"""


def test_broadcasts_are_not_counted_as_multicasts():
    """Seven broadcasts and five multicasts; again when others send as well."""
    group = "239.7.5.7"

    def five_of_twelve():
        before = ethtool_stats(2)
        on(1, sys.executable, "-c", SHOUT, group)
        wait_until("all have arrived", lambda: ethtool_stats(2)["rx_packets"] >=
                   before["rx_packets"] + 12)
        after = ethtool_stats(2)
        return (after["rx_packets"] - before["rx_packets"],
                after["multicast"] - before["multicast"]) == (12, 5)

    with member(2, group) as listener:
        wait_until("the group is heard", lambda: send(1, group) or
                   listener.count())
        wait_until("five of twelve are multicasts", five_of_twelve)


# --- By queue ----------------------------------------------------------------

TOOL = pathlib.Path(__file__).with_name("qstats_tool.py")


def qstats(host, scope):
    """What netdev-genl says of a host's interface; None where it has none."""
    done = on(host, sys.executable, TOOL, link(host)["ifindex"], scope,
              check=KERNEL != "6.1")
    return None if done.returncode == 2 else json.loads(done.stdout)


def shown(host):
    """The same numbers as `ip -s link` has them."""
    found = json.loads(on(host, "ip", "-j", "-s", "link", "show",
                          "ib0").stdout)[0]["stats64"]
    return {f"{way}_{what}": found[way][what] for way in ("rx", "tx")
            for what in ("packets", "bytes")}


def alike(host):
    """Do all tell the same of the interface, and its queues' sum as well?

    They are read one after the other, so only while nothing is sent.
    """
    queues, whole = qstats(host, "queue"), qstats(host, "device")
    gone = ethtool_stats(host)
    total = {f"{way}_{what}": sum(one[f"{way}_{what}"] for one in queues
                                  if one["type"] == way) +
             gone.get(f"{way}_gone_{what}", 0)
             for way in ("rx", "tx") for what in ("packets", "bytes")}
    return whole == [total] == [shown(host)]


def test_netdev_genl_counts_alike_while_queues_come_and_go():
    """What queues counted that are gone belongs to the interface alone."""
    if KERNEL == "6.1":
        assert qstats(1, "device") is None
        return

    before = sum(one["type"] == "tx" for one in qstats(1, "queue"))
    try:
        for count in (4, 1, 2):
            on(1, "ethtool", "-L", "ib0", "tx", count)
            spray(1, ip4(2))
            wait_until("all count alike", lambda: alike(1))
            assert [(one["type"], one["id"]) for one in qstats(1, "queue")] \
                == [("rx", 0)] + [("tx", number) for number in range(count)]
    finally:
        on(1, "ethtool", "-L", "ib0", "tx", before)
