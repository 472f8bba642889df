# SPDX-License-Identifier: GPL-2.0
"""Why is there no carrier? One line says it, and it is right."""

import contextlib
import re

import pytest

from labkit import (SLOW, all_active, attr, edit, ethtool_stats, events, fault,
                    has_carrier, ip4, ip6, link, on, ping, plug,
                    port_is_active, reason, run, set_link, table, traced,
                    wait_until, within, without_opensm)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("reason")]

SM = "fab0/port1"
# Subnet administration: the answer to a Get or Set of a membership
MEMBER_RECORD = "class=3 method=0x81 attr=0x38"


def back(host):
    """The carrier is there again, and so is the host's IPv6 address."""
    wait_until("carrier is back", lambda: has_carrier(host), timeout=60)
    assert attr(host, "link_reason") == "up"
    on(host, "ip", "addr", "replace", f"{ip6(host)}/64", "dev", "ib0", "nodad")


def why(host, word, timeout=30):
    """Wait for a reason; there is no carrier then."""
    wait_until(f"it is {word}", lambda: reason(host) == word, timeout)
    assert not has_carrier(host)


@pytest.mark.core
def test_up_and_admin_down():
    assert attr(2, "link_reason") == "up"
    on(2, "ip", "link", "set", "ib0", "down")
    assert attr(2, "link_reason") == "admin-down"
    on(2, "ip", "link", "set", "ib0", "up")
    back(2)


def test_up_is_said_with_the_carrier_and_not_before():
    for _ in range(5):
        on(2, "ip", "link", "set", "ib0", "down")
        on(2, "ip", "link", "set", "ib0", "up")
        wait_until("it says up", lambda: reason(2) == "up", timeout=60)
        assert has_carrier(2)
    back(2)


@pytest.mark.core
def test_port_down():
    set_link(2, "down")
    try:
        why(2, "port-down")
    finally:
        set_link(2, "up")
    back(2)


def test_a_port_without_a_lid():
    """The subnet manager would give it one at once."""
    run("lab-sm", "stop")
    lid = on(2, "cat", "/sys/class/infiniband/fab2/ports/1/lid").stdout
    try:
        edit(2, "lid", 0)
        why(2, "lid-0")
        edit(2, "lid", int(lid, 16))
    finally:
        run("lab-sm", "start")
    back(2)


@contextlib.contextmanager
def without_pkeys(host):
    """No key in the port's table, and none but OpenSM's start puts it back."""
    keys = {index: key for index, key in table(host, "pkeys").items() if key}
    for index in keys:
        edit(host, "pkeys", f"{index} 0")
    try:
        yield
    finally:
        for index, key in keys.items():
            edit(host, "pkeys", f"{index} {key:#x}")


@pytest.mark.core
def test_pkey_absent():
    with without_pkeys(2):
        why(2, "pkey-absent")
        assert attr(2, "link_reason") == "pkey-absent pkey=0xffff"
    back(2)


@contextlib.contextmanager
def pkey_at(host, index):
    """The default key is there, and a limited member's where it was."""
    edit(host, "pkeys", "0 0x7fff")
    edit(host, "pkeys", f"{index} 0xffff")
    try:
        yield
    finally:
        edit(host, "pkeys", "0 0xffff")
        edit(host, "pkeys", f"{index} 0")


def changes(host):
    return int(attr(host, "carrier_changes"))


def test_a_table_that_cannot_be_read_has_lost_no_key():
    """Nor is it read for one that ib_core knows of, as long as that is so."""
    free = max(table(2, "guids")) + 1
    with fault("fab2", "verbs", "query_pkey every=1 errno=EIO"):
        before = changes(2)
        for guid in (0x02fab0000a000003, 0):
            seen = events("fab2/port1")["GID_CHANGE"]
            edit(2, "guids", f"{free} {guid:#x}")
            wait_until("an event told of it", lambda n=seen:
                       events("fab2/port1")["GID_CHANGE"] > n)
        ping(2, ip4(1), 10)
        assert changes(2) == before
        on(2, "ip", "link", "set", "ib0", "down")
        on(2, "ip", "link", "set", "ib0", "up")
        back(2)


def test_sm_unreachable():
    with fault(SM, "mad", f"drop {MEMBER_RECORD} every=1"):
        on(2, "ip", "link", "set", "ib0", "down")
        on(2, "ip", "link", "set", "ib0", "up")
        why(2, "sm-unreachable", timeout=60)
        assert "status=-110" in attr(2, "link_reason")
    back(2)


def test_sm_unreachable_where_opensm_does_not_run():
    """Its port is up, and the HCA there rejects what it is sent."""
    wait_until("all ports ACTIVE", all_active)
    run("lab-sm", "stop")
    try:
        on(2, "ip", "link", "set", "ib0", "down")
        on(2, "ip", "link", "set", "ib0", "up")
        why(2, "sm-unreachable")
        assert "status=-113" in attr(2, "link_reason")
    finally:
        run("lab-sm", "start")
    back(2)


def tries(host):
    """Attempts in a row that failed, as far as the reason tells."""
    found = re.search(r"tries=(\d+)", attr(host, "link_reason"))
    return int(found.group(1)) if found else 0


