# SPDX-License-Identifier: GPL-2.0
"""What the subnet manager's MTU becomes: the groups', the ports', IP's."""

import re

import pytest

from labkit import (HOSTS, MTU, ethtool_stats, ip4, ip6, lid, link, on, ping,
                    run)

# Both sizes of the lab: each is the other's counterproof.
pytestmark = [pytest.mark.lab(), pytest.mark.lab(mtu=4092)]

IPOIB_HEADER = 4
ICMP_HEADERS = {4: 20 + 8, 6: 40 + 8}
# InfiniBand's code for an MTU (IBA 14.2.5.6), "exactly" in its upper bits
EXACTLY = 2 << 6
CODES = {2048: 4, 4096: 5}


@pytest.mark.fabric
def test_groups_have_the_mtu_of_the_partitions():
    out = run("saquery", "-C", "fab0", "-g").stdout
    found = dict(re.findall(r"MGID\.+(\S+)\s+Mlid\S+\s+Mtu\.+(\S+)", out))
    for pkey in ("ffff", "8001", "8002", "8003"):
        code = int(found[f"ff12:401b:{pkey}::ffff:ffff"], 16)
        assert code == EXACTLY | CODES[MTU + IPOIB_HEADER]


@pytest.mark.fabric
def test_ports_carry_the_largest_groups():
    """OpenSM gives a cable what both its ends can do, whatever a group is."""
    for host in range(1, HOSTS + 1):
        out = run("smpquery", "-C", "fab0", "portinfo", lid(host)).stdout
        assert re.search(r"^NeighborMTU:\.+4096$", out, re.M)
        assert re.search(r"^MtuCap:\.+4096$", out, re.M)


@pytest.mark.core
@pytest.mark.needs("netdev")
def test_mtu_is_the_groups():
    assert {link(host)["mtu"] for host in range(1, HOSTS + 1)} == {MTU}


@pytest.mark.needs("netdev")
@pytest.mark.parametrize("version", [4, 6])
def test_a_datagram_as_large_as_the_mtu_is_one_packet(version):
    address = ip4(2) if version == 4 else ip6(2)
    size = MTU - ICMP_HEADERS[version]
    ping(1, address, 1)
    before = ethtool_stats(1)
    ping(1, address, 20, "-s", size, "-M", "do")
    now = ethtool_stats(1)
    sent = now["tx_packets"] - before["tx_packets"]
    # beside a neighbour's probe or a report of membership
    assert 20 <= sent < 40
    assert now["tx_bytes"] - before["tx_bytes"] >= 20 * MTU


@pytest.mark.needs("netdev")
def test_one_byte_more_is_refused():
    done = on(1, "ping", "-c", 1, "-W", 1, "-M", "do", "-s",
              MTU - ICMP_HEADERS[4] + 1, ip4(2), check=False)
    assert done.returncode
    assert "too long" in done.stdout + done.stderr
