# SPDX-License-Identifier: GPL-2.0
"""Children: made and deleted in both ways, alike, and alive."""

import contextlib
import errno
import ipaddress
import json
import re
import sys
import time

import pytest

from groupkit import memberships
from labkit import (DRIVER, KERNEL, PARTITIONS, KernelLog, attr, edit,
                    ethtool_stats, events, fault, has_carrier, interface_names,
                    link, link_up, on, ping, plug, queue_pairs, reaches,
                    reason, run, start_on, table, told, wait_until, write_attr)
from rtnlkit import dump_seconds

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("partitions")]

PKEY = 0x8001
NAME = "ib0.8001"


def create(host, text="0x8001"):
    return write_attr(host, "create_child", f"{text}\n")


def delete(host, text="0x8001"):
    return write_attr(host, "delete_child", f"{text}\n")


def add(host, name, *words, pkey=hex(PKEY), where=(), check=True):
    """`ip link add`; the finished command."""
    key = ("pkey", pkey) if pkey else ()
    return on(host, "ip", "link", "add", "link", "ib0", "name", name, *where,
              "type", "ipoib", *key, *words, check=check)


def children(host):
    return {name for name in interface_names(host) if name not in
            ("lo", "ib0") and not name.startswith(("bond", "dummy"))}


@pytest.fixture(autouse=True)
def clean():
    yield
    for host in (1, 2, 3):
        left = children(host)
        for name in left:
            on(host, "ip", "link", "set", name, "group", 99, check=False)
        if left:
            on(host, "ip", "link", "del", "group", 99, timeout=300)
    assert not children(1) | children(2)


# of a partition that every port is in
LATE = 0x8002


@pytest.fixture
def late_key():
    """It is not in host 1's table yet; the subnet manager thinks it is."""
    place = {key: at for at, key in table(1, "pkeys").items()}[LATE]
    edit(1, "pkeys", f"{place} 0")
    yield
    edit(1, "pkeys", f"{place} {LATE:#x}")


def late_child(host, make):
    name = f"ib0.{LATE:04x}"
    if make == "file":
        assert create(host, f"{LATE:#x}") == 0
    else:
        add(host, name, pkey=f"{LATE:#x}")
    on(host, "ip", "link", "set", name, "up")
    wait_until("it says so", lambda: reason(host, name) == "pkey-absent")
    assert not has_carrier(host, name)
    return name


def free_place(host):
    return max(table(host, "pkeys")) + 1


@contextlib.contextmanager
def at_place(host, index, key):
    """A key in a place of the table; what was there is behind meanwhile."""
    old, free = table(host, "pkeys").get(index, 0), free_place(host)
    if old:
        edit(host, "pkeys", f"{free} {old:#x}")
    edit(host, "pkeys", f"{index} {key:#x}")
    try:
        yield
    finally:
        edit(host, "pkeys", f"{index} {old:#x}")
        if old:
            edit(host, "pkeys", f"{free} 0")


def by_file(host):
    assert create(host) == 0
    return NAME


def by_netlink(host):
    add(host, NAME)
    return NAME


WAYS = pytest.mark.parametrize("make", [by_file, by_netlink])


def broadcast_with_key(host):
    """The parent's broadcast address, but of partition 0x8001."""
    words = link(host)["broadcast"].split(":")
    words[8:10] = ["80", "01"]
    return ":".join(words)


@WAYS
def test_child_inherits_the_scope(make):
    before = link(1)["broadcast"]
    words = before.split(":")
    words[5] = "15"
    on(1, "ip", "link", "set", "ib0", "broadcast", ":".join(words))
    try:
        name = make(1)
        assert link(1, name)["broadcast"] == broadcast_with_key(1)
        assert link(1, name)["broadcast"].split(":")[5] == "15"
    finally:
        on(1, "ip", "link", "set", "ib0", "broadcast", before)
    wait_until("an answer", lambda: ping(1, "10.44.0.2", 1, check=False))


@pytest.mark.core
@WAYS
def test_both_ways_make_the_same(make):
    name = make(1)
    files = set(on(1, "ls", f"/sys/class/net/{name}").stdout.split())
    assert {"mode", "pkey", "umcast", "parent", "link_reason"} <= files
    assert not {"create_child", "delete_child"} & files
    assert attr(1, "parent", name) == "ib0"
    assert attr(1, "pkey", name) == "0x8001"
    assert attr(1, "mode", name) == "datagram"
    assert attr(1, "umcast", name) == "0"
    shown = link(1, name)
    assert shown["link"] == "ib0"
    data = shown["linkinfo"]["info_data"]
    assert int(str(data["key"]), 0) == PKEY
    assert data["mode"] == "datagram"
    assert shown["address"][12:] == link(1)["address"][12:]
    assert shown["broadcast"] == broadcast_with_key(1)
    assert "driver: ib_ipoib" in on(1, "ethtool", "-i", name).stdout
    assert len(ethtool_stats(1, name)) > 20


