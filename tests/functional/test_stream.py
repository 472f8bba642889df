# SPDX-License-Identifier: GPL-2.0
"""Streams between two hosts."""

import pytest

from labkit import HOSTS, fabric_balances, iperf, on, wait_until
from offloadkit import checked, growth

pytestmark = pytest.mark.needs("netdev")


@pytest.mark.core
@pytest.mark.parametrize("v6", [
    pytest.param(False, id="ipv4"),
    pytest.param(True, id="ipv6", marks=pytest.mark.smoke)])
def test_tcp_stream(v6):
    end = iperf(1, 2, "-t", 2, v6=v6)
    assert end["sum_received"]["bytes"] > 200_000
    sent, got = end["sum_sent"]["bytes"], end["sum_received"]["bytes"]
    assert got <= sent


def test_tcp_both_ways_at_once():
    end = iperf(1, 2, "-t", 2, "--bidir")
    assert end["sum_received"]["bytes"] > 200_000
    assert end["sum_received_bidir_reverse"]["bytes"] > 200_000


def test_four_tcp_streams():
    end = iperf(1, 2, "-t", 2, "-P", 4)
    assert len(end["streams"]) == 4
    assert all(stream["receiver"]["bytes"] > 0 for stream in end["streams"])


@pytest.mark.core
def test_udp_at_a_modest_rate_loses_nothing():
    total = iperf(1, 2, "-u", "-b", "2M", "-l", 1400, "-t", 2)["sum"]
    assert total["packets"] > 100
    assert total["lost_packets"] == 0


def test_udp_at_full_rate_keeps_the_fabric_balanced():
    iperf(2, 1, "-u", "-b", "0", "-l", 1400, "-t", 1)
    wait_until("the fabric is balanced", fabric_balances)


def test_tcp_from_every_host_to_the_first():
    for host in range(2, HOSTS + 1):
        assert iperf(host, 1, "-t", 1)["sum_received"]["bytes"] > 100_000


def test_a_stream_without_offloads_uses_none():
    found = on(1, "ethtool", "-k", "ib0").stdout
    for name in ("rx-checksumming", "tx-checksumming",
                 "tcp-segmentation-offload"):
        assert f"{name}: off" in found
    sender, receiver = growth(1), growth(2)
    with checked() as seen:
        assert iperf(1, 2, "-t", 1)["sum_received"]["bytes"] > 100_000
        assert seen()["checked"] == 0
    for name in ("csum_made", "lso_requests", "lso_segments"):
        assert sender(name) == 0
    assert receiver("csum_vouched") == 0
