# SPDX-License-Identifier: GPL-2.0
"""Nothing is lost while subnet managers come and go, and ports are changed."""

import contextlib
import os
import pathlib
import re
import time

import pytest

import umad
from groupkit import member, send, sending
from labkit import (BROADCAST, DRIVER, FABRIC, SLOW, all_active, attr,
                    counters, edit, ethtool_stats, events, fault, group_mlid,
                    has_carrier, inject, ip4, ip6, lid, link, link_up, mft, on,
                    ping, pinging, port_dir, queue_pairs, run, set_link,
                    switch_port, table, tx_queues, wait_until, within,
                    without_opensm)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("hitless")]


@pytest.fixture(autouse=True)
def acquainted():
    """Hosts 1 and 2 know each other, and stay so whatever ARP would do."""
    for host, other in ((1, 2), (2, 1)):
        wait_until("an answer", lambda a=host, b=other:
                   ping(a, ip4(b), 1, check=False), timeout=60)
    yield
    wait_until("all ports ACTIVE", all_active, timeout=60)
    for host, other in ((1, 2), (2, 1)):
        wait_until("an answer", lambda a=host, b=other:
                   ping(a, ip4(b), 1, check=False), timeout=60)


def members_are_back():
    return {switch_port(1), switch_port(2)} <= \
        mft().get(group_mlid(BROADCAST), set())


def carrier_changes(host, name="ib0"):
    return int(attr(host, "carrier_changes", name))


def none_was_lost(pinger, least):
    """And something was under way all the time."""
    print(f"{pinger.sent} pings in {pinger.seconds:.1f} s")
    assert pinger.sent > least
    assert pinger.lost == 0


def groups(host):
    """What a host's queue pairs receive."""
    return set(re.findall(r"^mgid (\S+)",
                          (port_dir(host) / "groups").read_text(), re.M))


@pytest.mark.core
def test_a_restart_loses_no_packet():
    changes = carrier_changes(1), carrier_changes(2)
    with pinging(1, ip4(2)) as pinger:
        run("lab-sm", "stop")
        run("lab-sm", "start")
        wait_until("all ports ACTIVE", all_active)
        wait_until("members are back", members_are_back, timeout=60)
    none_was_lost(pinger, 100)
    assert (carrier_changes(1), carrier_changes(2)) == changes


# in PortInfo (IBA 14.2.5.6): states, and the bit that asks for registration
STATE, PHYS, REREGISTER = 32, 33, 51


def ask_to_register_anew(*hosts):
    """As a subnet manager does by Set(PortInfo), and nothing else changes."""
    agent = umad.Agent("fab0", umad.DIRECTED)
    try:
        for host in hosts:
            path = (1, switch_port(host))
            answer = agent.ask(umad.smp(umad.GET, 0x15, path=path))
            info = bytearray(answer[umad.DATA:umad.DATA + 64])
            info[STATE] &= 0xf0
            info[PHYS] &= 0x0f
            info[REREGISTER] |= 0x80
            answer = agent.ask(umad.smp(umad.SET, 0x15, 0, bytes(info), path))
            assert umad.status(answer) == 0
    finally:
        agent.close()


@pytest.mark.core
def test_reregistration_loses_no_packet_and_no_group():
    """The subnet manager forgets nothing meanwhile, and only asks."""
    hosts = (1, 2)
    joined = {host: groups(host) for host in hosts}
    before = {host: ethtool_stats(host)["join_grants"] for host in hosts}
    asked = {host: events(f"fab{host}/port1") for host in hosts}
    changes = carrier_changes(1), carrier_changes(2)
    with pinging(1, ip4(2)) as pinger:
        ask_to_register_anew(*hosts)
        for host in hosts:
            wait_until("joins were renewed", lambda: ethtool_stats(host)[
                "join_grants"] >= before[host] + len(joined[host]))
    none_was_lost(pinger, 20)
    for host in hosts:
        assert events(f"fab{host}/port1") == asked[host] | {
            "CLIENT_REREGISTER": asked[host]["CLIENT_REREGISTER"] + 1}
        assert groups(host) == joined[host]
    assert (carrier_changes(1), carrier_changes(2)) == changes


