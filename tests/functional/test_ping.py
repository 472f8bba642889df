# SPDX-License-Identifier: GPL-2.0
"""Hosts reach each other over IPv4 and IPv6."""

import itertools
import re

import pytest

from labkit import (HOSTS, SLOW, counters, fault, ip4, ip6, on, ping, pinging,
                    wait_until)

pytestmark = pytest.mark.needs("netdev")

PAIRS = list(itertools.permutations(range(1, HOSTS + 1), 2))


@pytest.mark.smoke
@pytest.mark.core
def test_ipv4_between_all_hosts():
    for source, target in PAIRS:
        ping(source, ip4(target))


@pytest.mark.smoke
@pytest.mark.core
def test_ipv6_between_all_hosts():
    for source, target in PAIRS:
        ping(source, ip6(target))


def test_ipv6_link_local():
    addr = on(2, "ip", "-6", "-o", "addr", "show", "dev", "ib0", "scope",
              "link").stdout
    local = re.search(r"inet6 (fe80:[0-9a-f:]+)/64", addr).group(1)
    ping(1, f"{local}%ib0")


@pytest.mark.core
def test_ten_thousand_flood_pings_without_loss():
    out = on(1, "ping", "-q", "-f", "-c", 10000, ip4(2),
             timeout=180).stdout
    assert "10000 packets transmitted, 10000 received, 0% packet loss" in out


@pytest.mark.parametrize("size", [1, 1471, 1472, 2016])
def test_every_size_up_to_the_mtu(size):
    ping(1, ip4(2), 3, "-s", size, "-M", "do")


def test_fragments_of_a_large_datagram():
    ping(1, ip4(2), 3, "-s", 30000)
    ping(1, ip6(2), 3, "-s", 30000)


def test_first_packets_of_a_new_neighbour_are_not_lost():
    """Packets wait while address and path are being resolved."""
    for host in (1, 2):
        on(host, "ip", "neigh", "flush", "dev", "ib0")
    assert ping(1, ip4(2), 1, "-W", 5 * SLOW) == 1


def test_a_ping_under_way_is_not_lost():
    ping(1, ip4(2))
    with fault("fab2/port1", "delay", "every=1 us=100000 qp=ud") as late:
        with pinging(1, ip4(2), 0.01) as pinger:
            wait_until("some are under way", lambda: late.hit >= 20)
    assert pinger.lost == 0
    assert pinger.slowest_ms >= 100


def test_a_ping_that_is_lost_is_counted():
    ping(1, ip4(2))
    with pinging(1, ip4(2), 0.01) as pinger:
        with fault("fab2/port1", "loss", "every=10 qp=ud") as gone:
            wait_until("some are gone", lambda: gone.hit >= 5)
            hits = gone.hit
    assert hits <= pinger.lost <= hits + 3


def test_fabric_counters_balance_after_traffic():
    ping(1, ip4(2), 50)
    wait_until("nothing in flight", lambda: counters()["in_flight"] == 0)
