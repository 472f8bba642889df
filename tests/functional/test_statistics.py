# SPDX-License-Identifier: GPL-2.0
"""Do an interface's counters say what was on the wire?"""

import collections

import pytest

from labkit import (carry, counters, ethtool_stats, ip4, ip6, on, opensm_held,
                    ping, wait_until)
from offloadkit import LAB

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("rings")]

# Headers and ICRC of a datagram on its way: LRH, BTH, DETH, ICRC.
AROUND = 8 + 12 + 8 + 4


# What an interface counts of all its packets.
WHOLE = {"tx_packets", "tx_bytes", "rx_packets", "rx_bytes"}


def cables():
    """What the fabric counts at hosts 1 and 2: {(host, name): number}."""
    return {(host, name): value for host in (1, 2)
            for name, value in counters(f"fab{host}/port1").items()}


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


def at_rest():
    """All of it, from a while in which nothing moved."""
    def still():
        before, found = cables(), interfaces()
        return before | found if cables() == before else None
    return wait_until("nothing moves", still)


# What somebody else sent, or what was lost, and makes the two ends differ.
NOISE = ("xmit_mcast", "rcv_mcast", "dropped_no_recv_wqe")


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
