# SPDX-License-Identifier: GPL-2.0
"""Child interfaces on partitions, and what keeps partitions apart."""

import re
import subprocess
import time

import pytest

from labkit import (SLOW, counters, has_carrier, link, on, ping, reaches,
                    start_on, wait_until)

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

    def set(self, state):
        on(self.host, "ip", "link", "set", self.name, state)

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


@pytest.mark.core
def test_address_kept_when_down_and_up(child):
    """Peers have its queue pair number in their neighbour tables."""
    one = child(1, 0x8001)
    wait_until("carrier", one.carrier)
    before = link(1, one.name)["address"]
    for _ in range(2):
        one.set("down")
        assert link(1, one.name)["address"] == before
        one.set("up")
        wait_until("carrier", one.carrier)
        assert link(1, one.name)["address"] == before


@pytest.mark.core
def test_first_answer_after_up(child, tmp_path):
    """A peer that goes on sending waits for the join, and for nothing else."""
    said = tmp_path / "said"
    one, peer = [child(host, 0x8001) for host in (1, 2)]
    for each in (one, peer):
        wait_until("carrier", each.carrier)
    wait_until("first answer", lambda: reaches(2, child_ip(1, 0x8001)))

    def answered():
        """When the last answers came."""
        return [float(at) for at in
                re.findall(r"^\[([\d.]+)\].* ttl", said.read_text(), re.M)]

    def soon():
        one.set("down")
        one.set("up")
        up = time.time()
        first = wait_until("an answer", lambda: [at for at in answered()
                                                 if at > up])[0]
        print(f"{first - up:.3f} s")
        return first - up < 0.5 * SLOW

    with said.open("w") as out, start_on(
            2, "ping", "-n", "-D", "-i", "0.05", child_ip(1, 0x8001),
            stdout=out, stderr=subprocess.DEVNULL) as pinger:
        try:
            # a busy machine may take its time, but not each time
            wait_until("an answer within half a second", soon)
        finally:
            pinger.kill()


def test_child_shows_its_parent_and_key(child):
    child(1, 0x8001)
    shown = link(1, "ib0.8001")
    assert shown["link"] == "ib0"
    data = shown["linkinfo"]
    assert data["info_kind"] == "ipoib"
    assert int(str(data["info_data"]["key"]), 0) == 0x8001
