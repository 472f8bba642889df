# SPDX-License-Identifier: GPL-2.0
"""Whatever does not leave, or go up, is counted by its reason, and once."""

import sys

import pytest

from labkit import (DRIVER, attr, completion_queues, ethtool_stats, fault,
                    has_carrier, inject, ip4, lid, link, link_up, on, ping,
                    set_link, start_on, wait_until)

pytestmark = pytest.mark.needs("netdev")

SM = "fab0/port1"
MEMBER_RECORD = "class=3 method=0x81 attr=0x38"
QKEY = 0xb1b
ETHERTYPE_FOR_EXPERIMENTS = "88b5"
KID = "kid"

# So many packets, from their hardware header on; for ever if that is 0.
SEND = """
import itertools, socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
s.bind((sys.argv[1], 0x0800))
s.setsockopt(socket.SOL_SOCKET, 32, 1 << 29)
packet, count = bytes.fromhex(sys.argv[2]), int(sys.argv[3])
for _ in range(count) if count else itertools.count():
    try:
        s.send(packet)
    except OSError:
        pass
    if not count:
        time.sleep(0.001)
"""


def send(host, packet, count, name="ib0"):
    on(host, sys.executable, "-c", SEND, name, packet, count)


def address(host):
    return link(host)["address"].replace(":", "")


def group(number):
    """The hardware address of an IPv4 group of the default partition."""
    return f"00ffffffff12401bffff{0:012x}{0x0f280000 + number:08x}"


def ip_packet(ha):
    return ha + "08000000" + "45" * 40


class Drops:
    """By how much an interface's counters of drops grow."""

    def __init__(self, host, name="ib0"):
        self.host, self.name = host, name
        self.before = ethtool_stats(host, name)

    def __call__(self):
        now = ethtool_stats(self.host, self.name)
        return {name: now[name] - value for name, value in self.before.items()
                if now.get(name, value) != value and (name.startswith("drop_") or name in
                ("tx_dropped", "rx_dropped", "tx_errors"))}

    def are(self, **expected):
        """Wait until they grew by so much, and none by more."""
        wait_until(str(expected), lambda: all(
            self().get(name, 0) >= count for name, count in expected.items()))
        assert self() == expected


@pytest.fixture
def kid():
    """A child of host 1 that sends nothing on its own, and is up."""
    on(1, "ip", "link", "add", "link", "ib0", "name", KID, "type", "ipoib",
       "pkey", "0x8001")
    try:
        on(1, "sh", "-c", f"echo 1 > /proc/sys/net/ipv6/conf/{KID}/disable_ipv6")
        on(1, "ip", "link", "set", KID, "up")
        wait_until("carrier", lambda: has_carrier(1, KID))
        yield KID
    finally:
        on(1, "ip", "link", "del", KID)


# --- What is sent -------------------------------------------------------------

def announced(name):
    return ethtool_stats(1, name)["announcements"]


def dropped(name):
    """What the stack dropped by itself is in there, too."""
    return attr(1, "statistics/tx_dropped", name)


@pytest.mark.core
@pytest.mark.needs("rings")
def test_no_drop_on_a_fresh_interface():
    """It announces itself once the stack has a queueing discipline for it."""
    on(1, "ip", "link", "add", "link", "ib0", "name", KID, "type", "ipoib",
       "pkey", "0x8001")
    try:
        on(1, "ip", "addr", "add", "10.84.0.1/24", "dev", KID)
        for round_ in (1, 2):
            on(1, "ip", "link", "set", KID, "up")
            wait_until("it is announced", lambda r=round_: announced(KID) >= r)
            wait_until("its IPv6 address is there", lambda: "tentative" not in
                       on(1, "ip", "-6", "addr", "show", "dev", KID).stdout)
            assert dropped(KID) == "0"
            assert ethtool_stats(1, KID)["tx_dropped"] == 0
            on(1, "ip", "link", "set", KID, "down")
    finally:
        on(1, "ip", "link", "del", KID)


@pytest.mark.core
def test_a_type_the_link_does_not_carry():
    before = ethtool_stats(1)
    send(1, address(2) + ETHERTYPE_FOR_EXPERIMENTS + "0000" + "00" * 40, 7)
    now = ethtool_stats(1)
    assert now["tx_dropped"] - before["tx_dropped"] == 7
    if DRIVER == "ours":
        assert now["drop_tx_proto"] - before["drop_tx_proto"] == 7
    ping(1, ip4(2))


