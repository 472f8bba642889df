# SPDX-License-Identifier: GPL-2.0
"""What a driver makes of an HCA's offloads: sums, verdicts, large sends."""

import contextlib
import re
import subprocess
import sys

import pytest

from labkit import (HOSTS, carry, ethtool_stats, has_carrier, ip4, ip6, iperf,
                    on, ping, snmp, start_on, wait_until)
from offloadkit import LAB, checked, growth, rx_csum

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.lab(**LAB)]
needs = pytest.mark.needs
families = pytest.mark.parametrize("v6", [False, True], ids=["ipv4", "ipv6"])

CSUM = ("rx-checksumming", "tx-checksum-ipv4")
UDP_PORT = 5202

READER = """
import socket, sys
SO_RCVBUFFORCE = 33
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as one:
    one.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 22)
    one.bind((sys.argv[1], int(sys.argv[2])))
    print("bound", flush=True)
    while True:
        one.recv(2048)
"""

WRITER = """
import socket, sys
address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as one:
    for _ in range(count):
        one.sendto(bytes(1000), (address, port))
"""


def features(host, name="ib0"):
    """Which of its features an interface has on: {name: (on, fixed)}.

    But for one that the core adds where there is TSO, off at first, and which
    ethtool's word "tso" switches on.
    """
    text = on(host, "ethtool", "-k", name).stdout
    return {name: (state == "on", bool(fixed)) for name, state, fixed in
            re.findall(r"^\s*([\w-]+): (on|off)( \[fixed\])?", text, re.M)
            if name != "tx-tcp-mangleid-segmentation"}


def set_feature(host, name, state, interface="ib0"):
    on(host, "ethtool", "-K", interface, name, state)


def refused(host):
    """Packets the host's stack dropped for their sums."""
    text = on(host, "cat", "/proc/net/snmp6").stdout
    udp6 = int(re.search(r"^Udp6InCsumErrors\s+(\d+)", text, re.M).group(1))
    return {"tcp": snmp(host, "Tcp", "InCsumErrors"),
            "udp": snmp(host, "Udp", "InCsumErrors") + udp6}


@contextlib.contextmanager
def udp_reader(host, address):
    """Somebody on a host who takes every datagram to UDP_PORT, and stays."""
    with start_on(host, sys.executable, "-c", READER, address, UDP_PORT,
                  stdout=subprocess.PIPE) as reader:
        try:
            assert reader.stdout.readline() == "bound\n"
            yield
        finally:
            reader.kill()


def delivered(end):
    return end["sum_received"]["bytes"]


# --- Features ----------------------------------------------------------------

@pytest.mark.core
@needs("csum")
@pytest.mark.parametrize("host, there", [(1, True), (3, True), (4, False)])
def test_checksums_are_offered_where_the_hca_makes_them_for_ipv4(host, there):
    found = features(host)
    for name in CSUM:
        assert found[name][0] == there, name


@needs("lso")
@pytest.mark.parametrize("host, there", [(1, True), (3, True), (4, False)])
def test_large_sends_are_offered_where_the_hca_cuts_ipv4(host, there):
    assert features(host)["tx-tcp-segmentation"][0] == there


# --- Traffic -----------------------------------------------------------------

@pytest.mark.core
@families
def test_a_stream_with_every_offload_is_right(v6):
    receiver, before = growth(2), refused(2)
    with checked() as seen:
        end = iperf(1, 2, "-t", 2, v6=v6)
        assert seen()["checked"] > 100
    assert delivered(end) > 200_000
    assert receiver("csum_vouched") > 100
    assert refused(2) == before


@needs("csum")
def test_the_hca_writes_the_sums_of_ipv4_alone():
    """The capability is about IPv4: for IPv6 nobody promised anything."""
    sender = growth(1)
    with checked():
        # the largest of large sends is 64 KiB
        iperf(1, 2, "-n", "4M")
        assert sender("csum_made") + sender("lso_requests") > 50
        written = sender("csum_made")
        iperf(1, 2, "-n", "4M", v6=True)
        # a few packets of IPv4 may still be on their way
        assert sender("csum_made") - written < 20


@needs("csum")
def test_udp_gets_its_sums_too():
    sender, receiver, before = growth(1), growth(2), refused(2)
    with checked():
        total = iperf(1, 2, "-u", "-b", "2M", "-l", 1400, "-t", 1)["sum"]
    assert total["lost_packets"] == 0
    assert sender("csum_made") >= total["packets"]
    assert receiver("csum_vouched") >= total["packets"]
    assert refused(2) == before


@pytest.mark.core
@needs("lso")
def test_large_sends_are_cut_by_the_hca():
    sender = growth(1)
    with checked():
        iperf(1, 2, "-t", 2)
    assert sender("lso_requests") > 10
    assert sender("lso_segments") > 2 * sender("lso_requests")