# what two interfaces of one kind cannot have alike, and what time changes
OWN = {"ifname", "ifindex", "address", "stats", "stats64"}


def looks(host, name):
    """What is told of an interface that is not its own alone."""
    shown = {key: value for key, value in link(host, name).items()
             if key not in OWN}
    return shown, on(host, "ls", f"/sys/class/net/{name}").stdout


@pytest.mark.core
@pytest.mark.parametrize("state", ["down", "up"])
def test_nothing_tells_how_it_was_made(state):
    """But the netlink kind can have another name, and be one of several."""
    by_file(1)
    add(1, "kid")
    for name in (NAME, "kid"):
        on(1, "ip", "link", "set", name, state)
    if state == "up":
        for name in (NAME, "kid"):
            wait_until("carrier", lambda: has_carrier(1, name))
    assert looks(1, NAME) == looks(1, "kid")


@pytest.mark.core
@pytest.mark.parametrize("make, end", [
    (by_file, "file"), (by_file, "netlink"), (by_netlink, "netlink")])
def test_children_are_deleted(make, end):
    name = make(1)
    on(1, "ip", "link", "set", name, "up")
    wait_until("carrier", lambda: has_carrier(1, name))
    if end == "file":
        assert delete(1) == 0
    else:
        on(1, "ip", "link", "del", name)
    wait_until("it is gone", lambda: name not in interface_names(1))
    assert not children(1)


# by one process, which is quick
AGAIN_AND_AGAIN = """
import os
files = [os.open(f"/sys/class/net/ib0/{verb}_child", os.O_WRONLY)
         for verb in ("create", "delete")]
for _ in range(50):
    for file in files:
        os.pwrite(file, b"0x8001", 0)
    assert not os.path.exists("/sys/class/net/ib0.8001")
"""


def test_deleted_child_is_gone_with_the_write():
    """So that its name and P_Key may be used at once."""
    on(1, sys.executable, "-c", AGAIN_AND_AGAIN)


def test_files_leave_alone_what_netlink_made():
    """Nor does a child made by netlink keep the file from making its own."""
    add(1, "kid")
    with told("ib0: no child made by create_child has P_Key 0x8001"):
        assert delete(1) == errno.ENODEV
    assert create(1) == 0
    assert children(1) == {NAME, "kid"}
    assert delete(1) == 0
    assert children(1) == {"kid"}


def test_files_leave_alone_what_another_namespace_was_given():
    run("ip", "netns", "add", "aside")
    try:
        by_file(1)
        on(1, "ip", "link", "set", NAME, "netns", "aside")
        assert delete(1) == errno.ENODEV
        assert create(1) == 0
        assert delete(1) == 0
        assert not children(1)
        assert NAME in run("ip", "-n", "aside", "link").stdout
        run("ip", "-n", "aside", "link", "set", NAME, "netns", "host1")
        assert create(1) == errno.ENOTUNIQ
        assert delete(1) == 0
    finally:
        run("ip", "netns", "del", "aside")


@pytest.mark.parametrize("key, holder", [
    ("0xffff", "ib0"), ("0x7fff", "ib0"), ("0x0001", NAME), ("0x8001", NAME)])
def test_duplicate_pkey_names_the_holder(key, holder):
    by_file(1)
    with told(f"ib0: no child: P_Key {key} is in use by {holder}"):
        assert create(1, key) == errno.ENOTUNIQ


@pytest.mark.core
@WAYS
def test_they_talk(make):
    for host in (1, 2):
        name = make(host)
        on(host, "ip", "addr", "add", f"10.81.0.{host}/24", "dev", name)
        on(host, "ip", "link", "set", name, "up")
    wait_until("an answer", lambda: reaches(1, "10.81.0.2"))
    ping(1, "10.81.0.2", 10)
    ping(2, "10.81.0.1", 10)


