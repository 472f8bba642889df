# SPDX-License-Identifier: GPL-2.0
"""The interface as user space sees it, and its carrier."""

import re

import pytest

from labkit import (BROADCAST, HOSTS, attr, fault, group_mlid, has_carrier, ip4, ip6,
                    link, mft, on, ping, run, set_link, switch_port, wait_until)

pytestmark = pytest.mark.needs("netdev")


def hwaddr(host):
    return bytes.fromhex(link(host)["address"].replace(":", ""))


@pytest.mark.core
def test_carrier_comes_with_the_broadcast_group():
    members = mft()[group_mlid(BROADCAST)]
    for host in range(1, HOSTS + 1):
        assert has_carrier(host)
        assert switch_port(host) in members


@pytest.mark.core
def test_hardware_address_is_qpn_and_gid():
    for host in range(1, HOSTS + 1):
        addr = hwaddr(host)
        assert len(addr) == 20
        assert int.from_bytes(addr[1:4], "big") > 1
        assert addr[4:12].hex() == "fe80000000000000"
        assert addr[12:].hex() == f"02fab0000000{host:02x}01"


def test_broadcast_address_carries_the_pkey():
    assert link(1)["broadcast"].replace(":", "") == \
        "00ffffff" "ff12401bffff0000" "00000000ffffffff"


def test_type_and_port_in_sysfs():
    read = lambda name: on(1, "cat", f"/sys/class/net/ib0/{name}").stdout
    assert read("type") == "32\n"
    assert read("dev_port") == "0\n"
    assert read("dev_id") == "0x0\n"
    assert read("addr_len") == "20\n"
    assert read("pkey") == "0xffff\n"
    assert read("mode") == "datagram\n"
    assert read("umcast") == "0\n"


def test_device_link_leads_to_the_hca():
    out = on(1, "readlink", "-f", "/sys/class/net/ib0/device").stdout
    assert out.strip().endswith("/fab1")


def test_ethtool_names_the_driver():
    out = on(1, "ethtool", "-i", "ib0").stdout
    assert re.search(r"^driver: ib_ipoib", out, re.M)
    assert re.search(r"^bus-info: fab1$", out, re.M)
    assert re.search(r"^firmware-version: 1\.0\.0$", out, re.M)


def test_ethtool_reads_the_link():
    out = on(1, "ethtool", "ib0").stdout
    assert re.search(r"Speed: 40000Mb/s", out)
    assert re.search(r"Duplex: Full", out)
    assert re.search(r"Port: Other", out)
    assert re.search(r"PHYAD: 255", out)
    assert re.search(r"Auto-negotiation: on", out)
    assert re.search(r"Link detected: yes", out)


def test_ethtool_knows_no_speed_without_carrier():
    set_link(3, "down")
    try:
        wait_until("carrier is gone", lambda: not has_carrier(3))
        out = on(3, "ethtool", "ib0").stdout
        assert re.search(r"Speed: Unknown!", out)
        assert re.search(r"Duplex: Unknown!", out)
        assert re.search(r"Link detected: no", out)
    finally:
        set_link(3, "up")
    wait_until("carrier is back", lambda: has_carrier(3), timeout=60)
    assert "Speed: 40000Mb/s" in on(3, "ethtool", "ib0").stdout


def test_the_eight_statistics_come_first():
    out = on(1, "ethtool", "-S", "ib0").stdout
    names = re.findall(r"^\s+([^:\s]+):", out, re.M)
    assert names[:8] == ["rx_packets", "tx_packets", "rx_bytes", "tx_bytes",
                         "tx_errors", "rx_dropped", "tx_dropped",
                         "multicast"]


@pytest.mark.core
def test_pulled_cable_takes_the_carrier_and_gives_it_back():
    set_link(2, "down")
    try:
        wait_until("carrier is gone", lambda: not has_carrier(2))
    finally:
        set_link(2, "up")
    wait_until("carrier is back", lambda: has_carrier(2), timeout=60)
    wait_until("host 2 answers again",
               lambda: ping(1, ip4(2), 1, check=False), timeout=60)
    ping(1, ip4(2))
    ping(2, ip6(1))