@pytest.mark.lab(sm=2)
def test_a_handover_loses_no_packet():
    """Nor does handing back."""
    def master_is(number):
        return "MASTER" in run("lab-sm", "status").stdout.splitlines()[number]

    joined = groups(1), groups(2)
    changes = carrier_changes(1), carrier_changes(2)
    with pinging(1, ip4(2)) as pinger:
        run("lab-sm", "stop")
        wait_until("the second is master", lambda: master_is(1), timeout=60)
        wait_until("members are back", members_are_back, timeout=60)
        run("lab-sm", "start", 1)
        wait_until("the first is master", lambda: master_is(0), timeout=60)
        wait_until("members are back", members_are_back, timeout=60)
    none_was_lost(pinger, 100)
    assert (groups(1), groups(2)) == joined
    assert (carrier_changes(1), carrier_changes(2)) == changes


SM = pathlib.Path("/run/lab/sm")
GROUP = "239.1.2.4"
# as OpenSM's file has its interface half
IN_DUMP = "0x000000000f010204"


@pytest.fixture
def saved_database():
    """OpenSM keeps what the subnet administrator knows, and reads it again."""
    conf = SM / "opensm.conf"
    before = conf.read_text()
    conf.write_text(f"{before}sa_db_dump TRUE\n"
                    f"sa_db_file {SM}/opensm-sa.dump\n")
    run("lab-sm", "stop")
    run("lab-sm", "start")
    yield SM / "opensm-sa.dump"
    conf.write_text(before)
    run("lab-sm", "stop")
    run("lab-sm", "start")


def test_multicast_through_a_restart_with_a_saved_database(saved_database):
    """The switch forwards on, and so does everybody else."""
    with member(2, GROUP) as listener:
        wait_until("the first arrives",
                   lambda: send(1, GROUP) or listener.count())
        wait_until("the group is saved", lambda: run("lab-sm", "resweep") and
                   IN_DUMP in saved_database.read_text())
        before = listener.count()
        with sending(1, GROUP, 1500 * SLOW, 0.002) as sender:
            run("lab-sm", "stop")
            run("lab-sm", "start")
            assert sender.process.poll() is None
            assert sender.process.wait() == 0
        wait_until("all arrived", lambda: listener.count() ==
                   before + 1500 * SLOW)


def test_another_lid():
    """Peers that ask anew find it; the carrier stays."""
    changes = carrier_changes(2)
    run("lab-sm", "stop")
    old = lid(2)
    try:
        edit(2, "lid", old + 40)
        wait_until("it is seen", lambda: lid(2) == old + 40)
        assert has_carrier(2)
    finally:
        run("lab-sm", "start")
    wait_until("all ports ACTIVE", all_active, timeout=60)
    wait_until("an answer", lambda: ping(1, ip4(2), 1, check=False),
               timeout=60)
    assert carrier_changes(2) == changes


def ud_pairs(host):
    return sorted(qpn for qpn in queue_pairs(host) if qpn > 1)


def places(host):
    """P_Key indices that a host's datagram queue pairs have."""
    return {int(pair["pkey_index"]) for qpn, pair in
            queue_pairs(host).items() if qpn > 1}


@contextlib.contextmanager
def parents():
    """What hosts 1 and 2 have anyway: name, P_Key, host 2's address."""
    yield "ib0", 0xffff, ip4(2)