def test_siblings_on_one_port_hear_each_other():
    """Two children of one key in two namespaces of one host."""
    run("ip", "netns", "add", "aside")
    try:
        add(1, "kid0")
        add(1, "kid1")
        on(1, "ip", "link", "set", "kid1", "netns", "aside")
        on(1, "ip", "addr", "add", "10.82.0.1/24", "dev", "kid0")
        on(1, "ip", "link", "set", "kid0", "up")
        run("ip", "-n", "aside", "addr", "add", "10.82.0.2/24", "dev", "kid1")
        run("ip", "-n", "aside", "link", "set", "kid1", "up")
        wait_until("an answer", lambda: reaches(1, "10.82.0.2"))
        ping(1, "10.82.0.2", 5)
        run("ip", "-n", "aside", "link", "del", "kid1")
    finally:
        run("ip", "netns", "del", "aside")


@pytest.mark.core
def test_either_spelling_is_one_key_and_another_name():
    assert create(1, "1") == 0
    assert children(1) == {"ib0.0001"}
    assert attr(1, "pkey", "ib0.0001") == "0x8001"
    assert create(1, "0x8001") == errno.ENOTUNIQ
    assert create(1, "1") == errno.ENOTUNIQ
    assert create(1, "0xffff") == errno.ENOTUNIQ
    assert create(1, "0x7fff") == errno.ENOTUNIQ
    assert delete(1, "0x8001") == 0
    assert not children(1)
    assert delete(1, "1") == errno.ENODEV


def test_present_pkey_of_the_parent_is_in_use():
    """The parent has taken another than it came up with, and may go back."""
    edit(1, "pkeys", "0 0x8055")
    try:
        wait_until("the parent follows", lambda: attr(1, "pkey") == "0x8055")
        for key in ("0x8055", "0x0055", "0xffff"):
            with told(f"ib0: no child: P_Key {key} is in use by ib0"):
                assert create(1, key) == errno.ENOTUNIQ
    finally:
        edit(1, "pkeys", "0 0xffff")
        wait_until("the parent is back", lambda: attr(1, "pkey") == "0xffff")
        wait_until("host 2 answers", lambda: reaches(1, "10.44.0.2"),
                   timeout=60)


def test_names_that_are_taken():
    on(1, "ip", "link", "add", NAME, "type", "dummy")
    try:
        assert create(1) == errno.EEXIST
    finally:
        on(1, "ip", "link", "del", NAME)
    ping(1, "10.44.0.2")


@pytest.mark.core
def test_netlink_makes_several_of_one_key():
    for number in range(5):
        add(1, f"kid{number}")
    assert len(children(1)) == 5
    add(1, "like", pkey=None)
    assert attr(1, "pkey", "like") == "0xffff"


@pytest.mark.parametrize("words, text", [
    (("pkey", "0x8000"), "name no partition"),
    (("pkey", "0"), "name no partition"),
    (("mode", "connected"), "connected mode"),
    (("pkey", "0x8001", "mode", "connected"), "connected mode"),
])
def test_refusals_tell_why(words, text):
    done = add(1, "kid", *words, pkey=None, check=False)
    assert done.returncode
    assert text in done.stderr
    assert not children(1)


def test_grandchildren_and_strangers_are_refused():
    add(1, NAME)
    done = on(1, "ip", "link", "add", "link", NAME, "name", "grand", "type",
              "ipoib", "pkey", "0x8002", check=False)
    assert "child itself" in done.stderr
    on(1, "ip", "link", "add", "dummy9", "type", "dummy")
    try:
        done = on(1, "ip", "link", "add", "link", "dummy9", "name", "kid",
                  "type", "ipoib", check=False)
        assert "no interface of this driver" in done.stderr
    finally:
        on(1, "ip", "link", "del", "dummy9")
    done = on(1, "ip", "link", "add", "name", "kid", "type", "ipoib",
              check=False)
    assert "needs a parent" in done.stderr
    assert children(1) == {NAME}


@pytest.mark.core
def test_the_ports_interface_is_not_deleted_and_says_why():
    log = KernelLog()
    try:
        on(1, "ip", "link", "del", "ib0")
        assert "ib0" in interface_names(1)
        wait_until("a line says why", lambda: any(
            "not deleted" in line for line in log.lines()))
    finally:
        log.close()
    ping(1, "10.44.0.2")


