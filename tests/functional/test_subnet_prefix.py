# SPDX-License-Identifier: GPL-2.0
"""A subnet manager that gives the subnet another prefix.

All GIDs change with it: addresses, memberships, paths and what hosts know of
each other.
"""

import contextlib

import pytest

from groupkit import member, send
from labkit import (HOSTS, SM_FOLDER, credulous, edit, ethtool_stats,
                    has_carrier, ib_port, ip4, ip6, link, on, ping, reason,
                    restart_opensm, set_link, wait_until, without_opensm)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("hitless")]

CONFIGURATION = SM_FOLDER / "opensm.conf"
OLD, NEW = "fe80000000000000", "fec0000000000001"
GROUPS = ("239.7.7.7", "ff15::7:7")
EVERYBODY = range(1, HOSTS + 1)
PAIRS = [(a, b) for a in EVERYBODY for b in EVERYBODY if a != b]
# as often an interface tells its neighbours of a new address
ANNOUNCEMENTS = 3


def prefix(address):
    """That of the GID in a hardware address."""
    return address.replace(":", "")[8:24]


def announcements():
    return [ethtool_stats(host)["announcements"] for host in EVERYBODY]


def moves_to(wanted, text):
    """OpenSM starts anew, and each port and interface has the prefix."""
    before = announcements()
    restart_opensm(text, CONFIGURATION, timeout=60)
    for host in EVERYBODY:
        wait_until("the port has the prefix", lambda h=host: ib_port(
            h, "gids/0").replace(":", "")[:16] == wanted)
        wait_until("the interface has it", lambda h=host: prefix(
            link(h)["address"]) == wanted)
    wait_until("each has said so", lambda: all(
        now >= old + ANNOUNCEMENTS for now, old in
        zip(announcements(), before)))


@contextlib.contextmanager
def another_prefix():
    """The subnet has the new one, and the old one again."""
    text = CONFIGURATION.read_text()
    try:
        moves_to(NEW, f"{text}subnet_prefix 0x{NEW}\n")
        yield
        moves_to(OLD, text)
    finally:
        if CONFIGURATION.read_text() != text:
            restart_opensm(text, CONFIGURATION, timeout=60)


def known(host, address):
    """What a host has for a neighbour."""
    return on(host, "ip", "neigh", "show", address).stdout.split()


def all_reach_all(wanted):
    """And each has the others' GIDs of this prefix."""
    for host, other in PAIRS:
        for address in (ip4(other), ip6(other)):
            wait_until(f"{address} answers host{host}", lambda h=host,
                       a=address: ping(h, a, 1, "-W", 1, check=False))
            words = known(host, address)
            assert prefix(words[words.index("lladdr") + 1]) == wanted


def all_hear(listeners):
    """What host 1 says to a group."""
    for group, members in listeners.items():
        before = [one.count() for one in members]
        wait_until(f"members of {group} hear", lambda g=group, m=members,
                   b=before: send(1, g) or all(
                       one.count() > count for one, count in zip(m, b)))


@pytest.fixture
def listeners():
    """Every host but the first is in the groups, and stays."""
    with contextlib.ExitStack() as stack:
        yield {group: [stack.enter_context(member(host, group))
                       for host in EVERYBODY[1:]] for group in GROUPS}


@pytest.mark.long
def test_everything_follows_a_subnet_prefix(listeners):
    """Also where nobody forgets a neighbour because he is old."""
    with contextlib.ExitStack() as stack:
        for host in EVERYBODY:
            stack.enter_context(credulous(host))
        all_reach_all(OLD)
        all_hear(listeners)
        with another_prefix():
            all_reach_all(NEW)
            all_hear(listeners)
        all_reach_all(OLD)
        all_hear(listeners)
        for host in EVERYBODY:
            on(host, "ip", "neigh", "flush", "dev", "ib0")
        all_reach_all(OLD)


def moves_alone(host, name, wanted):
    """A port gets a prefix by hand, and an interface on it follows."""
    edit(host, "prefix", f"0x{wanted}")
    wait_until(f"{name} has the prefix {wanted}", lambda: prefix(
        link(host, name)["address"]) == wanted)


def test_a_child_that_waits_for_its_guid_follows_a_prefix():
    """Its GID is not in the table before, nor after."""
    words = link(2)["address"].split(":")[:12]
    words += "02:fa:b0:00:0a:00:00:7c".split(":")
    on(2, "ip", "link", "add", "link", "ib0", "name", "kid", "address",
       ":".join(words), "type", "ipoib")
    try:
        on(2, "ip", "link", "set", "kid", "up")
        wait_until("its GUID is missing",
                   lambda: reason(2, "kid") == "gid-absent")
        with without_opensm():
            try:
                moves_alone(2, "kid", NEW)
            finally:
                moves_alone(2, "kid", OLD)
    finally:
        on(2, "ip", "link", "del", "kid")
    wait_until("carrier", lambda: has_carrier(2), timeout=60)
    wait_until("it answers", lambda: ping(1, ip4(2), 1, check=False),
               timeout=60)


def test_a_prefix_that_changes_twice_while_the_port_is_down():
    set_link(2, "down")
    try:
        wait_until("no carrier", lambda: not has_carrier(2))
        for wanted in (NEW, "fec0000000000002", NEW, OLD):
            moves_alone(2, "ib0", wanted)
    finally:
        edit(2, "prefix", f"0x{OLD}")
        set_link(2, "up")
    wait_until("carrier", lambda: has_carrier(2), timeout=60)
    on(2, "ip", "addr", "replace", f"{ip6(2)}/64", "dev", "ib0", "nodad")
    wait_until("it answers", lambda: ping(1, ip4(2), 1, check=False),
               timeout=60)