@contextlib.contextmanager
def children():
    """A child on each of hosts 1 and 2, as parents()."""
    with contextlib.ExitStack() as stack:
        for host in (1, 2):
            on(host, "ip", "link", "add", "link", "ib0", "name", "kid",
               "type", "ipoib", "pkey", "0x8001")
            stack.callback(on, host, "ip", "link", "del", "kid")
            on(host, "ip", "addr", "add", f"10.88.0.{host}/24", "dev", "kid")
            on(host, "ip", "link", "set", "kid", "up")
        wait_until("an answer", lambda: ping(1, "10.88.0.2", 1, check=False),
                   timeout=60)
        yield "kid", 0x8001, "10.88.0.2"


@contextlib.contextmanager
def nothing_but_the_index_changes(name):
    """Carrier, groups, and queue pair numbers of host 2 stay as they are."""
    def state():
        return (carrier_changes(2, name), groups(2), ud_pairs(2),
                ethtool_stats(2, name)["tx_dropped"])

    before = state()
    yield
    assert state() == before


@contextlib.contextmanager
def second_place(key):
    """A key of host 2 is where it is, and at another place of the table.

    It is a limited member's where it was: a peer that is a full member goes on
    talking to it, and the driver takes the full member's.
    """
    keys = table(2, "pkeys")
    at = {value: index for index, value in keys.items()}[key]
    free, others = max(keys) + 1, places(2) - {at}
    edit(2, "pkeys", f"{at} {key & 0x7fff:#x}")
    edit(2, "pkeys", f"{free} {key:#x}")
    try:
        wait_until("the queue pairs have moved",
                   lambda: places(2) == others | {free})
        yield
    finally:
        edit(2, "pkeys", f"{at} {key:#x}")
        wait_until("they are back", lambda: places(2) == others | {at})
        edit(2, "pkeys", f"{free} 0")


@pytest.mark.core
@pytest.mark.parametrize("manager", ["running", "stopped"])
@pytest.mark.parametrize("which", [parents, children])
def test_pkey_moves_in_the_table(which, manager):
    """No packet is lost, with a subnet manager or without one."""
    with which() as (name, key, address), contextlib.ExitStack() as stack:
        if manager == "stopped":
            stack.enter_context(without_opensm())
        with nothing_but_the_index_changes(name), \
                pinging(1, address) as pinger, second_place(key):
            ping(1, address, 20)
    assert pinger.sent
    assert pinger.lost == 0


# An absence is believed when it has lasted for 0.1 s.
MOMENT = 0.08


@pytest.mark.core
def test_pkey_leaves_its_place_before_it_has_another():
    """Only what the HCA itself drops meanwhile is lost.

    When the machine was too busy to be quick it is done once more.
    """
    def dropped():
        return sum(counters(f"fab{host}/port1")["dropped_pkey"]
                   for host in (1, 2))

    free, took = max(table(2, "pkeys")) + 1, MOMENT
    while took >= MOMENT:
        wait_until("carrier", lambda: has_carrier(2), timeout=60)
        before = carrier_changes(2), groups(2), dropped()
        with pinging(1, ip4(2)) as pinger:
            start = time.monotonic()
            edit(2, "pkeys", "0 0")
            edit(2, "pkeys", f"{free} 0xffff")
            took = time.monotonic() - start
            wait_until("it answers by the new place", lambda: places(2) ==
                       {free} and ping(1, ip4(2), 3, check=False), timeout=60)
            edit(2, "pkeys", "0 0xffff")
            wait_until("it is back", lambda: places(2) == {0})
            edit(2, "pkeys", f"{free} 0")
    assert (carrier_changes(2), groups(2)) == before[:2]
    assert pinger.lost <= dropped() - before[2]


