# SPDX-License-Identifier: GPL-2.0
"""What a cable does to packets when a test asks for it, counted exactly."""

import contextlib
import errno
import os
import re
import struct
import threading
import time

import pytest

import umad
from labkit import (FABRIC, HOSTS, SLOW, Ear, all_active, counters, edit, fault,
                    inject, lft, lid, loop, plug, port_dir, port_info,
                    port_is_active, run, set_lft, set_link, switch_port,
                    wait_until, without_opensm, written)

pytestmark = pytest.mark.fabric

MODULES = os.environ.get("LAB_MODULES", ".")
HERE = "fab1/port1"
CLASS_SMP_DIRECTED = 0x81
# What smpquery asks of a switch; the subnet manager only hears answers here.
ASK = "class=0x81 attr=0x11 method=0x1"


def load_tools():
    wait_until("all ports ACTIVE", all_active)
    for name in ("fabric_loop", "fabric_ear"):
        run("insmod", f"{MODULES}/{name}.ko")


def unload_tools():
    for name in ("fabric_ear", "fabric_loop"):
        run("rmmod", name)


@pytest.fixture(autouse=True, scope="module")
def tools():
    load_tools()
    yield
    unload_tools()


@pytest.fixture
def ear():
    """A listening queue pair on host 2."""
    listener = Ear(2)
    yield listener
    listener.close()


class Growth:
    """How much counters have grown since this was made."""

    def __init__(self, where="."):
        self.where = where
        self.before = counters(where)

    def __getitem__(self, name):
        return counters(self.where)[name] - self.before[name]


def at_rest():
    return counters()["in_flight"] == 0


# --- Rules ------------------------------------------------------------------

def send_to_nobody(count):
    """Datagrams that reach host 2 and are dropped there."""
    inject(1, b"nobody", dlid=lid(2), qpn=63, qkey=0, repeat=count)


@pytest.mark.parametrize("rule, hits", [
    ("every=10", 100), ("nth=7", 1), ("count=3", 3), ("prob=1", 1000),
    ("prob=0", 0), ("every=1001", 0)])
def test_rule_strikes_as_often_as_it_says(rule, hits):
    grown, arrived = Growth(HERE), Growth("fab2/port1")
    with fault(HERE, "loss", f"{rule} qp=ud") as loss:
        send_to_nobody(1000)
        assert (loss.seen, loss.hit) == (1000, hits)
    assert grown["dropped_fault_loss"] == hits
    assert arrived["dropped_no_qp"] == 1000 - hits


def lost_by_chance(seed):
    (FABRIC / "seed").write_text(str(seed))
    with fault(HERE, "loss", "prob=0.3 qp=ud") as loss:
        send_to_nobody(1000)
        return loss.hit


def test_chance_follows_the_seed():
    first = lost_by_chance(1)
    assert 200 < first < 400
    assert lost_by_chance(1) == first
    assert len({lost_by_chance(seed) for seed in range(2, 9)}) > 3


@pytest.mark.parametrize("text", [
    "", "every=0", "every", "nth=x", "prob=2", "prob=1.1", "prob=.5",
    "often=3", "qp=ud", "every=2 qp=rc", "every=2 us=5", "off qp=ud",
    "every=2 at=0"])
def test_bad_line_changes_nothing(text):
    with fault(HERE, "loss", "every=5 qp=gsi") as loss:
        assert written(loss.path, text) == errno.EINVAL
        assert loss.path.read_text().startswith("every=5 ")
    assert loss.path.read_text() == "off\n"


@pytest.mark.parametrize("name, text", [
    ("delay", "every=1"), ("delay", "every=1 us=0"),
    ("delay", "every=1 us=60000001"), ("delay", "every=1 us=9 room=4097"),
    ("delay", "every=1 us=9 by=1"), ("reorder", "every=1 by=0"),
    ("corrupt", "every=1 at=3"), ("corrupt", "every=1 xor=f"),
    ("corrupt", "every=1 xor=zz"), ("corrupt", "every=1 at=4096 xor=ff")])
def test_option_out_of_range_is_refused(name, text):
    path = port_dir(1) / "faults" / name
    assert written(path, text) == errno.EINVAL
    assert path.read_text() == "off\n"


