# SPDX-License-Identifier: GPL-2.0
"""A subnet manager that comes back with other parameters for the link."""

import contextlib
import ipaddress
import re

import pytest

from labkit import (BROADCAST, PARTITIONS, attr, fault, group_mlid, ip4, ip6,
                    link, mentions, on, ping, port_dir, queue_pairs,
                    restart_opensm, run, switch_port, traced, wait_until)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("hitless")]

# Subnet administration: the answer to a Get or Set of a membership
MEMBER_RECORD = "class=3 method=0x81 attr=0x38"
# as it is traced; the driver numbers what can happen to a group, and its
# states: one that it is in already. A host that begins to send to another
# meanwhile may be refused that.
REFUSED = " event=2 state=5->"
WITHOUT_HANDLE = " event=9 "
LINK = "mgid=ff12:401b:ffff:0000:0000:0000:ffff:ffff"


@pytest.fixture
def partitions():
    """What OpenSM has of partitions; in force again afterwards."""
    before = PARTITIONS.read_text()
    yield before
    restart_opensm(before)
    wait_until("the MTU is as before", lambda: link(2)["mtu"] == 2044,
               timeout=60)
    wait_until("an answer", lambda: ping(1, ip4(2), 1, check=False),
               timeout=60)


def attached(host):
    """Groups a host receives, as the subnet administrator writes them."""
    text = (port_dir(host) / "groups").read_text()
    return {ipaddress.ip_address(name).compressed for name in
            re.findall(r"^mgid (\S+)", text, re.M)}


def known():
    """MTU of each group that the subnet administrator knows, as it has it."""
    text = run("saquery", "-C", "fab0", "-g").stdout
    return {ipaddress.ip_address(mgid).compressed: mtu for mgid, mtu in
            re.findall(r"MGID\.*(\S+)$.*?Mtu\.*(\S+)$", text, re.M | re.S)}


@pytest.mark.core
def test_groups_are_made_anew_with_the_new_parameters(partitions):
    """Each by who asks first, and from what the broadcast group has become."""
    changes = [attr(host, "carrier_changes") for host in (1, 2)]
    on(1, "ip", "link", "set", "ib0", "mtu", 1500)
    # more than the group allows for now
    on(3, "ip", "link", "set", "ib0", "mtu", 3000)
    assert link(3)["mtu"] == 2044
    try:
        wanted = attached(1) | attached(2)
        # all have asked before the first is answered, if they do not wait
        with traced("ipoib/ipoib_mcast") as trace, \
                fault("fab0/port1", "mad",
                      f"delay=200 {MEMBER_RECORD} every=1"):
            restart_opensm(partitions.replace("mtu=4", "mtu=5, Q_Key=0x1234"))
            wait_until("the MTU follows", lambda: link(2)["mtu"] == 4092,
                       timeout=60)
            wait_until("groups are back", lambda: wanted <= known().keys(),
                       timeout=60)
        # the broadcast group asks before the subnet is up, the others after it
        assert mentions(trace(), REFUSED) == \
            mentions(trace(), LINK + REFUSED)
        assert link(1)["mtu"] == 1500
        wait_until("the MTU is the user's", lambda: link(3)["mtu"] == 3000)
        assert wanted <= attached(1) | attached(2)
        found = known()
        # IBA 15.2.5.17: exactly, and 4096 bytes
        assert {found[mgid] for mgid in wanted} == {"0x85"}
        for host, other in ((1, 2), (2, 1)):
            on(host, "ip", "neigh", "flush", "dev", "ib0")
            for address in ip4(other), ip6(other):
                wait_until("an answer", lambda h=host, a=address: ping(
                    h, a, 1, check=False), timeout=60)
    finally:
        for host in (1, 3):
            on(host, "ip", "link", "set", "ib0", "mtu", 2044)
    assert [attr(host, "carrier_changes") for host in (1, 2)] == changes


@pytest.mark.long
def test_what_was_serves_on_until_there_are_handles_for_what_is(partitions):
    """Granted with other parameters, but the HCA makes no address handles."""
    changes, received = attr(1, "carrier_changes"), attached(1)
    with traced("ipoib/ipoib_mcast") as trace, \
            contextlib.ExitStack() as silence:
        unheard = silence.enter_context(fault(
            f"switch0/port{switch_port(1)}", "mad",
            f"drop {MEMBER_RECORD} every=1"))
        restart_opensm(partitions.replace("mtu=4", "mtu=5, Q_Key=0x1234"))
        # ib_sa has its own handle by then
        wait_until("a group is granted", lambda: unheard.hit, timeout=60)
        with fault("fab1", "verbs", "create_ah every=1"):
            silence.close()
            wait_until("it was tried thrice", lambda: mentions(
                trace(), LINK + WITHOUT_HANDLE) >= 3, timeout=60)
            assert attached(1) == received
            assert link(1)["mtu"] == 2044
    wait_until("the MTU follows", lambda: link(1)["mtu"] == 4092, timeout=60)
    for host, other in ((1, 2), (2, 1)):
        wait_until("an answer", lambda h=host, o=other: ping(
            h, ip4(o), 1, check=False), timeout=60)
    assert attr(1, "carrier_changes") == changes


def test_changed_qkey_alone(partitions):
    """The group keeps its MLID, so the queue pairs stay attached to it."""
    def qkeys(host):
        return {pair["qkey"] for qpn, pair in queue_pairs(host).items()
                if qpn > 1 and pair["state"] == "RTS"}

    mlid = group_mlid(BROADCAST)
    restart_opensm(partitions.replace("mtu=4", "mtu=4, Q_Key=0x1234"))
    wait_until("the Q_Key follows", lambda: qkeys(1) == qkeys(2) ==
               {"0x00001234"}, timeout=60)
    assert group_mlid(BROADCAST) == mlid
    on(1, "ip", "neigh", "flush", "dev", "ib0")
    for address in ip4(2), ip6(2):
        wait_until("an answer", lambda a=address: ping(1, a, 1, check=False),
                   timeout=60)
