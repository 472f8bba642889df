# SPDX-License-Identifier: GPL-2.0
"""What can be watched: groups and paths in debugfs, messages, tracepoints."""

import pathlib
import re
import sys
import threading

import pytest

from groupkit import TOOL
from labkit import (FABRIC, HOSTS, TRACING, attr, debug_files, ethtool_stats,
                    fault, has_carrier, ip4, kernel_log, lid, link_up, on, ping,
                    queue_pairs, set_link, spray, start_on, traced, wait_until)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("reason")]

DEBUG = pathlib.Path("/sys/kernel/debug/ipoib")
PARAMETERS = pathlib.Path("/sys/module/ib_ipoib/parameters")
MEMBER_RECORD = "class=3 method=0x81 attr=0x38"

GROUP = re.compile(
    r"GID: ((?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4})\n"
    r"  created: [ \d]{10}\n  queuelen: [ \d]{9}\n"
    r"  complete: {7,8}(yes|no)\n  send_only: {6,7}(yes|no)\n\n")
PATH = re.compile(
    r"GID: ((?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4})\n"
    r"  complete: {4,5}(yes|no)\n"
    r"(?:  DLID:     0x[0-9a-f]{4}\n  SL: [ \d]{12}\n"
    r"  rate: [ \d]{8}\.\d{1,3} Gb/sec\n)?\n")


def whole(form, text):
    """Every record, and nothing else."""
    assert form.sub("", text) == ""
    return form.findall(text)


@pytest.mark.core
def test_groups_as_they_are():
    found = whole(GROUP, debug_files(1)[0].read_text())
    gids = [one[0] for one in found]
    assert "ff12:401b:ffff:0:0:0:ffff:ffff" in gids
    order = [[int(part, 16) for part in gid.split(":")] for gid in gids]
    assert order == sorted(order)
    assert {one[1] for one in found} == {"yes"}


@pytest.mark.core
def test_paths_as_they_are():
    ping(1, ip4(2))
    text = debug_files(1)[1].read_text()
    whole(PATH, text)
    assert ("GID: fe80:0:0:0:2fa:b000:0:201\n  complete:    yes\n"
            f"  DLID:     {lid(2):#06x}\n  SL:            0\n"
            "  rate:       40.0 Gb/sec\n\n") in text


@pytest.mark.core
def test_names_are_told_apart_over_namespaces():
    names = {path.name for path in DEBUG.iterdir()}
    # the subnet manager's HCA has one, too
    for kind in ("mcg", "path"):
        assert len([name for name in names if re.fullmatch(
            rf"ib0(@\d+)?_{kind}", name)]) == HOSTS + 1


def test_equal_names_and_numbers_are_told_apart():
    """Each namespace counts its own, so a third may have both in common."""
    def files():
        return {path.name for path in DEBUG.glob("twin*")}

    try:
        for host in (1, 2, 3):
            on(host, "ip", "link", "add", "link", "ib0", "name", "twin",
               "index", 777, "type", "ipoib")
        assert files() == {f"twin{more}_{kind}" for kind in ("mcg", "path")
                           for more in ("", "@777", "@777.2")}
        for name in files():
            (DEBUG / name).read_text()
    finally:
        for host in (1, 2, 3):
            on(host, "ip", "link", "del", "twin", check=False)
    assert not files()


def test_files_follow_a_new_name():
    on(4, "ip", "link", "set", "ib0", "down")
    on(4, "ip", "link", "set", "ib0", "name", "left0")
    try:
        whole(GROUP, (DEBUG / "left0_mcg").read_text())
        assert (DEBUG / "left0_path").exists()
    finally:
        on(4, "ip", "link", "set", "left0", "name", "ib0")
        on(4, "ip", "link", "set", "ib0", "up")
    on(4, "ip", "addr", "replace", "fd44::4/64", "dev", "ib0", "nodad")
    assert not (DEBUG / "left0_mcg").exists()
    wait_until("it answers", lambda: ping(1, ip4(4), 1, check=False))


# Groups 239.9.NUMBER.1 to 250 are sent to, and one is received meanwhile.
CHURN = """
import socket, struct, sys
index = socket.if_nametoindex("ib0")
sender, receiver = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    for _ in range(2))
sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack(
    "4s4si", bytes(4), bytes(4), index))
receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack(
    "4s4si", bytes([239, 9, 0, int(sys.argv[1])]), bytes(4), index))
for number in range(1, 251):
    sender.sendto(b"x", (f"239.9.{sys.argv[1]}.{number}", 6001))
"""