# --- Loss, duplicates -------------------------------------------------------

def test_what_is_lost_does_not_arrive():
    with fault(HERE, "loss", "every=10 qp=ud"):
        result = loop(1, 2, messages=1000)
    assert (result["received"], result["lost"]) == (900, 100)


def test_loss_behind_a_switch_port():
    where = f"switch0/port{switch_port(2)}"
    grown = Growth(where)
    with fault(where, "loss", "every=4 qp=ud"):
        assert loop(1, 2, messages=1000)["lost"] == 250
        assert loop(1, 3, messages=100)["lost"] == 0
    assert grown["dropped_fault_loss"] == 250
    assert loop(1, 2, messages=500)["lost"] == 0


def test_fault_keeps_to_its_kind_of_queue_pair():
    with fault(HERE, "loss", "prob=1 qp=gsi"):
        assert loop(1, 2, messages=100)["lost"] == 0
        assert perfquery_fails()
    with fault(HERE, "loss", "prob=1 qp=smi"):
        assert loop(1, 2, messages=100)["lost"] == 0
        assert not perfquery_fails()


def perfquery_fails():
    return run("perfquery", "-C", "fab1", "-t", 200, lid(2), 1,
               check=False).returncode != 0


def test_duplicates_arrive_twice():
    grown = Growth(HERE)
    with fault(HERE, "duplicate", "every=7 qp=ud") as twice:
        result = loop(1, 2, messages=500)
        assert twice.hit == 71
    assert (result["received"], result["duplicates"]) == (571, 71)
    assert result["late"] == 0
    assert grown["replicated"] == 71
    assert at_rest()


# --- Delay and order --------------------------------------------------------

def test_delay_is_as_long_as_it_says():
    with fault(HERE, "delay", "every=1 us=50000 qp=ud"):
        assert loop(1, 2, messages=1)["ns"] >= 50_000_000
    if SLOW == 1:
        assert loop(1, 2, messages=1)["ns"] < 50_000_000


def test_delayed_messages_keep_their_order():
    with fault(HERE, "delay", "every=1 us=20000 qp=ud") as late:
        result = loop(1, 2, messages=1000)
        assert late.hit == 1000
    assert result["ns"] >= 20_000_000
    assert (result["received"], result["late"]) == (1000, 0)
    assert at_rest()


def test_delay_has_room_for_so_many():
    grown = Growth(HERE)
    with fault(HERE, "delay", "every=1 us=300000 room=100 qp=ud"):
        assert loop(1, 2, messages=250)["received"] == 100
    assert grown["dropped_fault_overflow"] == 150
    assert at_rest()


def test_reorder_lets_the_next_one_overtake():
    with fault(HERE, "reorder", "every=10 qp=ud") as swapped:
        result = loop(1, 2, messages=1000)
        assert swapped.hit == 100
    # Behind the last one comes nobody.
    assert (result["received"], result["late"]) == (1000, 99)
    assert loop(1, 2, messages=1000)["late"] == 0


def test_reorder_by_more_than_one():
    with fault(HERE, "reorder", "nth=10 by=5 us=10000000 qp=ud"):
        assert loop(1, 2, messages=15)["late"] == 1
    # The fifth to overtake is missing: it waits for its time.
    with fault(HERE, "reorder", "nth=10 by=5 us=100000 qp=ud"):
        result = loop(1, 2, messages=14)
    assert (result["late"], result["received"]) == (1, 14)
    assert result["ns"] >= 100_000_000


# --- Corruption -------------------------------------------------------------

def test_bad_crc_is_counted_and_dropped_by_the_next_receiver():
    port = switch_port(1)
    receiver = Growth(f"switch0/port{port}")
    errors = pma_receive_errors(port)
    with fault(HERE, "corrupt", "every=10 qp=ud"):
        result = loop(1, 2, messages=1000)
    assert (result["lost"], result["corrupt"]) == (100, 0)
    assert receiver["dropped_fault_corrupt"] == 100
    assert pma_receive_errors(port) - errors == 100


def pma_receive_errors(port):
    """PortRcvErrors of a port of the switch."""
    switch_lid = next(dlid for dlid, out in lft().items() if out == 0)
    text = run("perfquery", "-C", "fab0", switch_lid, port).stdout
    return int(re.search(r"^PortRcvErrors:\.*(\d+)$", text, re.M).group(1))