@pytest.mark.parametrize("make", ["netlink", "file"])
def test_from_inside_another_namespace(make):
    """A container deletes what it was given."""
    run("ip", "netns", "add", "aside")
    try:
        if make == "file":
            by_file(1)
            on(1, "ip", "link", "set", NAME, "netns", "aside")
        else:
            add(1, NAME, where=("netns", "aside"))
        shown = json.loads(run("ip", "-n", "aside", "-j", "-d", "link", "show",
                               NAME).stdout)[0]
        assert "link_netnsid" in shown
        run("ip", "-n", "aside", "link", "set", NAME, "up")
        wait_until("carrier", lambda: "LOWER_UP" in run(
            "ip", "-n", "aside", "link", "show", NAME).stdout)
        run("ip", "-n", "aside", "link", "del", NAME)
        wait_until("it is gone", lambda: NAME not in run(
            "ip", "-n", "aside", "link").stdout)
    finally:
        run("ip", "netns", "del", "aside")


def test_a_namespace_that_dies_gives_them_back():
    run("ip", "netns", "add", "aside")
    add(1, NAME)
    on(1, "ip", "link", "set", NAME, "netns", "aside")
    run("ip", "netns", "del", "aside")
    wait_until("it is in the initial one",
               lambda: NAME in run("ip", "link").stdout)
    run("ip", "link", "del", NAME)


def test_mtu_and_address_at_creation():
    address = link(1)["address"].split(":")
    address[18:] = ["ab", "cd"]
    add(1, "kid", where=("mtu", "1500", "address", ":".join(address)))
    shown = link(1, "kid")
    assert shown["mtu"] == 1500
    assert shown["address"][-5:] == "ab:cd"
    on(1, "ip", "link", "set", "kid", "up")
    wait_until("its GUID is missing",
               lambda: reason(1, "kid") == "gid-absent")
    guid = int("".join(address[12:]), 16)
    run("lab-guid", "add", 1, f"{guid:#x}")
    try:
        wait_until("carrier", lambda: has_carrier(1, "kid"), timeout=60)
        assert link(1, "kid")["mtu"] == 1500
    finally:
        on(1, "ip", "link", "del", "kid")
        wait_until("nobody uses it any more", lambda: run(
            "lab-guid", "del", 1, f"{guid:#x}", check=False).returncode == 0)


@pytest.mark.parametrize("words", [
    ("mtu", "67"), ("mtu", "65520"),
    ("address", "00:00:00:00:fe:80:00:00:00:00:00:00:00:00:00:00:00:00:00:00"),
    ("address", "00:ff:ff:ff:ff:12:40:1b:ff:ff:00:00:00:00:00:00:ff:ff:ff:ff"),
    ("address", "02:00:00:00:00:01"),
    ("broadcast",
     "00:ff:ff:ff:fe:80:40:1b:ff:ff:00:00:00:00:00:00:ff:ff:ff:ff"),
])
def test_what_a_child_cannot_begin_with(words):
    assert add(1, "kid", where=words, check=False).returncode
    assert not children(1)


@pytest.mark.parametrize("where", ["behind", "first"])
@pytest.mark.parametrize("make", ["file", "netlink"])
def test_a_key_that_comes_later(late_key, make, where):
    """The child exists, says why it is down, and comes up with the key.

    Wherever that is; the parent stays with its own then.
    """
    name = late_child(1, make)
    index = free_place(1) if where == "behind" else 0
    with at_place(1, index, LATE):
        wait_until("carrier", lambda: has_carrier(1, name), timeout=60)
        assert reason(1, name) == "up"
        if where == "first":
            assert attr(1, "pkey") == "0xffff"
            wait_until("the parent answers", lambda: reaches(2, "10.44.0.1"),
                       timeout=60)
    wait_until("it says so again", lambda: reason(1, name) == "pkey-absent")
    assert not has_carrier(1, name)
    wait_until("the parent answers", lambda: reaches(2, "10.44.0.1"),
               timeout=60)


def test_a_key_that_nobody_tells_of(late_key):
    """The core could not read the table when it changed: looking again and
    again is what finds it.
    """
    name, free = late_child(1, "netlink"), free_place(1)
    try:
        with fault("fab1", "verbs", "query_pkey every=1") as refused:
            edit(1, "pkeys", f"{free} {LATE:#x}")
            wait_until("the core has tried", lambda: refused.hit)
        told = events("fab1/port1")
        wait_until("carrier", lambda: has_carrier(1, name), timeout=60)
        assert events("fab1/port1") == told
    finally:
        edit(1, "pkeys", f"{free} 0")