@pytest.mark.core
@pytest.mark.needs("rings")
def test_a_group_that_cannot_be_joined(kid):
    """64 packets wait for it, until it has been refused for good."""
    drops = Drops(1, kid)
    with fault(SM, "mad", f"drop {MEMBER_RECORD} every=1"):
        send(1, ip_packet(group(1)), 100, kid)
        drops.are(drop_tx_park_full=36, tx_dropped=36)
        wait_until("it is given up", lambda: "drop_tx_no_group" in drops(),
                   timeout=60)
    drops.are(drop_tx_park_full=36, drop_tx_no_group=64, tx_dropped=100)


@pytest.mark.core
@pytest.mark.needs("rings")
def test_what_is_under_way_when_the_interface_is_stopped(kid):
    # the stack hands over so many before the first is done, from the next
    # completion of a queue on
    on(1, "ethtool", "-L", KID, "tx", 1)
    on(1, "sh", "-c", "for file in /sys/class/net/kid/queues/tx-*/"
       "byte_queue_limits/limit_min; do echo 100000 > $file; done")
    send(1, ip_packet(address(2)), 1, kid)
    wait_until("there is a path", lambda: ethtool_stats(1, kid)["tx_packets"])
    drops = Drops(1, kid)
    with fault("fab1", "completions", "stall dir=send"):
        send(1, ip_packet(address(2)), 20, kid)
        wait_until("they are under way", lambda: sum(
            cq["held"] for cq in completion_queues(1)) >= 20)
        assert not drops()
        on(1, "ip", "link", "set", KID, "down")
        drops.are(drop_tx_flushed=20, tx_dropped=20)


@pytest.mark.core
@pytest.mark.needs("rings")
def test_a_link_that_goes_down_under_traffic():
    """The stack takes up to a second to see that there is no carrier.

    That is when it has just seen another change of an interface. A report of
    a group or two are counted as well.
    """
    drops = Drops(1)
    sender = start_on(1, sys.executable, "-c", SEND, "ib0",
                      ip_packet(address(2)), 0)
    try:
        def counted():
            set_link(1, "down")
            wait_until("no carrier", lambda: not has_carrier(1))
            set_link(1, "up")
            wait_until("carrier", lambda: has_carrier(1), timeout=60)
            return drops().get("drop_tx_link", 0) > 10

        wait_until("some are counted", counted, timeout=60)
    finally:
        set_link(1, "up")
        sender.kill()
        sender.wait()
    # what the stack drops by itself then is in the sum alone
    assert drops()["tx_dropped"] >= drops()["drop_tx_link"]
    link_up(1)
    wait_until("it answers", lambda: ping(1, ip4(2), 1, check=False))


# --- What is received ---------------------------------------------------------

@pytest.mark.core
@pytest.mark.needs("rings")
def test_the_echo_of_a_packet_is_in_no_other_counter():
    drops, before = Drops(1), ethtool_stats(1)["rx_packets"]
    qpn = hex(int(address(1)[2:8], 16))
    inject(1, bytes.fromhex("08000000" + "45" * 40), dlid=lid(1), qpn=qpn,
           sqpn=qpn, qkey=QKEY, repeat=7)
    drops.are(drop_rx_echo=7)
    inject(1, bytes.fromhex("08000000" + "45" * 40), dlid=lid(1), qpn=qpn,
           sqpn=0x77, qkey=QKEY)
    wait_until("a stranger's goes up",
               lambda: ethtool_stats(1)["rx_packets"] > before)
    drops.are(drop_rx_echo=7)


@pytest.mark.core
@pytest.mark.needs("heals")
def test_a_receive_that_fails_is_counted():
    before = rx_errors(2)
    drops = Drops(2)
    with fault("fab2", "completions",
               "status=LOC_LEN_ERR nth=1 dir=recv") as failure:
        ping(1, ip4(2), 1, check=False)
        wait_until("it failed", lambda: failure.hit)
    wait_until("it answers", lambda: ping(1, ip4(2), 1, check=False))
    drops.are(drop_rx_error=1)
    assert rx_errors(2) == before + 1


def rx_errors(host):
    return int(on(host, "cat", "/sys/class/net/ib0/statistics/rx_errors").stdout)
