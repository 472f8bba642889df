# SPDX-License-Identifier: GPL-2.0
"""Datagrams of bare verbs go where the tables say, and nowhere else."""

import contextlib
import errno
import os
import re

import pytest

from labkit import (all_active, counters, ib_port, lft, lid, loop,
                    opensm_held, port_is_active, run, set_lft, set_link,
                    switch_port, wait_until)

pytestmark = pytest.mark.fabric

# InfiniBand's codes, IBA 14.2.5.6
MTU_2048 = 4
MTU_4096 = 5


@pytest.fixture(autouse=True, scope="module")
def loop_module():
    wait_until("all ports ACTIVE", all_active)
    run("insmod", f"{os.environ['LAB_MODULES']}/fabric_loop.ko")
    yield
    run("rmmod", "fabric_loop")


def grew(name, before):
    return counters()[name] - before[name]


@pytest.mark.core
@pytest.mark.parametrize("size", [16, 64, 2048, 4096])
def test_datagrams_arrive_whole(size):
    result = loop(1, 2, size=size, messages=500)
    assert result["received"] == 500
    assert result["corrupt"] == 0


@contextlib.contextmanager
def neighbor_mtu(node, port, code):
    """A port's NeighborMTU by hand: each sweep of OpenSM would set its own."""
    with opensm_held():
        run("ibportstate", "-C", "fab0", node, port, "mtu", code)
        try:
            yield
        finally:
            run("ibportstate", "-C", "fab0", node, port, "mtu", MTU_4096)


@contextlib.contextmanager
def misled(target, port):
    """The switch leads a LID to another port; OpenSM sends nothing there."""
    with opensm_held():
        set_lft(target, port)
        try:
            yield
        finally:
            set_lft(target, switch_port(2))


def test_an_hca_sends_nothing_longer_than_its_ports_mtu():
    with neighbor_mtu(lid(1), 1, MTU_2048):
        assert loop(1, 2, size=4096, messages=50)["received"] == 0
        assert loop(1, 2, size=2048, messages=50)["received"] == 50
    assert loop(1, 2, size=4096, messages=50)["received"] == 50


def test_a_switch_drops_what_is_longer_than_the_next_cables_mtu():
    switch = next(dlid for dlid, port in lft().items() if port == 0)
    where = f"switch0/port{switch_port(2)}"
    before = counters(where)["dropped_mtu"]
    with neighbor_mtu(switch, switch_port(2), MTU_2048):
        assert loop(1, 2, size=4096, messages=50)["received"] == 0
        assert loop(1, 2, size=2048, messages=50)["received"] == 50
        assert loop(1, 3, size=4096, messages=50)["received"] == 50
    assert counters(where)["dropped_mtu"] == before + 50
    out = run("perfquery", "-C", "fab0", "--xmtdisc", switch,
              switch_port(2)).stdout
    found = re.search(r"^PortNeighborMTUDiscards:\.+(\d+)$", out, re.M)
    assert int(found.group(1)) == before + 50


def test_both_directions_at_once():
    before = {host: counters(f"fab{host}/port1") for host in (1, 2)}
    result = loop(1, 2, size=2048, messages=20000, both=1)
    assert result["corrupt"] == 0
    # Datagrams have no flow control: a slow receiver may run out of buffers.
    full = 0
    for host, old in before.items():
        now = counters(f"fab{host}/port1")
        full += now["dropped_no_recv_wqe"] - old["dropped_no_recv_wqe"]
        assert now["delivered"] - old["delivered"] > 1000
    assert full == result["lost"]


def test_an_hca_reaches_itself():
    result = loop(1, 1, messages=500)
    assert (result["received"], result["corrupt"]) == (500, 0)


def test_what_is_lost_is_counted():
    before = counters()
    result = loop(1, 2, size=2048, messages=50000)
    assert grew("dropped_no_recv_wqe", before) == result["lost"]


def test_messages_out_of_range_are_refused():
    for size in (15, 4097):
        with pytest.raises(OSError) as caught:
            loop(1, 2, size=size)
        assert caught.value.errno == errno.EINVAL


def test_cleared_lft_entry_loses_that_destination_alone():
    target = lid(2)
    with misled(target, 255):
        before = counters()
        assert loop(1, 2, messages=100)["received"] == 0
        assert grew("dropped_no_route", before) == 100
        assert loop(1, 3, messages=100)["received"] == 100
    assert lft()[target] == switch_port(2)
    assert loop(1, 2, messages=100)["received"] == 100


def test_lft_to_the_wrong_port_is_dropped_by_the_receiver():
    target = lid(2)
    with misled(target, switch_port(3)):
        before = counters()
        assert loop(1, 2, messages=50)["received"] == 0
        assert grew("dropped_not_our_lid", before) == 50


def test_no_data_but_smps_before_active():
    """A port in INIT takes subnet management and nothing else."""
    run("lab-sm", "stop")
    try:
        set_link(2, "down")
        set_link(2, "up")
        assert ib_port(2, "state").endswith("INIT")
        before = counters()
        assert loop(1, 2, messages=50)["received"] == 0
        # and what the port itself would ask the subnet manager meanwhile
        assert grew("dropped_port_state", before) >= 50
        out = run("smpquery", "-C", "fab0", "-D", "nodeinfo",
                  f"0,1,{switch_port(2)}").stdout
        assert "0x02fab00000000201" in out
    finally:
        run("lab-sm", "start")
    wait_until("fab2 is ACTIVE again", lambda: port_is_active(2))


def test_no_data_over_a_pulled_cable():
    set_link(3, "down")
    try:
        assert loop(1, 3, messages=50)["received"] == 0
    finally:
        set_link(3, "up")
    wait_until("fab3 is ACTIVE again", lambda: port_is_active(3))
    wait_until("fab3 reached", lambda: loop(1, 3, messages=10)["received"])