def test_reading_while_everything_changes():
    """A reader gets whole records, and harms nobody."""
    done = threading.Event()
    rounds = 4

    def churn():
        try:
            for number in range(1, rounds + 1):
                on(1, sys.executable, "-c", CHURN, number)
                on(1, "ip", "neigh", "flush", "dev", "ib0")
                ping(1, ip4(2), 1, check=False)
        finally:
            done.set()

    mcg, path = debug_files(1)
    thread = threading.Thread(target=churn)
    thread.start()
    try:
        while not done.is_set():
            whole(GROUP, mcg.read_text())
            whole(PATH, path.read_text())
    finally:
        thread.join()
    # those that were sent to are still there
    found = {one[0] for one in whole(GROUP, mcg.read_text())}
    assert found >= {f"ff12:401b:ffff:0:0:0:f09:{number:x}{last:02x}"
                     for number in range(1, rounds + 1)
                     for last in range(1, 251)}
    ping(1, ip4(2))


# --- Debugging messages -------------------------------------------------------

def down_and_up():
    on(3, "ip", "link", "set", "ib0", "down")
    link_up(3)


def join_in_vain():
    """A group that host 3 wants, until it has asked twice."""
    before = ethtool_stats(3)["join_refusals"]
    with fault("fab0/port1", "mad", f"drop {MEMBER_RECORD} every=1"):
        member = start_on(3, sys.executable, TOOL, "recv", "239.9.1.1", 6001,
                          "/dev/null")
        try:
            wait_until("it was refused", lambda: ethtool_stats(3)[
                "join_refusals"] > before + 1, timeout=60)
        finally:
            member.kill()
            member.wait()


def send_and_receive():
    ping(1, ip4(2))


@pytest.mark.core
@pytest.mark.parametrize("name, deed, texts", [
    ("debug_level", down_and_up,
     ("link: admin-down", "link: up", "group MTU ")),
    ("mcast_debug_level", join_in_vain,
     ("no membership of ff12:401b:ffff:0000:0000:0000:0f09:0101: ",)),
    # that has the symbol which most users want off
    pytest.param("data_debug_level", send_and_receive,
                 ("send 88 bytes, type 0x800, to ", "received 128 bytes from "),
                 marks=pytest.mark.instrumented("debug"))])
def test_debug_levels_are_switched_while_running(name, deed, texts):
    """What is told then is not told otherwise."""
    with kernel_log() as log:
        (PARAMETERS / name).write_text("1")
        try:
            assert (PARAMETERS / name).read_text() == "1\n"
            deed()
        finally:
            (PARAMETERS / name).write_text("0")
        told = "\n".join(log.lines())
        assert [text for text in texts if f"ib0: {text}" not in told] == []
        deed()
        told = "\n".join(log.lines())
        assert [text for text in texts if text in told] == []
    wait_until("it answers", lambda: ping(1, ip4(3), 1, check=False))


# --- Tracepoints --------------------------------------------------------------

def go_down_and_up():
    on(1, "ip", "link", "set", "ib0", "down")
    link_up(1)
    wait_until("it is answered", lambda: ping(1, ip4(2), 1, check=False))


def pull_the_cable():
    set_link(1, "down")
    wait_until("no carrier", lambda: not has_carrier(1))
    set_link(1, "up")
    link_up(1)


def fill_a_ring():
    """And let it run empty again."""
    on(1, "sh", "-c", "for file in /sys/class/net/ib0/queues/tx-*/"
       "byte_queue_limits/limit_min; do echo 10000000 > $file; done")
    on(1, "ethtool", "-G", "ib0", "tx", 128)
    try:
        # that counts from the next completion of each queue on
        spray(1, ip4(2))
        with fault("fab1", "completions", "stall dir=send"):
            spray(1, ip4(2))
            wait_until("one is full", lambda: stops(1) > 0)
        wait_until("it was let go", lambda: ping(1, ip4(2), 1, check=False))
    finally:
        on(1, "ethtool", "-G", "ib0", "tx", 512)
        on(1, "sh", "-c", "for file in /sys/class/net/ib0/queues/tx-*/"
           "byte_queue_limits/limit_min; do echo 0 > $file; done")


def stops(host):
    return sum(count for name, count in ethtool_stats(host).items()
               if re.fullmatch(r"tx\d+_stops", name))


def break_a_queue_pair():
    before = ethtool_stats(1)["heal_reset"]
    receiving = min(qpn for qpn in queue_pairs(1) if qpn > 1)
    (FABRIC / "fab1/qp_state").write_text(f"{receiving:#x} err")
    wait_until("it is healed",
               lambda: ethtool_stats(1)["heal_reset"] > before)
    wait_until("it answers", lambda: ping(2, ip4(1), 1, check=False))


def have_a_child():
    on(1, "ip", "link", "add", "link", "ib0", "name", "kid", "type", "ipoib",
       "pkey", "0x8001")
    on(1, "ip", "link", "del", "kid")


