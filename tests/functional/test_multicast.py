# SPDX-License-Identifier: GPL-2.0
"""IP multicast between three hosts, and the forwarding table behind it."""

import pathlib
import subprocess
import sys

import pytest

from labkit import (BROADCAST, group_mlid, has_carrier, mft, on, ping,
                    set_mft, start_on, switch_port, wait_until)

pytestmark = pytest.mark.needs("netdev")

TOOL = pathlib.Path(__file__).with_name("mcast_tool.py")
PORT = 5999

GROUPS = {
    "239.1.2.3": "ff12:401b:ffff::f01:203",
    "ff15::1:2:3": "ff12:601b:ffff::1:2:3",
}


class Listener:
    """A member of a group on one host."""

    def __init__(self, host, group, folder):
        self.file = folder / f"host{host}"
        self.process = start_on(host, sys.executable, TOOL, "recv", group,
                                PORT, self.file, stderr=subprocess.PIPE)
        wait_until(f"host{host} joined {group}", self.file.exists)

    def count(self):
        return int(self.file.read_text() or 0)

    def leave(self):
        self.process.terminate()
        self.process.wait()


def send(host, group, count=20):
    on(host, sys.executable, TOOL, "send", group, PORT, count)


def forwarded_to(group, *hosts):
    """Do these hosts, of those asked for, get the group's packets?"""
    mlid = group_mlid(GROUPS[group])
    return mlid and {switch_port(host) for host in hosts} <= \
        mft().get(mlid, set())


@pytest.fixture(params=list(GROUPS))
def group(request):
    return request.param


@pytest.fixture
def listeners(group, tmp_path):
    """Hosts 2 and 3 are members, and the switch knows it."""
    members = [Listener(host, group, tmp_path) for host in (2, 3)]
    wait_until("the switch forwards to hosts 2 and 3",
               lambda: forwarded_to(group, 2, 3))
    # The first packets pay for the sender's own join.
    wait_until("first packets arrive", lambda: send(1, group, 1) or all(
        member.count() for member in members))
    yield members
    for member in members:
        member.leave()


@pytest.mark.smoke
@pytest.mark.core
def test_every_member_hears_every_packet(group, listeners):
    before = [member.count() for member in listeners]
    send(1, group)
    for member, count in zip(listeners, before):
        wait_until("all twenty arrived",
                   lambda m=member, c=count: m.count() == c + 20)


def test_only_members_are_forwarded_to(group, tmp_path):
    member = Listener(2, group, tmp_path)
    try:
        wait_until("the switch forwards to host 2",
                   lambda: forwarded_to(group, 2))
        wait_until("host 2 hears",
                   lambda: send(1, group, 1) or member.count())
        assert not forwarded_to(group, 3)
    finally:
        member.leave()


def test_a_member_hears_another_member(group, listeners):
    wait_until("host 3 hears host 2", lambda: send(2, group, 1) or
               listeners[1].count() > 20)


def test_who_left_hears_nothing(group, listeners):
    listeners[1].leave()
    wait_until("the switch stopped forwarding to host 3",
               lambda: not forwarded_to(group, 3))
    count = listeners[0].count()
    send(1, group)
    wait_until("host 2 still hears", lambda: listeners[0].count() >=
               count + 20)


def test_cleared_mft_entry_silences_that_host_alone(group, listeners):
    mlid = group_mlid(GROUPS[group])

    def is_silent():
        """OpenSM may not be done with the group, and put the entry back."""
        set_mft(mlid, "del", switch_port(3))
        before = [member.count() for member in listeners]
        send(1, group)
        wait_until("host 2 hears all",
                   lambda: listeners[0].count() == before[0] + 20)
        return listeners[1].count() == before[1]

    wait_until("host 3 hears nothing", is_silent)
    count = listeners[1].count()
    set_mft(mlid, "add", switch_port(3))
    send(1, group)
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
    set_mft(mlid, "del", switch_port(2))
    try:
        assert ping(1, strangers[2], 1, check=False) == 0
        assert ping(1, strangers[3], 1) == 1
    finally:
        set_mft(mlid, "add", switch_port(2))
    wait_until("host 2 is found",
               lambda: ping(1, strangers[2], 1, check=False))
    assert has_carrier(2)