@pytest.mark.core
@WAYS
def test_children_go_up_and_down_with_their_parent(make):
    """But for one that was taken down by itself."""
    name = make(2)
    add(2, "other", pkey="0x8002")

    def is_up(one):
        return "UP" in link(2, one)["flags"]

    on(2, "ip", "link", "set", "ib0", "down")
    link_up(2)
    assert is_up(name) and is_up("other")
    on(2, "ip", "link", "set", "other", "down")
    on(2, "ip", "link", "set", "ib0", "down")
    assert not is_up(name)
    link_up(2)
    assert is_up(name) and not is_up("other")
    wait_until("host 1 answers", lambda: reaches(2, "10.44.0.1"))


def test_children_go_with_the_hca():
    for number in range(20):
        add(3, f"kid{number}")
        on(3, "ip", "link", "set", f"kid{number}", "up")
    plug(3, "surprise")
    wait_until("all are gone", lambda: not children(3))
    plug(3)
    run("lab-hosts", "adopt", 3)
    wait_until("it answers", lambda: reaches(1, "10.44.0.3"), timeout=60)


def test_a_guid_of_ones_own():
    """Only that part is the user's, and only while the interface is down."""
    address = link(2)["address"].split(":")
    wanted = address[:12] + ["02", "fa", "b0", "00", "0a", "00", "00", "77"]

    def set_to(words):
        return on(2, "ip", "link", "set", "ib0", "address", ":".join(words),
                  check=False).returncode

    name = by_netlink(2)
    add(2, "own", where=("address", ":".join(wanted[:-1] + ["78"])))
    assert set_to(wanted)
    on(2, "ip", "link", "set", "ib0", "down")
    try:
        assert set_to(["02"] + wanted[1:])
        assert set_to(wanted[:4] + ["fd"] + wanted[5:])
        assert set_to(wanted[:12] + ["00"] * 8)
        assert set_to(wanted) == 0
        assert link(2)["address"] == ":".join(wanted)
        assert link(2, name)["address"][12:] == ":".join(wanted)[12:]
        # one that has its own keeps it
        assert link(2, "own")["address"][-5:] == "00:78"
        run("lab-guid", "add", 2, f"0x{''.join(wanted[12:])}")
        link_up(2)
        wait_until("it answers", lambda: reaches(1, "10.44.0.2"), timeout=60)
    finally:
        on(2, "ip", "link", "set", "ib0", "down")
        now = link(2)["address"].split(":")
        assert set_to(now[:12] + address[12:]) == 0
        wait_until("nobody uses it any more", lambda: run(
            "lab-guid", "del", 2, f"0x{''.join(wanted[12:])}",
            check=False).returncode == 0)
        link_up(2)
    wait_until("it answers", lambda: reaches(1, "10.44.0.2"), timeout=60)


def members_of(pkey):
    """Port GIDs in each group of a partition, as the administrator has them."""
    found = {}
    for mgid, port_gid, _ in memberships():
        if f"401b:{pkey:x}:" in mgid or f"601b:{pkey:x}:" in mgid:
            found.setdefault(mgid, set()).add(
                ipaddress.IPv6Address(port_gid))
    return found


def gid(address):
    """The GID in a link address."""
    return ipaddress.IPv6Address(bytes.fromhex(address.replace(":", ""))[4:])


def test_a_parents_guid_is_a_running_childs_too():
    """It belongs to no group by its old one, and is reached by the new."""
    for host in (1, 2):
        add(host, NAME)
        for address in (f"10.86.0.{host}/24", f"fd86::{host}/64"):
            on(host, "ip", "addr", "add", address, "dev", NAME)
    on(2, "ip", "link", "set", "ib0", "down")
    for host in (1, 2):
        on(host, "ip", "link", "set", NAME, "up")
        on(host, "ip", "addr", "replace", f"fd86::{host}/64", "dev", NAME,
           "nodad")
    address, old = link(2)["address"], gid(link(2, NAME)["address"])
    wanted = address[:36] + "02:fa:b0:00:0a:00:00:77"
    guid = "0x02fab0000a000077"
    run("lab-guid", "add", 2, guid)
    try:
        for to in ("10.86.0.2", "fd86::2"):
            wait_until("an answer", lambda one=to: ping(1, one, 1,
                                                        check=False))
        assert old in members_of(PKEY)["ff12:401b:8001::ffff:ffff"]
        on(2, "ip", "link", "set", "ib0", "address", wanted)
        new = gid(link(2, NAME)["address"])
        assert new == gid(wanted) != old
        wait_until("it is in the group by its new one", lambda: new in
                   members_of(PKEY)["ff12:401b:8001::ffff:ffff"])
        wait_until("the old is in none", lambda: not any(
            old in gids for gids in members_of(PKEY).values()))
        wait_until("carrier", lambda: has_carrier(2, NAME))
        for to in ("10.86.0.2", "fd86::2"):
            on(1, "ip", "neigh", "flush", "dev", NAME)
            wait_until("an answer", lambda one=to: ping(1, one, 1,
                                                        check=False))
            ping(1, to)
    finally:
        on(2, "ip", "link", "set", "ib0", "address", address)
        wait_until("nobody uses it any more", lambda: run(
            "lab-guid", "del", 2, guid, check=False).returncode == 0)
        link_up(2)