def test_bcast_joining_where_opensm_knows_no_such_group():
    """It answers, and says no."""
    old = link(2)["broadcast"]
    words = old.split(":")
    words[5] = "1e"
    on(2, "ip", "link", "set", "ib0", "broadcast", ":".join(words))
    try:
        with traced_reasons(2) as reasons:
            wait_until("it has tried some times", lambda: tries(2) > 3)
            assert "status=-22" in attr(2, "link_reason")
            assert reason(2) == "bcast-joining"
            assert "sm-unreachable" not in reasons()
    finally:
        on(2, "ip", "link", "set", "ib0", "broadcast", old)
    back(2)


@pytest.mark.long
def test_carrier_stays_while_opensm_does_not_run():
    """Whatever ends a membership: nobody is there to say that it is no more."""
    before = changes(2)
    free = max(table(2, "pkeys")) + 1
    rejected = ethtool_stats(2)["join_refusals"]
    with without_opensm(), pkey_at(2, free):
        # the waits between these add up to more than half a minute
        wait_until("joins are rejected", lambda: ethtool_stats(2)[
            "join_refusals"] >= rejected + 9, timeout=120)
        assert has_carrier(2)
        ping(1, ip4(2), 3)
    assert changes(2) == before


def test_no_way_to_the_subnet_manager():
    """ib_core asks for it once when something changes, and then no more."""
    free = max(table(2, "pkeys")) + 1
    with fault("fab2", "verbs", "create_ah every=1") as struck:
        edit(2, "pkeys", f"{free} 0x8066")
        wait_until("it was asked for in vain", lambda: struck.hit)
    on(2, "ip", "link", "set", "ib0", "down")
    on(2, "ip", "link", "set", "ib0", "up")
    why(2, "sm-unreachable")
    assert "status=-11 " in attr(2, "link_reason")
    set_link(2, "down")
    edit(2, "pkeys", f"{free} 0")
    set_link(2, "up")
    back(2)


def test_bcast_joining_tells_status_and_tries():
    """The group is gone, and the subnet manager does not make it."""
    with fault("fab2", "verbs", "attach_mcast every=1 errno=ENOSPC"):
        on(2, "ip", "link", "set", "ib0", "down")
        on(2, "ip", "link", "set", "ib0", "up")
        why(2, "bcast-joining")
        wait_until("it was tried twice", lambda: "status=-28 tries=2" in
                   attr(2, "link_reason"))
    back(2)


@pytest.mark.core
def test_a_slow_hca_holds_up_nobody_who_looks_at_the_link():
    """A command of the HCA takes its time; nobody else needs it."""
    slow = f"query_port every=1 delay_ms={3000 * SLOW}"
    with fault("fab2", "verbs", slow) as query:
        wait_until("the link is polled", lambda: query.hit)
        with within(1):
            assert link(2)["linkinfo"]["info_kind"] == "ipoib"
            assert attr(2, "link_reason") == "up"
            assert attr(2, "pkey") == "0xffff"
    wait_until("it answers", lambda: ping(1, ip4(2), 1, check=False))


@contextlib.contextmanager
def traced_reasons(host):
    """Gives a host's reasons so far, in their order, by call."""
    index = attr(host, "ifindex")
    with traced("ipoib/ipoib_reason") as lines:
        yield lambda: re.findall(
            rf"ipoib_reason: ifindex={index} reason=(\S+)",
            "\n".join(lines()))


def test_reasons_are_traced():
    with traced_reasons(2) as reasons:
        set_link(2, "down")
        why(2, "port-down")
        set_link(2, "up")
        back(2)
        found = reasons()
    assert "up" in found[found.index("port-down"):]
    wait_until("active", lambda: port_is_active(2))
    wait_until("it answers", lambda: ping(1, ip4(2), 1, check=False))


@pytest.mark.core
def test_restarting():
    """A completion queue that has overflown is made anew, with all others."""
    with traced_reasons(2) as reasons:
        with fault("fab2", "completions", "overflow nth=1 dir=recv"):
            ping(1, ip4(2), 1, check=False)
            wait_until("it starts anew", lambda: "restarting" in reasons())
        wait_until("it is done", lambda: "up" in
                   reasons()[reasons().index("restarting"):], timeout=60)
    back(2)
    wait_until("it answers", lambda: ping(1, ip4(2), 1, check=False))


def test_restarting_is_said_for_as_long_as_it_takes():
    """No completion queue can be made, so the transport does not come up."""
    with fault("fab2", "verbs", "create_cq every=1") as refused, \
            fault("fab2", "completions", "overflow nth=1 dir=recv"):
        ping(1, ip4(2), 1, check=False)
        wait_until("it was tried in vain", lambda: refused.hit)
        why(2, "restarting")
    back(2)
    wait_until("it answers", lambda: ping(1, ip4(2), 1, check=False),
               timeout=60)


@pytest.mark.core
def test_removed():
    """Nobody can read a file of an interface that is going any more."""
    with traced_reasons(2) as reasons:
        plug(2, "0")
        try:
            assert reasons()[-1] == "removed"
        finally:
            plug(2)
            run("lab-hosts", "adopt", 2)
    wait_until("all ports ACTIVE", all_active, timeout=60)
    back(2)
    wait_until("it answers", lambda: ping(1, ip4(2), 1, check=False))