def drop_one():
    on(1, sys.executable, "-c", "import socket\n"
       "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)\n"
       "s.bind(('ib0', 0x800))\ns.send(bytes(20) + b'\\x88\\xb5' + bytes(40))")


GID2 = "fe80:0000:0000:0000:02fa:b000:0000:0201"
LINK = "mgid=ff12:401b:ffff:0000:0000:0000:ffff:ffff"


@pytest.mark.core
@pytest.mark.needs("heals")
@pytest.mark.parametrize("deed, events", [
    (pull_the_cable, [
        *(rf"ipoib_link: ifindex=IB0 event=\d+ state=\d+->\d+ \({step}\)$"
          for step in ("PORT_LOST: ACTIVE->JOINING", "JOINED: JOINING->ACTIVE")),
        r"ipoib_reason: ifindex=IB0 reason=port-down status=0 tries=0",
        r"ipoib_reason: ifindex=IB0 reason=up status=0 tries=0"]),
    (go_down_and_up, [
        *(rf"ipoib_mcast: ifindex=IB0 {LINK} event=\d+ state=\d+->\d+ "
          rf"\({step}\)$" for step in (
              "STOP: ATTACHED->LEAVING", "START: IDLE->JOINING",
              "ANSWER: JOINING->JOINED", "ATTACHED: JOINED->ATTACHED")),
        *(rf"ipoib_path: ifindex=IB0 gid={GID2} state=\d+->\d+ status=0 "
          rf"\({step}\)$" for step in (
              "BACKOFF->WANTED", "WANTED->QUERYING", "QUERYING->ANSWERED",
              "ANSWERED->READY")),
        r"ipoib_neigh: ifindex=IB0 ha=[0-9a-f:]* removed",
        r"ipoib_neigh: ifindex=IB0 ha=[0-9a-f:]* added"]),
    (fill_a_ring, [r"ipoib_queue: ifindex=IB0 queue=\d stopped",
                   r"ipoib_queue: ifindex=IB0 queue=\d woken"]),
    (break_a_queue_pair, [r"ipoib_heal: ifindex=IB0 queue=0 stage=2 \(RESET\)$"]),
    (have_a_child, [r"ipoib_child: ifindex=\d+ parent=IB0 pkey=0x8001 added",
                    r"ipoib_child: ifindex=\d+ parent=IB0 pkey=0x8001 removed"]),
    (drop_one, [r"ipoib_drop: ifindex=IB0 skbaddr=\S+ reason=1 \(tx_proto\)$"]),
], ids=lambda what: getattr(what, "__name__", ""))
def test_what_happens_is_traced(deed, events):
    ping(1, ip4(2))
    index = attr(1, "ifindex")
    with traced("ipoib") as trace:
        deed()
        text = "\n".join(trace())
    assert [event for event in events if not re.search(
        event.replace("IB0", rf"{index}\b"), text, re.M)] == []


def test_formats_of_tracepoints_can_be_decoded():
    """perf and trace-cmd know the kernel's macros, but no driver's functions."""
    for path in (TRACING / "events/ipoib").glob("*/format"):
        text = path.read_text().partition("print fmt: ")[2]
        assert set(re.findall(r"\b(\w+)\(", text)) <= {"__print_symbolic"}
        # enumerators have been replaced by their values
        assert not re.search(r"\bIPOIB_", text), text


SOURCES = pathlib.Path(__file__).resolve().parents[2]
# the last of an enum counts the others
COUNTS = ("_EVENTS", "_STATES", "_STAGES", "_REASONS")


def test_every_traced_value_has_a_name():
    traced_names = set(re.findall(r"TRACE_DEFINE_ENUM\((\w+)\)", (
        SOURCES / "ipoib_trace.h").read_text(encoding="utf-8")))
    text = "".join(path.read_text(encoding="utf-8")
                   for path in sorted(SOURCES.glob("ipoib*.h")))
    for body in re.findall(r"^enum \w+ \{(.*?)^\};", text, re.M | re.S):
        names = {name for name in re.findall(r"(\w+),", body)
                 if not name.endswith(COUNTS)}
        assert not names & traced_names or names <= traced_names


def test_drops_have_the_same_names_in_traces_and_statistics():
    text = (TRACING / "events/ipoib/ipoib_drop/format").read_text()
    assert [f"drop_{name}" for name in re.findall(r'\d+, "(\w+)" }', text)] == \
        [name for name in ethtool_stats(1) if name.startswith("drop_")]


def test_tracepoints_are_there():
    names = {path.name for path in (TRACING / "events/ipoib").iterdir()
             if path.is_dir()}
    assert names >= {"ipoib_link", "ipoib_reason", "ipoib_mcast",
                     "ipoib_path", "ipoib_neigh", "ipoib_queue", "ipoib_heal",
                     "ipoib_child", "ipoib_drop"}
