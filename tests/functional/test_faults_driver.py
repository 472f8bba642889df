# SPDX-License-Identifier: GPL-2.0
"""What hosts see of cables that lose, repeat, delay and damage packets."""

import re

import pytest

from labkit import (BROADCAST, SLOW, fault, group_mlid, has_carrier, ip4,
                    kernel_log, mft, on, ping, port_is_active, queue_pairs,
                    set_link, snmp, switch_port, wait_until)

pytestmark = pytest.mark.needs("netdev")

ANSWERS = "fab2/port1"
SM = "fab0/port1"
# Subnet administration: the answer to a Get or Set of these attributes
PATH_RECORD = "class=3 method=0x81 attr=0x35"
MEMBER_RECORD = "class=3 method=0x81 attr=0x38"


@pytest.fixture(autouse=True)
def neighbours():
    """Host 1 and 2 know each other and need not ask while a fault is set."""
    for host, other in ((1, 2), (2, 1)):
        wait_until("an answer", lambda a=host, b=other:
                   ping(a, ip4(b), 1, check=False))
        text = on(host, "ip", "neigh", "show", ip4(other)).stdout
        address = re.search(r"lladdr (\S+)", text).group(1)
        on(host, "ip", "neigh", "replace", ip4(other), "lladdr", address,
           "dev", "ib0", "nud", "permanent")
    yield
    for host, other in ((1, 2), (2, 1)):
        on(host, "ip", "neigh", "del", ip4(other), "dev", "ib0", check=False)


def ping_text(host, address, count, *options):
    return on(host, "ping", "-n", "-c", count, "-i", "0.05", "-W", 2 * SLOW,
              *options, address, check=False).stdout


def test_lost_answers_are_missing():
    with fault(ANSWERS, "loss", "every=5 qp=ud") as loss:
        missing = 40 - ping(1, ip4(2), 40, check=False)
        # A neighbour discovery or a report of a group may be among the lost.
        assert 5 <= missing <= loss.hit <= missing + 2
    ping(1, ip4(2), 10)


def test_answers_that_come_twice():
    with fault(ANSWERS, "duplicate", "every=1 qp=ud"):
        text = ping_text(1, ip4(2), 10)
    # The last answer ends the run before its copy is looked at.
    assert text.count("DUP!") >= 9
    assert "10 received" in text
    assert "DUP!" not in ping_text(1, ip4(2), 5)


def round_trip_ms(host, address):
    """The shortest of five."""
    text = ping_text(host, address, 5)
    return float(re.search(r"rtt min/avg/max/mdev = ([\d.]+)/", text).group(1))


def test_delay_shows_in_the_round_trip():
    with fault(ANSWERS, "delay", "every=1 us=80000 qp=ud"):
        assert round_trip_ms(1, ip4(2)) >= 80
    if SLOW == 1:
        assert round_trip_ms(1, ip4(2)) < 80


def test_answers_overtake_each_other():
    """Of two that leave at once the first arrives last."""
    with fault(ANSWERS, "reorder", "nth=2 us=30000000 qp=ud") as swapped:
        text = ping_text(1, ip4(2), 5)
        assert swapped.hit == 1
    order = [int(n) for n in re.findall(r"icmp_seq=(\d+)", text)]
    assert sorted(order) == [1, 2, 3, 4, 5]
    assert order != sorted(order)


def test_damaged_answers_fail_their_checksum():
    """Byte 60 is what an echo carries: 4 + 20 + 8 bytes are before it.

    What else comes in may be among what is damaged.
    """
    before = snmp(1, "Icmp", "InCsumErrors")
    with fault(ANSWERS, "corrupt", "count=8 qp=ud at=60 xor=ff") as damaged:
        ping(1, ip4(2), 20, check=False)
        assert damaged.hit == 8
    assert 0 < snmp(1, "Icmp", "InCsumErrors") - before <= 8
    ping(1, ip4(2), 5)


def test_bad_crc_never_reaches_the_host():
    before = snmp(1, "Icmp", "InCsumErrors")
    with fault(ANSWERS, "corrupt", "count=5 qp=ud"):
        assert ping(1, ip4(2), 10, check=False) in (5, 6)
    assert snmp(1, "Icmp", "InCsumErrors") == before


def replug(host):
    """Pull the cable and plug it again: paths and groups are asked for anew."""
    set_link(host, "down")
    wait_until("carrier is gone", lambda: not has_carrier(host))
    set_link(host, "up")
    wait_until("the port is ACTIVE", lambda: port_is_active(host))


def test_lost_path_record_is_asked_for_again():
    with fault(SM, "mad", f"drop {PATH_RECORD} nth=1") as lost:
        replug(1)
        wait_until("an answer", lambda: ping(1, ip4(2), 1, check=False),
                   timeout=60)
        assert lost.hit == 1
        assert lost.seen >= 2


def test_late_path_record_is_waited_for():
    with fault(SM, "mad", f"delay=400 {PATH_RECORD} every=1") as late:
        replug(1)
        wait_until("an answer", lambda: ping(1, ip4(2), 1, check=False),
                   timeout=60)
        assert late.hit >= 1


def test_lost_answer_to_a_join_is_survived():
    with fault(SM, "mad", f"drop {MEMBER_RECORD} count=2") as lost:
        replug(1)
        wait_until("carrier is back", lambda: has_carrier(1), timeout=60)
        assert lost.hit == 2
        assert lost.seen >= 3
    wait_until("host 1 is a member again", lambda: switch_port(1) in
               mft().get(group_mlid(BROADCAST), set()), timeout=60)
    wait_until("an answer", lambda: ping(1, ip4(2), 1, check=False),
               timeout=60)


@pytest.mark.needs("partitions")
def test_a_group_that_the_hca_did_not_detach_is_detached_later():
    """Else its queue pair could not be destroyed, and would be leaked."""
    before = set(queue_pairs(1))
    on(1, "ip", "link", "add", "link", "ib0", "name", "kid", "type", "ipoib",
       "pkey", "0x8001")
    try:
        with kernel_log() as log:
            for _ in range(2):
                on(1, "ip", "link", "set", "kid", "up")
                wait_until("carrier", lambda: has_carrier(1, "kid"))
                with fault("fab1", "verbs", "detach_mcast nth=1 errno=EBUSY") \
                        as refusal:
                    on(1, "ip", "link", "set", "kid", "down")
                    assert refusal.hit == 1
            assert sum("cannot detach" in line for line in log.lines()) == 2
    finally:
        on(1, "ip", "link", "del", "kid")
    assert set(queue_pairs(1)) == before