# --- Many ---------------------------------------------------------------------

MANY = 1000 if KERNEL == "uml" else 100


@contextlib.contextmanager
def timed(count, what, per_second):
    """So many in a second at least, where speed is measured."""
    start = time.monotonic()
    yield
    rate = count / (time.monotonic() - start)
    print(f"{what}: {rate:.0f} per second")
    if KERNEL == "uml":
        assert rate >= per_second, f"{what}: {rate:.0f} per second"


def batch(host, lines, tmp_path):
    file = tmp_path / "batch"
    file.write_text("\n".join(lines) + "\n")
    on(host, "ip", "-batch", file, timeout=300)


HELD = ("Slab", "Percpu", "VmallocUsed", "KernelStack", "PageTables")


def held():
    """KiB that the kernel holds for itself, once that is at rest.

    What is free says less: lists of free pages and caches take their share.
    """
    def read():
        with open("/proc/meminfo", encoding="ascii") as file:
            found = dict(re.findall(r"^(\w+):\s+(\d+)", file.read(), re.M))
        return sum(int(found[name]) for name in HELD)

    readings = []

    def at_rest():
        readings.append(read())
        last = readings[-20:]
        return len(last) == 20 and max(last) - min(last) < 64 and last[-1:]

    return wait_until("memory is at rest", at_rest)[0]


def cost(kind, tmp_path):
    """KiB that an interface takes; there are many of them then, in group 77."""
    before = held()
    with timed(MANY, "made", 100):
        batch(1, [f"link add {kind.format(number)}" for number in range(MANY)],
              tmp_path)
    return (held() - before) / MANY


# of an interface that nobody has opened yet
IDLE_KIB = 64


def delete_group(host):
    on(host, "ip", "link", "del", "group", 77, timeout=300)
    assert not children(host)


def unplug(host):
    """Its children go with the HCA."""
    plug(host, "0")
    wait_until("all are gone", lambda: not children(host), timeout=60)


def plug_again(host):
    plug(host)
    run("lab-hosts", "adopt", host)
    wait_until("it answers", lambda: reaches(host, "10.44.0.2"), timeout=60)


def all_go(way, count, what, per_second):
    """All children of host 1 in one of the ways; it goes on without them."""
    with timed(count, f"{way.__name__}, {what}", per_second):
        way(1)
    if way == unplug:
        plug_again(1)
    ping(1, "10.44.0.2", 5)


def add_many(numbers, tmp_path):
    """Children of host 1, all of one key."""
    batch(1, [f"link add link ib0 name kid{number} group 77 type ipoib "
              "pkey 0x8001" for number in numbers], tmp_path)


@pytest.mark.long
def test_many_children_of_one_key(tmp_path):
    """First of all: what others leave behind in caches would hide a cost."""
    child = cost("link ib0 name kid{} group 77 type ipoib pkey 0x8001", tmp_path)
    if KERNEL == "uml":
        assert child <= IDLE_KIB, f"{child:.0f} KiB each"
    with timed(MANY, "listed", 1000):
        assert len(children(1)) == MANY
    ping(1, "10.44.0.2", 5)
    with timed(MANY, "deleted as a group", 100):
        delete_group(1)
    ping(1, "10.44.0.2", 5)
    dummy = cost("name dm{} group 77 type dummy", tmp_path)
    on(1, "ip", "link", "del", "group", 77, timeout=300)
    print(f"{child:.0f} KiB each, a dummy {dummy:.0f}")


@pytest.mark.long
def test_many_children_of_one_key_go_with_the_hca(tmp_path):
    add_many(range(MANY), tmp_path)
    with timed(MANY, "gone with the HCA", 100):
        unplug(1)
    plug_again(1)


