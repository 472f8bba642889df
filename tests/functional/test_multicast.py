# SPDX-License-Identifier: GPL-2.0
"""IP multicast between three hosts, and the forwarding table behind it."""

import contextlib

import pytest

from groupkit import member, send
from labkit import (BROADCAST, group_mlid, has_carrier, ip4, mft, on,
                    opensm_held, ping, set_mft, switch_port, wait_until)

pytestmark = pytest.mark.needs("netdev")

GROUPS = {
    "239.1.2.3": "ff12:401b:ffff::f01:203",
    "ff15::1:2:3": "ff12:601b:ffff::1:2:3",
}


def forwarded_to(group, *hosts):
    """Do these hosts, of those asked for, get the group's packets?"""
    mlid = group_mlid(GROUPS[group])
    return mlid and {switch_port(host) for host in hosts} <= \
        mft().get(mlid, set())


@pytest.fixture(params=list(GROUPS))
def group(request):
    return request.param


@pytest.fixture
def listeners(group):
    """Hosts 2 and 3 are members, and the switch knows it."""
    with contextlib.ExitStack() as stack:
        members = [stack.enter_context(member(host, group))
                   for host in (2, 3)]
        wait_until("the switch forwards to hosts 2 and 3",
                   lambda: forwarded_to(group, 2, 3))
        # The first packets pay for the sender's own join.
        wait_until("first packets arrive", lambda: send(1, group) or all(
            one.count() for one in members))
        yield members


@pytest.mark.smoke
@pytest.mark.core
def test_every_member_hears_every_packet(group, listeners):
    before = [one.count() for one in listeners]
    send(1, group, 20)
    for one, count in zip(listeners, before):
        wait_until("all twenty arrived",
                   lambda o=one, c=count: o.count() == c + 20)


def test_only_members_are_forwarded_to(group):
    with member(2, group) as listener:
        wait_until("the switch forwards to host 2",
                   lambda: forwarded_to(group, 2))
        wait_until("host 2 hears",
                   lambda: send(1, group) or listener.count())
        assert not forwarded_to(group, 3)


def test_a_member_hears_another_member(group, listeners):
    wait_until("host 3 hears host 2", lambda: send(2, group) or
               listeners[1].count() > 20)


def test_who_left_hears_nothing(group, listeners):
    listeners[1].leave()
    wait_until("the switch stopped forwarding to host 3",
               lambda: not forwarded_to(group, 3))
    count = listeners[0].count()
    send(1, group, 20)
    wait_until("host 2 still hears", lambda: listeners[0].count() >=
               count + 20)


def test_cleared_mft_entry_silences_that_host_alone(group, listeners):
    mlid = group_mlid(GROUPS[group])

    def is_silent():
        """OpenSM may not be done with the group, and put the entry back."""
        set_mft(mlid, "del", switch_port(3))
        before = [one.count() for one in listeners]
        send(1, group, 20)
        wait_until("host 2 hears all",
                   lambda: listeners[0].count() == before[0] + 20)
        return listeners[1].count() == before[1]

    wait_until("host 3 hears nothing", is_silent)
    count = listeners[1].count()
    set_mft(mlid, "add", switch_port(3))
    send(1, group, 20)
    wait_until("host 3 hears again",
               lambda: listeners[1].count() == count + 20)


@pytest.fixture
def strangers():
    """Addresses of hosts 1 to 3 that nothing has talked to before."""
    addresses = {host: f"10.45.0.{host}" for host in (1, 2, 3)}
    for host, address in addresses.items():
        on(host, "ip", "addr", "add", f"{address}/24", "dev", "ib0")
    yield addresses
    for host, address in addresses.items():
        on(host, "ip", "addr", "del", f"{address}/24", "dev", "ib0")


def test_broadcast_needs_the_mft_entry_too(strangers):
    """ARP is broadcast: without the entry a new neighbour is not found."""
    mlid = group_mlid(BROADCAST)
    # the neighbour is new, the path to host 3 and back is not
    ping(1, ip4(3))
    # a sweep of OpenSM would put the entry back
    with opensm_held():
        set_mft(mlid, "del", switch_port(2))
        try:
            assert ping(1, strangers[2], 1, check=False) == 0
            assert ping(1, strangers[3], 1) == 1
        finally:
            set_mft(mlid, "add", switch_port(2))
    wait_until("host 2 is found",
               lambda: ping(1, strangers[2], 1, check=False))
    assert has_carrier(2)