def test_changed_bytes_are_delivered_and_the_sender_keeps_its_own():
    """A message that is changed in place would stay so when sent again."""
    with fault(HERE, "corrupt", "every=10 qp=ud at=8 xor=ff") as changed:
        result = loop(1, 2, messages=1000)
        assert changed.hit == 100
    assert (result["received"], result["corrupt"]) == (1000, 100)


def test_exactly_the_named_bytes_change(ear):
    with fault(HERE, "corrupt", "every=1 qp=ud at=2 xor=ff01"):
        inject(1, b"abcdef", dlid=lid(2), qpn=ear.qpn, qkey=ear.qkey)
    assert ear.hears(1)
    assert ear.data == bytes([0x61, 0x62, 0x63 ^ 0xff, 0x64 ^ 0x01, 0x65, 0x66])


# --- Packets that wait ------------------------------------------------------

def hold_some(ear, us):
    """Ten datagrams that wait at host 1's port."""
    waiting = fault(HERE, "delay", f"every=1 us={us} qp=ud")
    with waiting:
        inject(1, b"late", dlid=lid(2), qpn=ear.qpn, qkey=ear.qkey, repeat=10)
    assert counters()["in_flight"] >= 10


def test_packets_wait_on_after_the_fault_is_off(ear):
    hold_some(ear, 300000)
    assert ear.hears(10)
    assert at_rest()


def test_packets_on_a_cable_are_lost_with_the_link(ear):
    grown = Growth(HERE)
    hold_some(ear, 2000000)
    set_link(1, "down")
    set_link(1, "up")
    wait_until("fab1 is ACTIVE again", lambda: port_is_active(1))
    wait_until("nothing is on its way", at_rest)
    assert ear.received == 0
    assert grown["dropped_link_down"] >= 10
    wait_until("fab2 reached", lambda: loop(1, 2, messages=10)["received"])


def test_packets_outlive_both_queue_pairs():
    """The loop gives up after half a second and closes its queue pairs."""
    grown = Growth("fab2/port1")
    with fault(HERE, "delay", f"every=1 us={1500000 * SLOW} qp=ud"):
        assert loop(1, 2, messages=100)["received"] == 0
    assert grown["dropped_no_qp"] == 0
    wait_until("nothing is on its way", at_rest)
    assert grown["dropped_no_qp"] == 100


@pytest.mark.parametrize("how", ["0", "surprise"])
def test_packets_of_an_unplugged_hca_are_lost(ear, how):
    grown = Growth(HERE)
    hold_some(ear, 1000000 * SLOW)
    plug(1, how)
    try:
        wait_until("nothing is on its way", at_rest)
        assert ear.received == 0
        assert grown["dropped_link_down"] >= 10
    finally:
        plug(1)
        wait_until("all ports ACTIVE", all_active, timeout=60)


def toggle_faults(until):
    """Set and clear everything there is, and pull the cable now and then."""
    rounds = 0
    while not until.is_set():
        rounds += 1
        with fault(HERE, "delay", "prob=0.3 us=500"), \
                fault(HERE, "reorder", "prob=0.2 by=3 us=2000"), \
                fault(HERE, "duplicate", "prob=0.2"), \
                fault(HERE, "corrupt", "prob=0.2 at=3 xor=ff qp=ud"), \
                fault(HERE, "loss", "prob=0.05 qp=ud"), \
                fault(HERE, "mad", "delay=1 prob=0.2\ndrop class=4 every=2"):
            loop(1, 2, messages=300, both=1)
        if rounds % 4 == 0:
            set_link(1, "down")
            set_link(1, "up")
    return rounds


def test_faults_come_and_go_under_traffic():
    """A short storm; sanitizers and the balance of the counters judge."""
    over = threading.Event()
    timer = threading.Timer(5, over.set)
    timer.start()
    asking = threading.Thread(target=lambda: [
        nodeinfo("0,1", 20) for _ in range(60) if not over.is_set()])
    asking.start()
    try:
        assert toggle_faults(over) > 1
    finally:
        timer.cancel()
        over.set()
        asking.join()
    wait_until("all ports ACTIVE", all_active, timeout=60)
    wait_until("nothing is on its way", at_rest)
    wait_until("fab2 reached", lambda: loop(1, 2, messages=10)["received"])


