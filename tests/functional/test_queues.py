# SPDX-License-Identifier: GPL-2.0
"""Several transmit queues, each with a queue pair of its own."""

import re

import pytest

from labkit import (ethtool_stats, has_carrier, ip4, link, on, ping, spray,
                    wait_until)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("queues")]

def queue_packets(host):
    stats = ethtool_stats(host)
    return packets_by_queue(stats)


def packets_by_queue(stats):
    return {int(m.group(1)): value for name, value in stats.items()
            if (m := re.fullmatch(r"tx(\d+)_packets", name))}


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


def test_arp_leaves_on_the_first_queue():
    """The queue whose QP number is in the hardware address."""
    before = queue_packets(1)
    on(1, "ip", "neigh", "flush", "dev", "ib0")
    ping(1, ip4(2), 1)
    assert queue_packets(1)[0] > before[0]


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