@pytest.mark.long
def test_listing_takes_as_long_for_each_of_many_as_of_few(tmp_path):
    """The shortest listings count: what else the machine does is in others."""
    each, made = {}, 0

    def measured(count):
        seconds, listed = dump_seconds(1, 30)
        assert listed >= count
        each[count] = min(1e6 * seconds / listed, each.get(count, 1e6))
        return each[count]

    for count in (MANY // 4, MANY // 2, MANY):
        add_many(range(made, count), tmp_path)
        made = count
        measured(count)
    try:
        if KERNEL == "uml":
            wait_until("as little for each of many", lambda: measured(MANY) <
                       2 * each[MANY // 4])
    finally:
        print("us for each of", {count: f"{us:.1f}" for count, us in
                                 each.items()})
        delete_group(1)


def test_children_that_are_down_have_no_rings(tmp_path):
    """But each keeps a queue pair: its number is in the link address."""
    count = 20
    batch(1, [f"link add link ib0 name kid{number} group 77 type ipoib "
              "pkey 0x8001" for number in range(count)], tmp_path)

    def all_up():
        on(1, "ip", "link", "set", "group", 77, "up")
        wait_until("carriers", lambda: all(
            has_carrier(1, f"kid{number}") for number in range(count)))

    idle = len(queue_pairs(1))
    all_up()
    on(1, "ip", "link", "set", "group", 77, "down")
    # what an interface has from its first time on is not its rings
    before = held()
    assert len(queue_pairs(1)) == idle + count
    all_up()
    assert held() - before > 512 * count
    on(1, "ip", "link", "set", "group", 77, "down")
    assert held() - before < 128 * count
    assert len(queue_pairs(1)) == idle + count
    all_up()


def seconds_one_by_one(names, kind, tmp_path):
    """How long interfaces take to be deleted one by one."""
    link_to = "link ib0 " if kind.startswith("ipoib") else ""
    batch(1, [f"link add {link_to}name {name} type {kind}" for name in names],
          tmp_path)
    start = time.monotonic()
    batch(1, [f"link del {name}" for name in names], tmp_path)
    return time.monotonic() - start


@pytest.mark.long
def test_one_by_one_like_dummies(tmp_path):
    """In turns, so that both have the same of what else the machine does."""
    turns = 4
    seconds = {"ipoib pkey 0x8001": 0, "dummy": 0}
    for _ in range(turns):
        for kind in seconds:
            seconds[kind] += seconds_one_by_one(
                [f"kid{number}" for number in range(MANY // turns)], kind,
                tmp_path)
            assert not children(1)
    ours, dummies = (MANY / took for took in seconds.values())
    print(f"deleted one by one: {ours:.0f} per second, dummies {dummies:.0f}")
    if KERNEL == "uml":
        assert ours >= 0.8 * dummies


# --- Many that are up ---------------------------------------------------------

UP = MANY // 2
# entries of a ring: those of so many children are to fit into the machine
SHORT, LONGER = 128, 256


@contextlib.contextmanager
def rings_of(entries):
    """The driver is loaded with rings of so many entries meanwhile."""
    run("lab-driver", "unload")
    try:
        run("lab-driver", "load", DRIVER, *(
            f"{way}_queue_size={entries}" for way in ("recv", "send")))
        yield
    finally:
        run("lab-driver", "unload")
        run("lab-driver", "load", DRIVER)


def take_up(count):
    """All of group 77 have their carrier then."""
    def carriers():
        return on(1, "sh", "-c", "cat /sys/class/net/kid*/carrier")

    on(1, "ip", "link", "set", "group", 77, "up", timeout=300)
    wait_until("carriers", lambda: carriers().stdout.count("1") == count,
               timeout=120)


@pytest.mark.long
@pytest.mark.parametrize("way", [delete_group, unplug])
def test_many_children_that_are_up_go(tmp_path, way):
    """What each of them waits for, they wait for together."""
    with rings_of(SHORT):
        add_many(range(UP), tmp_path)
        take_up(UP)
        ping(1, "10.44.0.2", 5)
        # a machine with nothing else to do does twice that
        all_go(way, UP, "up", 50)


def cost_up(count, lines, tmp_path):
    """KiB that an interface takes that is up."""
    before = held()
    batch(1, [f"link add {line}" for line in lines], tmp_path)
    take_up(count)
    each = (held() - before) / count
    on(1, "ip", "link", "del", "group", 77, timeout=300)
    return each


@pytest.mark.long
def test_an_idle_child_that_is_up_takes_little_beside_its_rings(tmp_path):
    """Rings of two lengths tell what it would take with rings of none.

    The stack's own queues before them are made short; what it keeps of any
    interface with as many queues is taken off.
    """
    count = MANY * 2 // 5
    kinds = {name: [f"{more} name kid{number} txqueuelen 1 group 77 {kind}"
                    for number in range(count)] for name, more, kind in (
                        ("child", "link ib0", "type ipoib pkey 0x8001"),
                        ("dummy", "numtxqueues 8", "type dummy"))}
    each = {}
    # the first of all fills caches, too
    for entries in (SHORT, SHORT, LONGER):
        with rings_of(entries):
            each[entries] = cost_up(count, kinds["child"], tmp_path)
    dummy = cost_up(count, kinds["dummy"], tmp_path)
    child = each[SHORT] - (each[LONGER] - each[SHORT]) * \
        SHORT / (LONGER - SHORT)
    print(f"KiB each: {each}, without rings {child:.0f}, a dummy {dummy:.0f}")
    if KERNEL == "uml":
        assert each[LONGER] > 1.5 * each[SHORT]
        assert child - dummy <= IDLE_KIB


def test_made_and_deleted_under_traffic():
    flood = start_on(2, "ping", "-q", "-f", "10.44.0.1")
    try:
        for _ in range(20):
            assert create(1) == 0
            on(1, "ip", "link", "set", NAME, "up")
            assert delete(1) == 0
    finally:
        flood.kill()
        flood.wait()
    assert not children(1)


# --- Many keys ----------------------------------------------------------------

# of these hosts, beside those partitions that every lab has
FIRST_KEY = 0x1000
MEMBERS = ", ".join(f"0x{0x02fab00000000001 | host << 8:016x}=full"
                    for host in (0, 1, 2))


@pytest.fixture(scope="module")
def keys():
    """As many partitions more; their P_Keys with the bit of full members."""
    before = PARTITIONS.read_text()
    bases = range(FIRST_KEY, FIRST_KEY + MANY)
    PARTITIONS.write_text(before + "".join(
        f"k{base:04x}={base:#06x}, ipoib, rate=3, mtu=4, scope=2 : "
        f"{MEMBERS} ;\n" for base in bases))
    run("lab-sm", "resweep")
    found = [0x8000 | base for base in bases]
    has_all = lambda host: set(found) <= set(table(host, "pkeys").values())
    wait_until("the tables are filled", lambda: has_all(1) and has_all(2),
               timeout=60)
    yield found
    PARTITIONS.write_text(before)
    run("lab-sm", "resweep")


def add_each(host, keys, tmp_path):
    """A child for each key, in the order of their keys."""
    batch(host, [f"link add link ib0 name kid{number} group 77 type ipoib "
                 f"pkey {key:#x}" for number, key in enumerate(keys)], tmp_path)


@pytest.mark.long
@pytest.mark.lab(hca="pkeys=1024")
@pytest.mark.parametrize("way", [delete_group, unplug])
def test_many_children_of_many_keys(keys, tmp_path, way):
    """They come in one go, and go in one, with the HCA but not with its keys."""
    with timed(MANY, "made", 100):
        add_each(1, keys, tmp_path)
    with timed(MANY, "listed", 1000):
        assert len(children(1)) == MANY
    ping(1, "10.44.0.2", 5)
    all_go(way, MANY, "many keys", 100)
    wait_until("the keys are back", lambda: set(keys) <= set(
        table(1, "pkeys").values()))


@pytest.mark.long
@pytest.mark.lab(hca="pkeys=1024")
def test_children_of_many_keys_talk_in_their_own_partitions(keys, tmp_path):
    """Wherever in the table their keys are, first, last or between."""
    for host in (1, 2):
        add_each(host, keys, tmp_path)
    some = sorted({0, 1, 31, 32, MANY // 2, MANY - 1})
    for number in some:
        for host in (1, 2):
            name = f"kid{number}"
            on(host, "ip", "addr", "add", f"10.85.{number % 251}.{host}/24",
               "dev", name)
            on(host, "ip", "link", "set", name, "up")
    for number in some:
        for host in (1, 2):
            wait_until("carrier", lambda: has_carrier(host, f"kid{number}"))
        wait_until("an answer",
                   lambda: reaches(1, f"10.85.{number % 251}.2"))
        ping(2, f"10.85.{number % 251}.1", 3)
    for host in (1, 2):
        on(host, "ip", "link", "del", "group", 77, timeout=300)
        assert not children(host)