def test_down_and_up():
    for _ in range(5):
        on(2, "ip", "link", "set", "ib0", "down")
        assert not has_carrier(2)
        on(2, "ip", "link", "set", "ib0", "up")
        wait_until("carrier is back", lambda: has_carrier(2))
    # Going down took the IPv6 address along.
    on(2, "ip", "addr", "replace", f"{ip6(2)}/64", "dev", "ib0", "nodad")
    wait_until("host 2 answers again",
               lambda: ping(1, ip4(2), 1, check=False))
    ping(2, ip6(1))


def test_leaving_takes_the_port_out_of_the_group():
    mlid = group_mlid(BROADCAST)
    on(2, "ip", "link", "set", "ib0", "down")
    try:
        wait_until("port left the broadcast group",
                   lambda: switch_port(2) not in mft().get(mlid, set()))
    finally:
        on(2, "ip", "link", "set", "ib0", "up")
        wait_until("carrier is back", lambda: has_carrier(2))
        on(2, "ip", "addr", "replace", f"{ip6(2)}/64", "dev", "ib0", "nodad")
    assert switch_port(2) in mft()[mlid]


@pytest.fixture
def aside():
    """A namespace of the test's own."""
    run("ip", "netns", "add", "aside")
    yield "aside"
    run("ip", "netns", "del", "aside")


def test_moving_to_another_namespace_and_back(aside):
    """It takes its name along, not its addresses, and works there."""
    on(2, "ip", "link", "set", "ib0", "netns", aside)
    try:
        run("ip", "-n", aside, "addr", "add", f"{ip4(2)}/24", "dev", "ib0")
        run("ip", "-n", aside, "link", "set", "ib0", "up")
        wait_until("host 2 answers from there",
                   lambda: ping(1, ip4(2), 1, check=False))
    finally:
        run("ip", "-n", aside, "link", "set", "ib0", "netns", "host2")
        on(2, "ip", "addr", "replace", f"{ip4(2)}/24", "dev", "ib0")
        on(2, "ip", "addr", "replace", f"{ip6(2)}/64", "dev", "ib0", "nodad")
        on(2, "ip", "link", "set", "ib0", "up")
    wait_until("carrier is back", lambda: has_carrier(2))
    wait_until("host 2 answers again",
               lambda: ping(1, ip4(2), 1, check=False))


def carrier_changes(host):
    return int(attr(host, "carrier_changes"))


@pytest.mark.needs("hitless")
def test_carrier_stays_when_a_port_query_fails():
    """A query that fails says nothing of the port."""
    before = carrier_changes(2)
    with fault("fab2", "verbs", "query_port every=1 errno=ETIMEDOUT") as query:
        # the driver polls the port of an idle link every few seconds
        wait_until("the port was queried", lambda: query.hit, timeout=60)
        ping(1, ip4(2), 10)
    ping(1, ip4(2))
    assert carrier_changes(2) == before


@pytest.mark.needs("hitless")
def test_carrier_goes_once_a_failed_port_query_is_answered_again():
    """The last known state stands until then, and not longer."""
    with fault("fab2", "verbs", "query_port every=1 errno=ETIMEDOUT") as query:
        set_link(2, "down")
        wait_until("the port was queried", lambda: query.hit)
    try:
        wait_until("carrier is gone", lambda: not has_carrier(2), timeout=60)
    finally:
        set_link(2, "up")
    wait_until("carrier is back", lambda: has_carrier(2), timeout=60)
    on(2, "ip", "addr", "replace", f"{ip6(2)}/64", "dev", "ib0", "nodad")
    wait_until("host 2 answers again",
               lambda: ping(1, ip4(2), 1, check=False), timeout=60)