def test_module_goes_while_packets_wait(ear):
    hold_some(ear, 60000000)
    run("lab-sm", "stop")
    unload_tools()
    try:
        run("rmmod", "ib_fabric")
        run("insmod", f"{MODULES}/ib_fabric.ko", f"hcas={HOSTS + 1}")
    finally:
        run("lab-sm", "start")
        load_tools()
    assert (port_dir(1) / "faults/delay").read_text() == "off\n"


# --- Management datagrams ---------------------------------------------------

def nodeinfo(path, timeout_ms=1000, check=False):
    return run("smpquery", "-C", "fab1", "-t", timeout_ms * SLOW, "-D",
               "nodeinfo", path, check=check)


def ask_until_answered():
    """Whether smpquery asks again by itself is a matter of microseconds."""
    wait_until("an answer", lambda: nodeinfo("0,1", 100).returncode == 0)


def test_lost_smp_is_asked_for_again():
    grown = Growth(HERE)
    with fault(HERE, "mad", f"drop {ASK} nth=1") as lost:
        ask_until_answered()
        assert (lost.seen, lost.hit) == (2, 1)
    assert grown["dropped_fault_mad"] == 1


def test_smps_that_are_all_lost_time_out():
    with fault(HERE, "mad", f"drop {ASK} every=1") as lost:
        assert nodeinfo("0,1", 50).returncode != 0
        assert lost.hit >= 1


def test_lost_answer_of_a_switch():
    where = f"switch0/port{switch_port(1)}"
    with fault(where, "mad", "drop class=0x81 method=0x81 nth=1") as lost:
        ask_until_answered()
        assert (lost.seen, lost.hit) == (2, 1)


def test_rule_keeps_to_its_fields():
    rules = "\n".join(["drop class=0x81 method=1 attr=0x10 every=1",
                       "drop class=0x01 method=1 attr=0x11 every=1",
                       "drop class=0x81 attr=0x11 method=0x2 every=1"])
    with fault(HERE, "mad", rules) as other:
        assert nodeinfo("0,1").returncode == 0
        assert other.seen == 0


def test_late_mad_is_as_late_as_it_says():
    with fault(HERE, "mad", f"delay=300 {ASK} every=1"):
        start = time.monotonic()
        nodeinfo("0,1", check=True)
        assert time.monotonic() - start >= 0.3
        # What no rule is for does not wait behind it.
        assert loop(1, 2, messages=10)["ns"] < 300_000_000 * SLOW


def sa_records():
    text = run("saquery", "-C", "fab1", "-t", 10000 * SLOW, "-N").stdout
    return text.count("NodeRecord dump:")


def test_lost_segment_of_an_sa_table_is_sent_again():
    whole = sa_records()
    assert whole == HOSTS + 2
    with fault("fab0/port1", "mad", "drop class=3 method=0x92 nth=2") as lost:
        assert sa_records() == whole
        assert lost.hit == 1


def test_lost_sa_query_times_out():
    with fault(HERE, "mad", "drop class=3 attr=0x11 every=1") as lost:
        done = run("saquery", "-C", "fab1", "-t", 100, "-N", check=False)
        assert done.returncode != 0
        assert lost.hit >= 1


def test_first_rule_that_strikes_takes_the_datagram():
    with fault(HERE, "mad", f"drop {ASK} nth=2\n"
                            f"delay=50 {ASK} every=1") as rules:
        assert nodeinfo("0,1").returncode == 0
        ask_until_answered()
        lines = rules.path.read_text().splitlines()
        assert lines[0] == f"drop {ASK} nth=2 seen=3 hit=1"
        assert lines[1] == f"delay=50 {ASK} every=1 seen=2 hit=2"
    assert rules.path.read_text() == "off\n"


@pytest.mark.parametrize("text", [
    "drop", "every=1", "drop delay=5 every=1", "delay=0 every=1",
    "delay=60001 every=1", "drop class=256 every=1", "drop attr=65536 every=1",
    "drop kind=1 every=1", "drop class= every=1"])
