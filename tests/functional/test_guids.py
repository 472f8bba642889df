# SPDX-License-Identifier: GPL-2.0
"""Interfaces with GUIDs of their own, beside others on the same port."""

import contextlib
import ipaddress

import pytest

from cablekit import Datagram, capture, packets
from groupkit import groups_left, member, members, memberships, send
from labkit import (KERNEL, fault, has_carrier, ip4, ip6, lid, link, link_up,
                    mentions, on, ping, reregister, run, traced, wait_until)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("partitions")]

GUID = "02fab0000a000079"
PKEY = 0x8001
FULL, SEND_ONLY = 1, 8


def words(guid):
    return [guid[at:at + 2] for at in range(0, 16, 2)]


def gid(address):
    """The GID in a link address."""
    return bytes.fromhex(address.replace(":", ""))[4:]


def number(address):
    """The queue pair's in a link address."""
    return int(address.replace(":", "")[2:8], 16)


@contextlib.contextmanager
def alias():
    """The subnet manager gives host 1's port a second GUID."""
    run("lab-guid", "add", 1, f"0x{GUID}")
    try:
        yield
    finally:
        # ib0 may be in groups by it that were sent to by another
        with groups_left(1):
            wait_until("nobody uses it any more", lambda: run(
                "lab-guid", "del", 1, f"0x{GUID}",
                check=False).returncode == 0)


@contextlib.contextmanager
def child(host, name, *more):
    """A child that is up, with addresses."""
    on(host, "ip", "link", "add", "link", "ib0", "name", name, *more)
    try:
        on(host, "ip", "link", "set", name, "up")
        wait_until("carrier", lambda: has_carrier(host, name), timeout=60)
        on(host, "ip", "addr", "add", f"10.86.0.{host}/24", "dev", name)
        on(host, "ip", "addr", "add", f"fd86::{host}/64", "dev", name,
           "nodad")
        yield name
    finally:
        on(host, "ip", "link", "del", name)


def address_of_own():
    """What a child of host 1 is to be told, for its GUID alone."""
    return ":".join(link(1)["address"].split(":")[:12] + words(GUID))


@contextlib.contextmanager
def in_the_parents_partition():
    """A child of host 1 with a GUID of its own, and host 2's ib0."""
    with alias(), child(1, "kid", "address", address_of_own(),
                        "type", "ipoib") as name:
        on(2, "ip", "addr", "add", "10.86.0.2/24", "dev", "ib0")
        on(2, "ip", "addr", "add", "fd86::2/64", "dev", "ib0", "nodad")
        try:
            yield name, "ib0"
        finally:
            on(2, "ip", "addr", "del", "10.86.0.2/24", "dev", "ib0")
            on(2, "ip", "addr", "del", "fd86::2/64", "dev", "ib0")


@contextlib.contextmanager
def in_another_partition():
    """The same, and a child of host 2."""
    key = "type", "ipoib", "pkey", hex(PKEY)
    with child(2, "kid", *key) as peer, alias(), \
            child(1, "kid", "address", address_of_own(), *key) as name:
        yield name, peer


@contextlib.contextmanager
def of_the_parent():
    """Host 1's ib0 itself, and host 2's."""
    before = link(1)["address"].split(":")[12:]

    def becomes(guid):
        on(1, "ip", "link", "set", "ib0", "down")
        on(1, "ip", "link", "set", "ib0", "address",
           ":".join(link(1)["address"].split(":")[:12] + guid))
        link_up(1)

    with alias():
        becomes(words(GUID))
        try:
            yield "ib0", "ib0"
        finally:
            becomes(before)


def addresses(name):
    """Host 1's and host 2's, by family, where host 1's interface is @name."""
    if name == "ib0":
        return (ip4(1), ip4(2)), (ip6(1), ip6(2))
    return ("10.86.0.1", "10.86.0.2"), ("fd86::1", "fd86::2")


# --- Who it is from ----------------------------------------------------------

@pytest.mark.parametrize("made", [of_the_parent, in_another_partition,
                                  in_the_parents_partition])
def test_what_is_sent_to_groups_is_from_the_own_guid(made, tmp_path):
    target = tmp_path / "cable.pcap"
    with made() as (name, peer):
        address = link(1, name)["address"]
        assert gid(address)[8:] == bytes.fromhex(GUID)
        with capture("fab1/port1", target):
            for own, other in addresses(name):
                group = "239.8.1.1" if "." in own else "ff12::8101"
                with member(2, f"{group}%{peer}") as listener:
                    wait_until(f"{group} is heard", lambda g=group, m=listener:
                               send(1, f"{g}%{name}") or m.count())
                # asks who has it: to the broadcast group, and the solicited
                on(1, "ip", "neigh", "flush", "dev", name)
                wait_until("an answer", lambda o=other: ping(1, o, 1,
                                                             check=False))
            found = [one for one in map(Datagram, packets(target))
                     if one.multicast and one.slid == lid(1) and
                     one.source_qpn == number(address)]
        groups = {one.gid for one in found}
        assert {gid(link(1, name)["broadcast"])} < groups
        # 239.8.1.1, ff12::8101 and the peer's solicited-node group
        assert {b"\x0f\x08\x01\x01", b"\x00\x00\x81\x01"} < \
            {one[12:] for one in groups}
        assert any(one[12:13] == b"\xff" for one in groups - {
            gid(link(1, name)["broadcast"])})
        assert {one.source_gid for one in found} == {gid(address)}