@pytest.mark.parametrize("step", [1, 2, 3], ids=["hold", "move", "go on"])
def test_pkey_moves_where_an_hca_cannot_hold_its_sends(step):
    """The queue pair takes the index on its way through RESET."""
    numbers, joined, changes = ud_pairs(2), groups(2), carrier_changes(2)
    before = ethtool_stats(2)["heal_reset"]
    with fault("fab2", "verbs", f"modify_qp nth={step} errno=EINVAL") as one:
        with second_place(0xffff):
            assert one.hit
            wait_until("all are in RTS", lambda: {
                pair["state"] for qpn, pair in queue_pairs(2).items()
                if qpn > 1} == {"RTS"})
            wait_until("it answers", lambda: ping(1, ip4(2), 1, "-W", 1,
                                                  check=False))
            ping(1, ip4(2), 10)
            ping(2, ip4(1), 10)
    assert ethtool_stats(2)["heal_reset"] == before + 1
    assert (ud_pairs(2), groups(2), carrier_changes(2)) == \
        (numbers, joined, changes)
    ping(1, ip4(2), 10)


def test_pkey_move_is_followed_at_once():
    """By its event: without one a link that works is polled more seldom.

    The time between two polls grows, so one of these moves would wait.
    """
    for _ in range(5):
        # out and back
        with within(2), second_place(0xffff):
            pass


def broadcast(host):
    return link(host)["broadcast"].replace(":", "")


def joined_of(pkey, host=2, scope="2"):
    """Signatures, IPv4's and IPv6's, of the groups of a key."""
    return set(re.findall(rf"ff1{scope}:([46]01b):{pkey}:",
                          "\n".join(groups(host))))


@contextlib.contextmanager
def child_of_the_new_key(pkey):
    """On host 1, with addresses that host 2's ib0 has neighbours of."""
    on(1, "ip", "link", "add", "link", "ib0", "name", "kid", "type", "ipoib",
       "pkey", pkey)
    try:
        for host, name in ((1, "kid"), (2, "ib0")):
            on(host, "ip", "addr", "add", f"10.87.0.{host}/24", "dev", name)
            on(host, "ip", "addr", "add", f"fd87::{host}/64", "dev", name,
               "nodad")
        on(1, "ip", "link", "set", "kid", "up")
        yield
    finally:
        on(1, "ip", "link", "del", "kid")
        on(2, "ip", "addr", "del", "10.87.0.2/24", "dev", "ib0", check=False)
        on(2, "ip", "addr", "del", "fd87::2/64", "dev", "ib0", check=False)


@pytest.mark.core
def test_another_key_takes_the_first_place_and_goes_again():
    """Broadcast address, groups and neighbours follow; and come home."""
    keys = {i: key for i, key in table(2, "pkeys").items() if key}
    for index in keys:
        edit(2, "pkeys", f"{index} 0")
    edit(2, "pkeys", "0 0x8002")
    try:
        wait_until("it has moved", lambda: broadcast(2)[16:20] == "8002")
        wait_until("carrier", lambda: has_carrier(2), timeout=60)
        wait_until("groups of that key",
                   lambda: joined_of("8002") == {"401b", "601b"})
        wait_until("no group of the old key", lambda: not joined_of("ffff"))
        assert not ping(1, ip4(2), 1, "-W", 1, check=False)
        with child_of_the_new_key("0x8002"):
            for address in ("10.87.0.2", "fd87::2"):
                wait_until("an answer", lambda: ping(
                    1, address, 1, "-W", 1, check=False))
                ping(1, address, 5)
    finally:
        edit(2, "pkeys", "0 0")
        for index, key in keys.items():
            edit(2, "pkeys", f"{index} {key:#x}")
    wait_until("it is home", lambda: broadcast(2)[16:20] == "ffff")
    wait_until("it answers", lambda: ping(1, ip4(2), 1, check=False),
               timeout=60)


@contextlib.contextmanager
def limited_key_first(host, key):
    """A partition's limited member key is the first, and none else is there."""
    keys = {index: value for index, value in table(host, "pkeys").items()
            if value}
    for index in keys:
        edit(host, "pkeys", f"{index} 0")
    edit(host, "pkeys", f"0 {key:#x}")
    try:
        yield
    finally:
        edit(host, "pkeys", "0 0")
        for index, value in keys.items():
            edit(host, "pkeys", f"{index} {value:#x}")