def test_bad_rule_for_datagrams_is_refused(text):
    path = port_dir(1) / "faults/mad"
    assert written(path, text) == errno.EINVAL
    assert path.read_text() == "off\n"


def test_rules_for_datagrams_are_bounded():
    with pytest.raises(OSError) as caught, \
            fault(HERE, "mad", "\n".join(["drop class=0x50 every=1"] * 33)):
        pass
    assert caught.value.errno == errno.ENOSPC


# --- Injection --------------------------------------------------------------

def test_injected_datagram_arrives_as_told(ear):
    inject(1, b"\x00\x01 any bytes", dlid=lid(2), qpn=ear.qpn, qkey=ear.qkey,
           sqpn=0xabcdef, sl=3)
    assert ear.hears(1)
    assert ear.data == b"\x00\x01 any bytes"
    assert (ear.src_qpn, ear.slid, ear.sl) == (0xabcdef, lid(1), 3)
    assert ear.grh is None


def test_injected_grh(ear):
    inject(1, b"x", dlid=lid(2), qpn=ear.qpn, qkey=ear.qkey, sgid_index=0,
           dgid="fe80::2fa:b000:0:201")
    assert ear.hears(1)
    # Version 6; BTH, DETH, the byte padded to four, ICRC; IBA is next.
    assert ear.grh[:7] == bytes([0x60, 0, 0, 0, 0, 28, 0x1b])
    assert ear.grh[8:24].hex() == "fe8000000000000002fab00000000101"
    assert ear.grh[24:].hex() == "fe8000000000000002fab00000000201"


@pytest.mark.parametrize("size", [0, 1, 4096])
def test_injected_sizes(ear, size):
    data = bytes(i & 0xff for i in range(size))
    inject(1, data, dlid=lid(2), qpn=ear.qpn, qkey=ear.qkey)
    assert ear.hears(1)
    assert ear.data == data


@pytest.mark.parametrize("words, cause", [
    ({"qkey": 1}, "qkey"), ({"pkey": 0x1234}, "pkey"), ({"qpn": 63}, "no_qp"),
    ({"pkey": 0}, "pkey")])
def test_receiver_checks_what_is_injected(ear, words, cause):
    grown = Growth("fab2/port1")
    inject(1, b"x", **{"dlid": lid(2), "qpn": ear.qpn, "qkey": ear.qkey,
                       **words})
    assert grown[f"dropped_{cause}"] == 1
    assert ear.received == 0


# The GUID of host 2's port, and others
GUID, FOREIGN, ALIAS = "2fa:b000:0:201", "2fa:b000:0:301", "2fa:b000:a00:201"


@contextlib.contextmanager
def another_subnet(host):
    """A port whose GIDs have a prefix of their subnet, and an alias GUID."""
    with without_opensm():
        edit(host, "prefix", "0xfec0000000000001")
        edit(host, "guids", f"3 0x02fab0000a000{host}01")
        try:
            yield
        finally:
            edit(host, "guids", "3 0")
            edit(host, "prefix", "0xfe80000000000000")


def test_grh_of_another_port_is_dropped(ear):
    grown = Growth("fab2/port1")
    words = {"dlid": lid(2), "qpn": ear.qpn, "qkey": ear.qkey}
    for dgid in (f"fe80::{FOREIGN}", f"fec0::1:{GUID}", f"fe80::{ALIAS}"):
        inject(1, b"x", **words, dgid=dgid)
    assert grown["dropped_dgid"] == 3
    assert ear.received == 0


def test_grh_of_each_gid_of_the_port_is_taken(ear):
    """By the default prefix, too, whatever the subnet's is."""
    words = {"dlid": lid(2), "qpn": ear.qpn, "qkey": ear.qkey}
    with another_subnet(2):
        for prefix in ("fe80::", "fec0::1:"):
            for guid in (GUID, ALIAS):
                inject(1, b"x", **words, dgid=prefix + guid)
        assert ear.hears(4)


def violations(host):
    """(P_Key, Q_Key) violations, as the subnet manager reads them."""
    out = run("smpquery", "-C", "fab0", "portinfo", lid(host), 1).stdout
    return tuple(int(re.search(rf"^{kind}keyViolations:\.*(\d+)$", out,
                               re.M).group(1)) for kind in "PQ")