@needs("lso")
@needs("rings")
def test_large_sends_shrink_to_the_mtu():
    """A peer announces more than the group carries, and a route believes it."""
    ping(1, ip4(2))
    before, sender = ethtool_stats(1), growth(1)
    routes = ((1, ip4(2), "mtu", 9000), (2, ip4(1), "advmss", 8000))
    for host, address, *words in routes:
        on(host, "ip", "route", "add", address, "dev", "ib0", *words)
    try:
        with checked():
            carry(1, 2, 4 << 20)
    finally:
        for host, address, *_ in routes:
            on(host, "ip", "route", "del", f"{address}/32", "dev", "ib0")
        on(1, "ip", "route", "flush", "cache")
    assert sender("lso_requests") > 10
    now = ethtool_stats(1)
    assert now["drop_tx_too_big"] > before["drop_tx_too_big"]
    # the HCA would have failed a large send of such packets
    assert now["drop_tx_error"] == before["drop_tx_error"]


@needs("lso")
def test_switched_off_large_sends_are_cut_by_the_stack():
    set_feature(1, "tso", "off")
    try:
        sender = growth(1)
        with checked():
            assert delivered(iperf(1, 2, "-t", 1)) > 100_000
        assert sender("lso_requests") == 0
        assert sender("csum_made") > 100
    finally:
        set_feature(1, "tso", "on")


@needs("csum")
def test_switched_off_checksums_are_written_by_the_stack():
    set_feature(1, "tx", "off")
    try:
        sender, before = growth(1), refused(2)
        with checked():
            assert delivered(iperf(1, 2, "-t", 1)) > 100_000
        assert sender("csum_made") == sender("lso_requests") == 0
        assert refused(2) == before
    finally:
        set_feature(1, "tx", "on")


@families
def test_an_hca_that_promises_nothing_is_asked_for_nothing(v6):
    """Host 4's HCA does IPv6 alone, which no capability says."""
    sender, before = growth(4), refused(1)
    assert delivered(iperf(4, 1, "-t", 1, v6=v6)) > 100_000
    assert sender("csum_made") == sender("lso_requests") == 0
    assert refused(1) == before


def vouched_for():
    """Sums of a stream that host 2's HCA vouched for, by its interface."""
    before = ethtool_stats(2)["rx0_csum"]
    assert delivered(iperf(1, 2, "-n", "1M")) > 100_000
    return ethtool_stats(2)["rx0_csum"] - before


@needs("rings")
def test_vouched_sums_are_counted_where_they_are_believed():
    assert vouched_for() > 10
    set_feature(2, "rx", "off")
    try:
        assert vouched_for() == 0
    finally:
        set_feature(2, "rx", "on")
    assert vouched_for() > 10


# --- Children ----------------------------------------------------------------

KID = "kid"


def at_kid(host, v6=False):
    return f"fd87::{host}" if v6 else f"10.87.0.{host}"


@pytest.fixture(scope="module")
def kids():
    """A child of each host's interface, all in one partition."""
    hosts = range(1, HOSTS + 1)
    for host in hosts:
        on(host, "ip", "link", "add", "link", "ib0", "name", KID, "type",
           "ipoib", "pkey", "0x8001")
        on(host, "ip", "link", "set", KID, "up")
        on(host, "ip", "addr", "add", f"{at_kid(host)}/24", "dev", KID)
        on(host, "ip", "addr", "add", f"{at_kid(host, True)}/64", "dev", KID,
           "nodad")
    for host in hosts:
        wait_until("carrier", lambda h=host: has_carrier(h, KID))
    for v6 in (False, True):
        wait_until("host 2's answers", lambda v=v6: ping(
            1, at_kid(2, v), 1, check=False))
    yield
    for host in hosts:
        on(host, "ip", "link", "del", KID)


def kids_stream(*options, source=1, v6=False):
    """A stream from a host's child to host 2's; bytes that were delivered."""
    return delivered(iperf(source, 2, *options, address=at_kid(2, v6)))


@contextlib.contextmanager
def switched_off(host, name):
    """A child's feature is off meanwhile, and its parent's are as ever."""
    before = features(host)
    set_feature(host, name, "off", KID)
    try:
        yield
        assert features(host) == before
    finally:
        set_feature(host, name, "on", KID)
    assert features(host, KID) == before


# As the kernel calls them: by ethtool's own words others come along.
TSO, TX, RX = "tx-tcp-segmentation", "tx-checksum-ipv4", "rx-checksum"
CHANGED = (TSO, TX, RX, "tx-generic-segmentation", "rx-gro")


@needs("children")
@needs("csum")
@needs("lso")
@pytest.mark.parametrize("host", range(1, HOSTS + 1))
def test_a_child_has_its_parents_features(kids, host):
    assert features(host, KID) == features(host)