def has_become(host, pkey):
    """Of that P_Key, in its form of a full member, in all that names it."""
    wait_until("it has the key", lambda: attr(host, "pkey") == f"0x{pkey}")
    assert broadcast(host)[16:20] == pkey
    wait_until("carrier", lambda: has_carrier(host), timeout=60)
    wait_until("groups of that key",
               lambda: joined_of(pkey, host) == {"401b", "601b"})


def test_limited_key_takes_the_first_place():
    with limited_key_first(2, 0x0002):
        has_become(2, "8002")
    has_become(2, "ffff")


def interface_of(hca):
    """The one that the driver made for an HCA; no host has adopted it."""
    for path in pathlib.Path("/sys/class/net").iterdir():
        if (path / "device").resolve().name == hca:
            return path.name
    return None


def test_limited_key_is_first_at_load():
    """It is the parent's own then, for as long as the module is there."""
    run("lab-driver", "unload")
    try:
        with limited_key_first(2, 0x0002):
            run("insmod", f"{os.environ['LAB_MODULES']}/ib_ipoib.ko")
            name = wait_until("it is there", lambda: interface_of("fab2"))
            path = pathlib.Path("/sys/class/net", name)
            assert (path / "pkey").read_text() == "0x8002\n"
            assert (path / "broadcast").read_text().split(":")[8:10] == \
                ["80", "02"]
            run("ip", "link", "set", name, "up")
            wait_until("carrier", lambda: (path / "link_reason").read_text() ==
                       "up\n", timeout=60)
            wait_until("groups of that key",
                       lambda: joined_of("8002") == {"401b", "601b"})
            run("rmmod", "ib_ipoib")
    finally:
        run("lab-driver", "unload", check=False)
        run("lab-driver", "load", DRIVER)
        run("lab-hosts")
    for host in (1, 2):
        link_up(host)


def test_another_subnet_prefix():
    run("lab-sm", "stop")
    try:
        edit(2, "prefix", "0xfec0000000000000")
        wait_until("the address follows", lambda: link(2)["address"].replace(
            ":", "")[8:24] == "fec0000000000000", timeout=60)
    finally:
        edit(2, "prefix", "0xfe80000000000000")
        run("lab-sm", "start")
    wait_until("the address is as before", lambda: link(2)["address"].replace(
        ":", "")[8:24] == "fe80000000000000")
    wait_until("carrier", lambda: has_carrier(2), timeout=60)


def known_as(host, other, address=ip4):
    text = on(host, "ip", "neigh", "show", address(other)).stdout
    found = re.search(r"lladdr (\S+)", text)
    return found and found.group(1)


@pytest.mark.core
def test_another_guid_of_the_port():
    """The subnet manager knows nothing of it: no carrier, but the address."""
    guid, old = table(2, "guids")[0], link(2)["address"]
    edit(2, "guids", f"0 {guid + 0x1000:#x}")
    try:
        wait_until("the address follows",
                   lambda: link(2)["address"] != old)
        assert int(link(2)["address"].replace(":", "")[24:], 16) == \
            guid + 0x1000
    finally:
        edit(2, "guids", f"0 {guid:#x}")
    wait_until("the address is as before", lambda: link(2)["address"] == old)
    wait_until("carrier", lambda: has_carrier(2), timeout=60)
    wait_until("the peer knows", lambda: ping(1, ip4(2), 1, check=False) and
               known_as(1, 2) == old, timeout=60)


def told_unasked(wait, change):
    """Host 1, which sends nothing, gets to know host 2's new address."""
    old, before = link(2)["address"], ethtool_stats(2)["announcements"]
    for address in (ip4(2), ip6(2)):
        on(1, "ip", "neigh", "replace", address, "lladdr", old, "dev", "ib0",
           "nud", "stale")
    change()
    wait_until("it has another", lambda: link(2)["address"] != old)
    for kind in (ip4, ip6):
        wait_until("host 1 knows", lambda: known_as(1, 2, kind) ==
                   link(2)["address"], timeout=wait)
        assert known_as(1, 2, kind) == link(2)["address"]
    # what a test before has begun to announce may come on top
    wait_until("it was said three times", lambda: ethtool_stats(2)[
        "announcements"] >= before + 3)


