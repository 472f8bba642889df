# SPDX-License-Identifier: GPL-2.0
"""Child interfaces on partitions, and what keeps partitions apart."""

import pytest

from labkit import (counters, has_carrier, link, on, ping, reaches,
                    wait_until)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("children")]


def child_ip(host, pkey):
    return f"10.{pkey & 0xff}.0.{host}"


class Child:
    def __init__(self, host, pkey, address):
        self.host = host
        self.name = f"ib0.{pkey:04x}"
        on(host, "ip", "link", "add", "link", "ib0", "name", self.name,
           "type", "ipoib", "pkey", hex(pkey))
        on(host, "ip", "addr", "add", f"{address}/24", "dev", self.name)
        on(host, "ip", "link", "set", self.name, "up")

    def carrier(self):
        return has_carrier(self.host, self.name)

    def remove(self):
        on(self.host, "ip", "link", "del", self.name, check=False)


@pytest.fixture
def child():
    """Makes children and removes them all afterwards."""
    made = []

    def make(host, pkey, address=None):
        made.append(Child(host, pkey, address or child_ip(host, pkey)))
        return made[-1]

    yield make
    for one in made:
        one.remove()


@pytest.mark.core
@pytest.mark.parametrize("pkey", [0x8001, 0x8002])
def test_children_of_one_partition_talk(child, pkey):
    pair = [child(host, pkey) for host in (1, 2)]
    for one in pair:
        wait_until(f"carrier of {one.name}", one.carrier)
    wait_until("first answer", lambda: reaches(1, child_ip(2, pkey)))
    ping(1, child_ip(2, pkey))
    ping(2, child_ip(1, pkey))


@pytest.mark.core
def test_partitions_are_isolated(child):
    """One subnet on two partitions: nobody answers across."""
    here = child(1, 0x8001, "10.99.0.1")
    other = child(2, 0x8002, "10.99.0.2")
    same = child(3, 0x8001, "10.99.0.3")
    for one in (here, other, same):
        wait_until(f"carrier of {one.name}", one.carrier)
    wait_until("same partition answers", lambda: reaches(1, "10.99.0.3"))
    assert ping(1, "10.99.0.2", 3, check=False) == 0


def test_limited_members_reach_full_members_only(child):
    """Of 0x8003 odd hosts are full members, even ones limited."""
    members = [child(host, 0x8003) for host in (1, 2, 3, 4)]
    for one in members:
        wait_until(f"carrier of {one.name}", one.carrier)
    wait_until("full reaches full", lambda: reaches(1, child_ip(3, 0x8003)))
    wait_until("full reaches limited",
               lambda: reaches(1, child_ip(2, 0x8003)))
    ping(2, child_ip(1, 0x8003))

    # Both are in the broadcast group; the receiving port stops the packet.
    before = counters("fab4/port1")["dropped_pkey"]
    assert ping(2, child_ip(4, 0x8003), 2, check=False) == 0
    assert counters("fab4/port1")["dropped_pkey"] > before


def test_child_shows_its_parent_and_key(child):
    child(1, 0x8001)
    shown = link(1, "ib0.8001")
    assert shown["link"] == "ib0"
    data = shown["linkinfo"]
    assert data["info_kind"] == "ipoib"
    assert int(str(data["info_data"]["key"]), 0) == 0x8001