@needs("children")
@needs("csum")
@needs("lso")
@pytest.mark.core
def test_a_childs_stream_is_made_and_checked_by_the_hca(kids):
    sender, receiver, before = growth(1), growth(2), refused(2)
    with checked() as seen:
        assert kids_stream("-t", 1) > 100_000
        assert seen()["checked"] > 100
    assert sender("lso_requests") > 10
    assert sender("lso_segments") > 2 * sender("lso_requests")
    assert receiver("csum_vouched") > 100
    assert refused(2) == before


@needs("children")
@needs("csum")
@families
def test_a_child_asks_an_hca_that_promises_nothing_for_nothing(kids, v6):
    sender, before = growth(4), refused(2)
    assert kids_stream("-t", 1, source=4, v6=v6) > 100_000
    assert sender("csum_made") == sender("lso_requests") == 0
    assert refused(2) == before


@needs("children")
@needs("csum")
@needs("lso")
def test_a_childs_offloads_are_switched_off_for_it_alone(kids):
    before = refused(2)
    with checked():
        sender = growth(1)
        with switched_off(1, TSO):
            assert kids_stream("-t", 1) > 100_000
            assert sender("lso_requests") == 0
            assert sender("csum_made") > 100
            # the parent's are as they were
            iperf(1, 2, "-n", "4M")
            assert sender("lso_requests") > 10
        sender = growth(1)
        with switched_off(1, TX):
            assert kids_stream("-t", 1) > 100_000
            assert sender("csum_made") == sender("lso_requests") == 0
        assert kids_stream("-n", "4M") > 100_000
        assert sender("lso_requests") > 10
    assert refused(2) == before


@needs("rings")
def test_what_a_child_believes_is_switched_for_it_alone(kids):
    def believed(name):
        before = ethtool_stats(2, name)["rx0_csum"]
        assert kids_stream("-n", "1M") > 100_000
        return ethtool_stats(2, name)["rx0_csum"] - before

    assert believed(KID) > 10
    with switched_off(2, RX):
        assert believed(KID) == 0
        assert vouched_for() > 10
    assert believed(KID) > 10


@needs("children")
@needs("csum")
@needs("lso")
@pytest.mark.long
def test_a_stream_is_right_while_its_childs_offloads_change(kids):
    """Each packet is made by what was on when it was."""
    before = refused(2)
    with checked() as seen, \
            start_on(1, "iperf3", "-s", "-B", at_kid(1),
                     stdout=subprocess.DEVNULL) as server:
        try:
            wait_until("iperf3 listens", lambda: "5201" in on(
                1, "ss", "-Hltn", "sport", "=", ":5201").stdout)
            client = start_on(2, "iperf3", "-c", at_kid(1), "-t", 0, "--bidir",
                              stdout=subprocess.DEVNULL)
            try:
                for name in CHANGED:
                    for state in ("off", "on"):
                        flowing = seen()["checked"]
                        for host in (1, 2):
                            set_feature(host, name, state, KID)
                        wait_until("it flows on", lambda f=flowing:
                                   seen()["checked"] > f + 20)
                assert client.poll() is None
            finally:
                client.kill()
                client.wait()
        finally:
            server.kill()
    assert refused(2) == before
    for host in (1, 2):
        assert features(host, KID) == features(host)


# --- Sums that arrive damaged, and verdicts that do not ----------------------

@pytest.mark.core
@families
def test_a_damaged_sum_is_dropped_by_the_stack(v6):
    before = refused(2)
    with rx_csum(2, "bad every=50") as hits:
        assert delivered(iperf(1, 2, "-t", 2, v6=v6)) > 20_000
        struck = hits()
    assert struck > 2
    wait_until("every one is counted",
               lambda: refused(2)["tcp"] - before["tcp"] == struck)


@families
def test_a_damaged_datagram_is_dropped_by_the_stack(v6):
    """The stack looks at a sum when somebody reads, so somebody stays."""
    address, before = (ip6 if v6 else ip4)(2), refused(2)
    with udp_reader(2, address), rx_csum(2, "bad every=50") as hits:
        on(1, sys.executable, "-c", WRITER, address, UDP_PORT, 200)
        wait_until("some were struck", lambda: hits() > 1)
        wait_until("every one is counted",
                   lambda: refused(2)["udp"] - before["udp"] == hits())


@families
def test_a_stream_without_any_verdict_is_right(v6):
    receiver, before = growth(2), refused(2)
    with rx_csum(2, "none every=1") as hits:
        assert delivered(iperf(1, 2, "-t", 1, v6=v6)) > 100_000
        assert hits() > 100
        assert receiver("csum_vouched") == 0
    assert refused(2) == before