@pytest.mark.core
def test_a_new_number_is_announced():
    def change():
        """One of host 3's packets is too much for host 2's queue."""
        qpn = int(link(2)["address"].replace(":", "")[2:8], 16)
        with fault("fab2", "completions", "overflow nth=1 dir=recv") as one:
            inject(3, bytes.fromhex("88b50000") + bytes(40), dlid=lid(2),
                   qkey=0xb1b, qpn=qpn)
            wait_until("it has struck", lambda: one.hit)

    told_unasked(10, change)


def test_a_guid_of_ones_own_is_announced():
    """Beside the port's: an alias that the subnet manager has given it."""
    words = link(2)["address"].split(":")
    guid = "02fab0000a000078"

    def becomes(text):
        on(2, "ip", "link", "set", "ib0", "down")
        now = link(2)["address"].split(":")[:12]
        on(2, "ip", "link", "set", "ib0", "address", ":".join(now + text))
        link_up(2)

    try:
        told_unasked(30, lambda: (
            run("lab-guid", "add", 2, f"0x{guid}"),
            becomes([guid[at:at + 2] for at in range(0, 16, 2)])))
    finally:
        becomes(words[12:])
        wait_until("nobody uses it any more", lambda: run(
            "lab-guid", "del", 2, f"0x{guid}", check=False).returncode == 0)


@pytest.mark.parametrize("junk", [
    ":".join(["00"] * 20), ":".join(["ff"] * 20),
    "00:ff:ff:ff:fe:80:40:1b:ff:ff:00:00:00:00:00:00:ff:ff:ff:ff",
    "00:00:00:40:ff:12:60:1b:80:01:00:00:00:00:00:00:00:00:00:01"],
    ids=["zeros", "ones", "no-group", "another"])
def test_broadcast_addresses_that_are_none(junk):
    """Nobody is in their group; then all is as it was."""
    old = link(2)["broadcast"]
    on(2, "ip", "link", "set", "ib0", "broadcast", junk, check=False)
    try:
        ping(1, ip4(2), 1, "-W", 1, check=False)
    finally:
        on(2, "ip", "link", "set", "ib0", "broadcast", old)
    wait_until("carrier", lambda: has_carrier(2), timeout=60)
    wait_until("broadcast is as before",
               lambda: joined_of("ffff") and link(2)["broadcast"] == old)


def test_another_scope():
    """`ip link set broadcast` reaches a driver by the notifier alone."""
    old = link(2)["broadcast"]
    words = old.split(":")
    words[5] = "15"
    on(2, "ip", "link", "set", "ib0", "broadcast", ":".join(words))
    try:
        wait_until("it leaves the old group", lambda: "ff12:401b:ffff" not in
                   (port_dir(2) / "groups").read_text())
    finally:
        on(2, "ip", "link", "set", "ib0", "broadcast", old)
    wait_until("carrier", lambda: has_carrier(2), timeout=60)


# --- Queues that ail ----------------------------------------------------------

def set_state(host, qpn, state):
    (FABRIC / f"fab{host}/qp_state").write_text(f"{qpn:#x} {state}")


@pytest.mark.core
@pytest.mark.parametrize("state, stage", [("sqe", "heal_sqe"),
                                          ("err", "heal_reset")])
