# SPDX-License-Identifier: GPL-2.0
"""A link of another scope: `ip link set broadcast` chooses it, RFC 4391 4."""

import contextlib
import pathlib
import socket
import sys

import pytest

from cablekit import Datagram, capture, packets
from groupkit import member, send
from labkit import (group_mlid, has_carrier, ib_port, ip4, ip6, lid, link, on,
                    ping, port_dir, wait_until)

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
from vm.guest import umad as sa  # noqa: E402 pylint: disable=wrong-import-position,wrong-import-order

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("reason")]

SITE = "ff15:401b:ffff::ffff:ffff"
# As OpenSM makes the default partition's group: IBA's codes of 2048 bytes and
# 10 Gb/s
QKEY, MTU_2048, RATE_10 = 0xb1b, 4, 3


def gid(text):
    return socket.inet_pton(socket.AF_INET6, text)


@pytest.fixture(autouse=True, scope="module")
def site_group():
    """Nobody but the subnet manager's own port is in it."""
    with sa.administrator("fab0") as administrator:
        sa.make_group(administrator, gid(SITE), gid(ib_port(0, "gids/0")),
                      QKEY, MTU_2048, 0xffff, RATE_10)
    wait_until("the group is there", lambda: group_mlid(SITE))


def groups(host):
    return (port_dir(host) / "groups").read_text()


@contextlib.contextmanager
def moved(*hosts, scope="15"):
    """Their links are of another scope, and those of scope 2 again."""
    before = {host: link(host)["broadcast"] for host in hosts}
    for host, address in before.items():
        words = address.split(":")
        words[5] = scope
        on(host, "ip", "link", "set", "ib0", "broadcast", ":".join(words))
    try:
        yield
    finally:
        for host, address in before.items():
            on(host, "ip", "link", "set", "ib0", "broadcast", address)


def all_kinds_of_traffic():
    """Between hosts 1 and 2: to neighbours and to groups, in both families."""
    for address in (ip4(2), ip6(2)):
        wait_until(f"{address} answers", lambda a=address: ping(
            1, a, 1, "-W", 1, check=False), timeout=60)
    for group in ("239.4.3.2", "ff12::4321"):
        with member(2, group) as listener:
            wait_until(f"{group} is heard", lambda g=group, m=listener: send(
                1, g) or m.count(), timeout=60)


def test_a_link_of_another_scope_works_and_comes_home():
    with moved(1, 2):
        for host in (1, 2):
            wait_until("it has moved", lambda h=host: "ff15:401b:ffff" in
                       groups(h) and "ff12:401b:ffff" not in groups(h))
            wait_until("carrier", lambda h=host: has_carrier(h), timeout=60)
        all_kinds_of_traffic()
    for host in (1, 2):
        wait_until("it is home", lambda h=host: "ff15:401b:ffff" not in
                   groups(h) and has_carrier(h), timeout=60)
    all_kinds_of_traffic()


@contextlib.contextmanager
def child(host):
    """A child on its parent's partition."""
    on(host, "ip", "link", "add", "link", "ib0", "name", "kid", "type", "ipoib")
    try:
        on(host, "ip", "addr", "add", f"10.87.0.{host}/24", "dev", "kid")
        on(host, "ip", "link", "set", "kid", "up")
        yield
    finally:
        on(host, "ip", "link", "del", "kid")


@pytest.mark.needs("partitions")
def test_child_inherits_the_scope():
    with moved(1, 2), child(1), child(2):
        for host in (1, 2):
            assert link(host, "kid")["broadcast"] == link(host)["broadcast"]
        wait_until("an answer", lambda: ping(1, "10.87.0.2", 1, "-W", 1,
                                             check=False), timeout=60)
        ping(2, "10.87.0.1")
    for host in (1, 2):
        wait_until("it is home", lambda h=host: "ff15:401b:ffff" not in
                   groups(h) and has_carrier(h), timeout=60)


def test_links_of_two_scopes_do_not_meet():
    with moved(2):
        wait_until("carrier", lambda: "ff15:401b:ffff" in groups(2) and
                   has_carrier(2), timeout=60)
        on(1, "ip", "neigh", "flush", "dev", "ib0")
        assert not ping(1, ip4(2), 1, "-W", 2, check=False)
    wait_until("they meet again", lambda: ping(1, ip4(2), 1, check=False),
               timeout=60)


ORGANIZATION = "ff18:401b:ffff::ffff:ffff"
LEVEL = 3


def test_service_level_of_groups(tmp_path):
    """The broadcast group's is that of every packet to a group of the link."""
    path = tmp_path / "cable.pcap"
    mgids = {gid(ORGANIZATION), gid("ff18:401b:ffff::f06:701")}

    def sent():
        """Service levels of what host 1 sends from now on, by MGID."""
        with capture("fab1/port1", path):
            # who has it is asked by the broadcast group
            on(1, "ip", "neigh", "flush", "dev", "ib0")
            ping(1, ip4(2), 1, "-W", 1, check=False)
            send(1, "239.6.7.1")
            found = [one for one in map(Datagram, packets(path))
                     if one.gid in mgids and one.slid == lid(1)]
        return {one.gid: one.sl for one in found}

    with sa.administrator("fab0") as administrator:
        sa.make_group(administrator, gid(ORGANIZATION),
                      gid(ib_port(0, "gids/0")), QKEY, MTU_2048, 0xffff,
                      RATE_10, LEVEL)
    with moved(1, 2, scope="18"), member(2, "239.6.7.1"):
        wait_until("both groups' packets have it", lambda: sent() ==
                   dict.fromkeys(mgids, LEVEL), timeout=60)
    wait_until("an answer", lambda: ping(1, ip4(2), 1, check=False),
               timeout=60)