def test_violations_of_keys_are_counted(ear):
    words = {"dlid": lid(2), "qpn": ear.qpn, "qkey": ear.qkey}
    with port_info(2) as info:
        # IBA 14.2.5.6: violations of M_Key, P_Key and Q_Key
        info[44:50] = bytes(6)
    assert violations(2) == (0, 0)
    inject(1, b"x", **words | {"pkey": 0x1234}, repeat=3)
    inject(1, b"x", **words | {"qkey": 1}, repeat=5)
    assert violations(2) == (3, 5)
    # What is not 0 changes nothing.
    with port_info(2) as info:
        info[46:50] = b"\0\0\0\1"
    assert violations(2) == (0, 5)
    inject(1, b"x", **words | {"pkey": 0x1234}, repeat=10_000)
    assert violations(2) == (10_000, 5)
    with port_info(2) as info:
        info[46:50] = b"\0\1\0\0"
    assert violations(2) == (10_000, 0)


def test_lid_routed_smp_for_another_port_is_dropped():
    """A switch that leads it astray does not make another host answer."""
    right = switch_port(2)
    with without_opensm():
        grown = Growth("fab3/port1")
        set_lft(lid(2), switch_port(3))
        try:
            inject(1, umad.smp(umad.GET, umad.PORT_INFO, cls=umad.LID_ROUTED),
                   dlid=lid(2), qpn=0, qkey=0)
            wait_until("it has arrived", at_rest)
        finally:
            set_lft(lid(2), right)
        assert grown["dropped_not_our_lid"] == 1
        assert grown["delivered"] == 0


def test_injected_repetitions(ear):
    inject(1, b"x", dlid=lid(2), qpn=ear.qpn, qkey=ear.qkey, repeat=20)
    assert ear.hears(20)


@pytest.mark.parametrize("line", [
    "", "dlid=2 qpn=70 qkey=1", "dlid=2 qpn=70 data=00",
    "qpn=70 qkey=1 data=00", "dlid=0 qpn=70 qkey=1 data=00",
    "dlid=65536 qpn=70 qkey=1 data=00", "dlid=2 qpn=0x1000000 qkey=1 data=00",
    "dlid=2 qpn=70 qkey=1 data=0", "dlid=2 qpn=70 qkey=1 data=0g",
    "dlid=2 qpn=70 qkey=1 data=00 sl=16", "dlid=2 qpn=70 qkey=1 data=00 foo=1",
    "dlid=2 qpn=70 qkey=1 data=00 sgid_index=0",
    "dlid=2 qpn=70 qkey=1 data=00 dgid=fe80::1 sgid_index=8",
    "dlid=2 qpn=70 qkey=1 data=00 dgid=nonsense",
    "dlid=2 qpn=70 qkey=1 data=00 repeat=0",
    "dlid=2 qpn=0 qkey=0 data=00", "dlid=2 qpn=70 qkey=1 data=" + "00" * 4097])
def test_bad_injection_sends_nothing(line):
    grown = Growth(HERE)
    assert written(port_dir(1) / "inject", line) == errno.EINVAL
    assert grown["sent"] == 0


def directed_get_nodeinfo():
    """Get(NodeInfo) to the switch behind the port, as it leaves an HCA."""
    head = struct.pack(">BBBBHBBQHHIQHH", 1, CLASS_SMP_DIRECTED, 1, 1, 0, 1, 1,
                       0x1234, 0x11, 0, 0, 0, 0xffff, 0xffff)
    return head + bytes(28 + 64) + bytes([0, 1]) + bytes(62 + 64)


def test_management_packets_overflow_a_switch():
    """VL15 has no flow control; a switch has room for 256 packets."""
    grown = Growth(f"switch0/port{switch_port(1)}")
    inject(1, directed_get_nodeinfo(), dlid=0xffff, qpn=0, qkey=0, repeat=300)
    assert grown["dropped_vl15"] == 44
    wait_until("the switch has answered the rest", at_rest)
    assert grown["delivered"] >= 256
    assert nodeinfo("0,1").returncode == 0