# --- Two GUIDs, one partition ------------------------------------------------

def mgid(group):
    """An IPv4 group's in partition 0xffff, RFC 4391 section 4."""
    return ipaddress.IPv6Address(
        (0xff12401bffff << 80) +
        (int(ipaddress.IPv4Address(group)) & 0xfffffff))


def join_states(group):
    """What the SA has host 1 for in a group, by GID."""
    found = {ipaddress.ip_address(who).packed: state
             for one, who, state in memberships() if one == str(mgid(group))}
    return {who: state for who, state in found.items()
            if who in (gid(link(1)["address"]), gid(address_of_own()))}


def heard_by(group, *members):
    """Each hears what host 2 sends."""
    for one in members:
        before = one.count()
        wait_until("it is heard", lambda o=one, b=before:
                   send(2, group) or o.count() > b)


def renewed(group, count):
    """Wait until so many interfaces of host 1 are in a group anew.

    None is refused, but for the link's own group while the subnet manager's
    address is not known.
    """
    attached = f"mgid={mgid(group).exploded} event=3 "
    with traced("ipoib/ipoib_mcast") as lines:
        reregister(1)
        wait_until("it is renewed",
                   lambda: mentions(lines(), attached) >= count)
        assert not any(" event=2 " in line and "ffff:ffff " not in line
                       for line in lines())


@pytest.mark.core
def test_a_child_with_a_guid_of_its_own_in_the_parents_partition():
    """Both are reached and in the same groups, which one of them may leave."""
    group, parent = "239.8.1.2", gid(link(1)["address"])
    with in_the_parents_partition() as (name, _):
        for own, other in addresses(name) + addresses("ib0"):
            for host, to in ((1, other), (2, own)):
                wait_until("an answer", lambda h=host, t=to: ping(
                    h, t, 1, check=False))
        with member(1, group) as at_parent:
            heard_by(group, at_parent)
            with member(1, f"{group}%{name}") as at_child:
                heard_by(group, at_parent, at_child)
                # by the one that was there first
                assert join_states(group) == {parent: FULL}
                renewed(group, 2)
                at_parent.leave()
                renewed(group, 1)
                heard_by(group, at_child)
                assert join_states(group) == {parent: FULL}
            wait_until("nobody is in it", lambda: not join_states(group))
        for one in ("ib0", name):
            assert has_carrier(1, one)
    wait_until("an answer", lambda: ping(1, ip4(2), 1, check=False))


def test_senders_with_two_guids_stay_senders():
    """Neither is a receiver by that, and who receives leaves when it is over."""
    both, mixed = "239.8.1.3", "239.8.1.4"
    parent = gid(link(1)["address"])
    with in_the_parents_partition() as (name, _):
        with member(2, both) as listener:
            for where in ("ib0", name):
                before = listener.count()
                wait_until("it is heard", lambda w=where, b=before: send(
                    1, f"{both}%{w}") or listener.count() > b)
        assert join_states(both) == {parent: SEND_ONLY}
        with member(1, mixed) as at_parent, member(2, mixed) as listener:
            heard_by(mixed, at_parent)
            wait_until("it is heard", lambda: send(1, f"{mixed}%{name}") or
                       listener.count())
            assert join_states(mixed) == {parent: FULL | SEND_ONLY}
        with groups_left(1):
            wait_until("nobody is in it", lambda: not join_states(mixed))


# --- A GUID that changes while groups are joined ------------------------------

COUNT = 500 if KERNEL == "uml" else 100
LATE_MS = (1, 4, 16, 64)


def partition_members(who):
    """Groups of PKEY that the SA has a GID in."""
    return {group for group, by, _ in memberships()
            if f"401b:{PKEY:x}:" in group and
            ipaddress.ip_address(by).packed == who}


@pytest.mark.long
def test_many_groups_follow_the_guid():
    """However long it takes to leave them by the old one."""
    def become(guid):
        on(1, "ip", "link", "set", "ib0", "address", ":".join(
            link(1)["address"].split(":")[:12] + guid))

    def all_by(new, old):
        wait_until("it is in all by the new", lambda:
                   len(partition_members(new)) > COUNT, timeout=60)
        wait_until("the old is in none", lambda: not partition_members(old))

    own = link(1)["address"].split(":")[12:]
    with alias(), child(1, "kid", "type", "ipoib", "pkey", hex(PKEY)):
        # the child goes down with it
        on(1, "ip", "link", "set", "ib0", "down")
        on(1, "ip", "link", "set", "kid", "up")
        old = gid(link(1, "kid")["address"])
        try:
            with members(1, COUNT, "kid"):
                all_by(old, bytes(16))
                # the link's own group is left first, and joined again when
                # that is answered, while others are left
                for turn, late_ms in enumerate(LATE_MS):
                    with fault("fab0/port1", "mad", f"delay={late_ms} class=3 "
                               "method=0x95 attr=0x38 nth=1"):
                        become((words(GUID), own)[turn % 2])
                        new = gid(link(1, "kid")["address"])
                        assert new != old
                        all_by(new, old)
                    old = new
        finally:
            become(own)
            link_up(1)
    wait_until("an answer", lambda: ping(1, ip4(2), 1, check=False))
