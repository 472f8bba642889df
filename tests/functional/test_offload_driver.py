# SPDX-License-Identifier: GPL-2.0
"""What a driver makes of an HCA's offloads: sums, verdicts, large sends."""

import contextlib
import re
import subprocess
import sys

import pytest

from labkit import (ethtool_stats, ip4, ip6, iperf, on, snmp, start_on,
                    wait_until)
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


def features(host):
    """Which of its features an interface has on: {name: (on, fixed)}."""
    text = on(host, "ethtool", "-k", "ib0").stdout
    return {name: (state == "on", bool(fixed)) for name, state, fixed in
            re.findall(r"^\s*([\w-]+): (on|off)( \[fixed\])?", text, re.M)}


def set_feature(host, name, state):
    on(host, "ethtool", "-K", "ib0", name, state)


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