def test_a_queue_pair_is_healed_and_keeps_its_number(state, stage):
    numbers, before = ud_pairs(2), ethtool_stats(2)
    changes = carrier_changes(2)
    set_state(2, numbers[0], state)
    wait_until("it answers", lambda: ping(1, ip4(2), 1, "-W", 1, check=False),
               timeout=60)
    if state == "sqe":
        # it can still receive; only a send finds it out
        wait_until("it is healed", lambda: ping(2, ip4(1), 1, "-W", 1,
                                                check=False) and
                   queue_pairs(2)[numbers[0]]["state"] == "RTS", timeout=60)
    wait_until("the stage was counted",
               lambda: ethtool_stats(2)[stage] > before[stage])
    if state == "sqe":
        assert ethtool_stats(2)["heal_reset"] == before["heal_reset"]
    assert ud_pairs(2) == numbers
    assert carrier_changes(2) == changes
    ping(1, ip4(2), 10)
    ping(2, ip4(1), 10)


@pytest.mark.parametrize("place", [0, 1], ids=["receives", "sends"])
def test_a_queue_that_takes_no_qkey_does_not_cost_the_carrier(place):
    """It has sent nothing since it ails, so nobody has noticed."""
    before = ethtool_stats(2)["heal_sqe"]
    with tx_queues(2, 2):
        set_state(2, ud_pairs(2)[place], "sqe")
        set_link(2, "down")
        wait_until("no carrier", lambda: not has_carrier(2))
        set_link(2, "up")
        wait_until("carrier", lambda: has_carrier(2), timeout=60)
        wait_until("all work, with the Q_Key", lambda: {
            (pair["state"], pair["qkey"]) for qpn, pair in
            queue_pairs(2).items() if qpn > 1} == {("RTS", "0x00000b1b")})
        assert ethtool_stats(2)["heal_sqe"] > before
        wait_until("it answers", lambda: ping(1, ip4(2), 1, check=False))


def test_a_completion_queue_in_error_is_made_anew():
    """Its queue pair with it, whose number is announced."""
    numbers, before = ud_pairs(2), ethtool_stats(2)["heal_recreate"]
    path = pathlib.Path(FABRIC / "fab2/faults/completions")
    path.write_text("overflow nth=1 dir=recv")
    try:
        wait_until("it is made anew", lambda: ping(
            1, ip4(2), 1, "-W", 1, check=False) is not None and
            ethtool_stats(2)["heal_recreate"] > before, timeout=60)
    finally:
        path.write_text("off")
    wait_until("it answers", lambda: ping(1, ip4(2), 1, check=False),
               timeout=60)
    assert ud_pairs(2) != numbers
    wait_until("the peer knows", lambda: known_as(1, 2) == link(2)["address"],
               timeout=60)


@contextlib.contextmanager
def wedged(host):
    """The parent and three children, and an HCA that gives nothing back."""
    names = [f"kid{number}" for number in range(3)]
    for name in names:
        on(host, "ip", "link", "add", "link", "ib0", "name", name, "type",
           "ipoib")
        on(host, "ip", "link", "set", name, "up")
    for name in names:
        wait_until("carrier", lambda one=name: has_carrier(host, one))
    path = pathlib.Path(FABRIC / f"fab{host}/faults/completions")
    path.write_text("stall dir=any")
    try:
        ping(host, ip4(1), 3, "-W", 1, check=False)
        yield names
    finally:
        path.write_text("off")
        for name in names:
            on(host, "ip", "link", "del", name, check=False)


def test_a_wedged_hca_does_not_hold_up_stop():
    """No completion comes back, and all go down all the same, together."""
    try:
        with wedged(2) as names:
            with within(10):
                on(2, "ip", "link", "set", "ib0", "down")
            for name in ("ib0", *names):
                assert "UP" not in link(2, name)["flags"]
    finally:
        link_up(2)
    wait_until("it answers", lambda: ping(1, ip4(2), 1, check=False),
               timeout=60)


def test_a_wedged_hca_does_not_hold_up_removal():
    try:
        with wedged(2), within(10):
            run("lab-driver", "unload")
    finally:
        run("lab-driver", "load", DRIVER)
        run("lab-hosts")
    for host in (1, 2):
        link_up(host)
    wait_until("it answers", lambda: ping(1, ip4(2), 1, check=False),
               timeout=60)
