# SPDX-License-Identifier: GPL-2.0
"""Rings, queues and counters: what they hold, and how they are changed."""

import json
import re
import subprocess
import sys
import time

import pytest

from groupkit import member
from labkit import (FABRIC, SLOW, attr, completion_queues, ethtool_stats,
                    fault, find_flow, inject, ip4, iperf, lid, link, link_up,
                    numbers, on, packets_by_queue, ping, pinging, queue_pairs,
                    send_from, spray, spread_flows, start_on, traced,
                    wait_until)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("rings")]


def rings(host, name="ib0"):
    return numbers(on(host, "ethtool", "-g", name).stdout, "RX", "TX")


def channels(host, name="ib0"):
    return numbers(on(host, "ethtool", "-l", name).stdout, "RX", "TX")


def sending_queues(host, where=None):
    spray(host, where.peer if where else ip4(2 if host == 1 else 1))
    stats = ethtool_stats(host, where.name if where else "ib0")
    return {queue for queue, count in packets_by_queue(stats).items() if count}


@pytest.fixture
def as_before():
    before = rings(1), channels(1)
    yield
    on(1, "ethtool", "-G", "ib0", "rx", before[0]["RX"][1], "tx",
       before[0]["TX"][1], check=False)
    on(1, "ethtool", "-L", "ib0", "tx", before[1]["TX"][1], check=False)


class Where:
    """An interface of host 1, and an address of host 2 that it reaches."""

    def __init__(self, name, peer):
        self.name, self.peer = name, peer

    def pairs(self):
        """Its queue pairs that can send; the other's are on another key."""
        return {qpn: pair for qpn, pair in queue_pairs(1).items()
                if qpn > 1 and pair["state"] == "RTS" and
                (pair["pkey_index"] == "0") == (self.name == "ib0")}

    def posted(self):
        """Receive buffers the HCA has of it."""
        return max(int(pair["rq"].split("/")[0])
                   for pair in self.pairs().values())

    def set(self, letter, *words, check=True):
        return on(1, "ethtool", letter, self.name, *words, check=check)

    def answers(self):
        return ping(1, self.peer, 1, check=False)

    def down_and_up(self):
        on(1, "ip", "link", "set", self.name, "down")
        if self.name == "ib0":
            link_up(1)
        else:
            on(1, "ip", "link", "set", self.name, "up")
        wait_until("it answers", self.answers, timeout=60)


@pytest.fixture(params=["ib0", "kid"])
def where(request, as_before):
    """The interface of the port, and a child."""
    if request.param == "ib0":
        yield Where("ib0", ip4(2))
        return
    for host in (1, 2):
        on(host, "ip", "link", "add", "link", "ib0", "name", "kid", "type",
           "ipoib", "pkey", "0x8001")
        on(host, "ip", "addr", "add", f"10.79.0.{host}/24", "dev", "kid")
        on(host, "ip", "link", "set", "kid", "up")
    try:
        one = Where("kid", "10.79.0.2")
        wait_until("it answers", one.answers, timeout=60)
        yield one
    finally:
        for host in (1, 2):
            on(host, "ip", "link", "del", "kid")


def test_rings_have_less_room_where_the_hca_has():
    """What an HCA holds of wide requests is less than it says it does."""
    on(1, "ip", "link", "add", "link", "ib0", "name", "kid", "type", "ipoib",
       "pkey", "0x8001")
    try:
        with fault("fab1", "verbs", "create_qp nth=1 errno=ENOMEM"):
            on(1, "ip", "link", "set", "kid", "up")
        text = on(1, "ethtool", "-g", "kid").stdout
        assert numbers(text, "RX", "TX") == {"RX": (1024, 512),
                                             "TX": (1024, 512)}
        assert on(1, "ethtool", "-G", "kid", "tx", 2048, check=False).returncode
        on(1, "ethtool", "-G", "kid", "rx", 1024, "tx", 1024)
    finally:
        on(1, "ip", "link", "del", "kid")


@pytest.mark.core
def test_rings_are_512_and_may_grow(where):
    assert rings(1, where.name) == {"RX": (2048, 512), "TX": (2048, 512)}


@pytest.mark.core
def test_rings_change_under_traffic(where):
    """Neither the address changes, nor is a packet lost."""
    address, pairs = link(1, where.name)["address"], set(queue_pairs(1))
    with pinging(1, where.peer) as pinger:
        for size in (128, 1024, 2048, 300, 512):
            where.set("-G", "rx", size, "tx", size)
        assert rings(1, where.name)["RX"][1] == 512
    assert pinger.sent > 10
    assert pinger.lost == 0
    assert link(1, where.name)["address"] == address
    assert set(queue_pairs(1)) == pairs


def features(name):
    text = on(1, "ethtool", "-k", name).stdout
    return dict(re.findall(r"^([\w-]+): (on|off)$", text, re.M))


def moderated():
    """(microseconds, frames) of the completion queues of host 1."""
    return {(cq["usecs"], cq["frames"]) for cq in completion_queues(1)}


@pytest.mark.core
def test_what_was_set_is_kept_when_it_goes_down_and_up(where):
    """A child keeps its first queue pair alone; its settings are its own."""
    others = rings(1, "ib0") if where.name != "ib0" else None
    where.set("-G", "rx", 300, "tx", 1024)
    where.set("-L", "tx", 3)
    where.set("-C", "rx-usecs", 21, "rx-frames", 9)
    where.set("-K", "gro", "off")
    try:
        old = set(where.pairs())
        for _ in range(2):
            where.down_and_up()
            assert rings(1, where.name) == {"RX": (2048, 300),
                                            "TX": (2048, 1024)}
            assert channels(1, where.name)["TX"] == (8, 3)
            assert len(where.pairs()) == 3
            wait_until("the ring is full", lambda: 300 - 16 < where.posted() <= 300)
            assert (21, 9) in moderated()
            assert features(where.name)["generic-receive-offload"] == "off"
            sending_queues(1, where)
        kept = old & set(where.pairs())
        assert kept == (old if where.name == "ib0" else {min(old)})
        assert others in (None, rings(1, "ib0"))
    finally:
        where.set("-C", "rx-usecs", 0, "rx-frames", 0)
        where.set("-K", "gro", "on")


@pytest.mark.parametrize("words", [
    ("rx", 1), ("rx", 63), ("tx", 64), ("rx", 4096), ("tx", 1 << 20), ("rx-jumbo", 1)])
def test_rings_that_cannot_be(words):
    before = rings(1)
    assert on(1, "ethtool", "-G", "ib0", *words, check=False).returncode
    assert rings(1) == before
    ping(1, ip4(2))


def received_of_streams():
    """Packets that 16 streams bring to host 1 in two seconds."""
    before = int(attr(1, "statistics/rx_packets"))
    iperf(2, 1, "-P", 16, "-t", 2)
    return int(attr(1, "statistics/rx_packets")) - before


def test_shortest_rings_carry_many_streams(as_before):
    """As short as they are accepted, by halves.

    With two buffers it was a hundredth of what the usual ring takes.
    """
    usual = received_of_streams()
    for way in ("rx", "tx"):
        size = rings(1)[way.upper()][1]
        while not on(1, "ethtool", "-G", "ib0", way, size // 2,
                     check=False).returncode:
            size //= 2
    shortest = received_of_streams()
    print(f"{rings(1)}: {shortest} packets, {usual} before")
    assert shortest >= usual / 10


def test_rings_of_an_interface_that_is_down(as_before):
    on(1, "ethtool", "-G", "ib0", "rx", 64, "tx", 256)
    assert (rings(1)["RX"][1], rings(1)["TX"][1]) == (64, 256)
    ping(1, ip4(2), 20)


@pytest.mark.core
def test_queues_come_and_go_under_traffic(where):
    address = link(1, where.name)["address"]
    first = int(address.replace(":", "")[2:8], 16)
    with pinging(1, where.peer) as pinger:
        for count in (1, 4, 8, 2, 1, 3):
            where.set("-L", "tx", count)
            assert channels(1, where.name)["TX"] == (8, count)
            assert len(where.pairs()) == count
            # none of them is left stopped by one that was there before
            sending_queues(1, where)
    assert pinger.sent > 10
    assert pinger.lost == 0
    assert link(1, where.name)["address"] == address
    assert first in where.pairs()


def test_every_queue_that_is_added_sends(where):
    """Flows of one processor go by one queue, unless they are spread."""
    where.set("-L", "tx", 4)
    spread_flows(1, where.name)
    wait_until("all four send",
               lambda: sending_queues(1, where) >= {0, 1, 2, 3})


def test_one_queue_is_enough(where):
    where.set("-L", "tx", 1)
    ping(1, where.peer, 20)
    assert where.set("-L", "tx", 0, check=False).returncode
    assert where.set("-L", "tx", 9, check=False).returncode
    ping(1, where.peer, 5)


@pytest.mark.core
def test_counters_add_up_when_queues_are_gone(where):
    where.set("-L", "tx", 4)
    spread_flows(1, where.name)
    wait_until("not the first alone sends",
               lambda: sending_queues(1, where) - {0})
    before = ethtool_stats(1, where.name)["tx_packets"]
    where.set("-L", "tx", 1)
    assert ethtool_stats(1, where.name)["tx_packets"] >= before
    shown = json.loads(on(1, "ip", "-j", "-s", "link", "show",
                          where.name).stdout)[0]["stats64"]
    now = ethtool_stats(1, where.name)
    assert now["tx_packets"] >= shown["tx"]["packets"] >= before
    assert now["rx_bytes"] >= shown["rx"]["bytes"]
    assert now["tx_gone_packets"] > 0
    assert now["tx0_packets"] + now["tx_gone_packets"] == now["tx_packets"]
    assert now["tx0_bytes"] + now["tx_gone_bytes"] == now["tx_bytes"]


# 239.1.2.3 as the fabric's files end it
GROUP = ":0f01:0203 "


def test_an_address_handle_dies_though_a_queue_is_added(as_before):
    """It waits for what is under way when it retires, in queues of then."""
    on(1, "ethtool", "-L", "ib0", "tx", 1)
    handles = FABRIC / "fab1/ahs"
    groups = FABRIC / "fab1/port1/groups"
    with member(1, "239.1.2.3") as listener:
        wait_until("the group has a handle", lambda: GROUP in handles.read_text())
        with fault("fab1", "completions", "stall dir=send"):
            # what the stack sends by itself may have taken the only room
            ping(1, ip4(2), 1, check=False)
            assert any(one["held"] for one in completion_queues(1))
            listener.leave()
            wait_until("the group is left", lambda: GROUP not in groups.read_text())
            # nothing tells of the moment when the handle has looked at them
            time.sleep(0.5 * SLOW)
            assert GROUP in handles.read_text()
            on(1, "ethtool", "-L", "ib0", "tx", 2)
        wait_until("the handle is gone", lambda: GROUP not in handles.read_text())
    ping(1, ip4(2), 5)


TO_GROUP = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"ib0")
s.sendto(b"x", (sys.argv[1], 9))
"""


def test_address_handle_dies_though_queue_is_recreated(as_before):
    """A queue that comes back goes on counting where it had been."""
    on(1, "ethtool", "-L", "ib0", "tx", 4)
    spread_flows(1)
    ping(1, ip4(2))
    port, _ = find_flow(1, ip4(2), lambda queue: queue == 3)
    before = packets_by_queue(ethtool_stats(1))[3]
    send_from(1, port, ip4(2), 500)
    wait_until("all are sent", lambda: packets_by_queue(
        ethtool_stats(1))[3] >= before + 500)
    handles = FABRIC / "fab1/ahs"
    groups = FABRIC / "fab1/port1/groups"
    with member(1, "239.1.2.3") as listener:
        wait_until("the group has a handle", lambda: GROUP in handles.read_text())
        with fault("fab1", "completions", "stall dir=send"):
            # by the first queue
            on(1, sys.executable, "-c", TO_GROUP, "224.0.0.1")
            wait_until("completions wait", lambda: any(
                one["held"] for one in completion_queues(1)))
            listener.leave()
            wait_until("the group is left", lambda: GROUP not in groups.read_text())
            # nothing tells of the moment when the handle has looked at them
            time.sleep(0.5 * SLOW)
            assert GROUP in handles.read_text()
            on(1, "ethtool", "-L", "ib0", "tx", 1)
            on(1, "ethtool", "-L", "ib0", "tx", 4)
        wait_until("the handle is gone", lambda: GROUP not in handles.read_text())
    ping(1, ip4(2), 5)


def test_pages_of_the_receive_ring_return_when_it_goes_down(where):
    """Those too that were kept at hand: no page pool holds on to any."""
    ping(1, where.peer, 20)

    def in_pools():
        """Pages by page pool, of those that are being destroyed."""
        return {pool: int(pages) for pool, pages in re.findall(
            r"page_pool_release: page_pool=(\S+) inflight=(-?\d+)",
            "\n".join(lines()))}

    with traced("page_pool/page_pool_release") as lines:
        on(1, "ip", "link", "set", where.name, "down")
        try:
            wait_until("no page is left", lambda: in_pools() and not any(
                in_pools().values()))
            # heads of packets, and the rest of large ones
            assert len(in_pools()) == 2
        finally:
            where.down_and_up()


def test_moderation_is_asked_for_and_remembered(where):
    def shown(usecs, frames):
        text = where.set("-c").stdout
        return re.search(rf"rx-usecs:\s+{usecs}$", text, re.M) and \
            re.search(rf"rx-frames:\s+{frames}$", text, re.M)

    where.set("-C", "rx-usecs", 20, "rx-frames", 8)
    try:
        assert shown(20, 8)
        assert (20, 8) in moderated()
        ping(1, where.peer, 5)
        assert where.set("-C", "rx-usecs", 65536, check=False).returncode
        assert where.set("-C", "tx-usecs", 5, check=False).returncode
        with fault("fab1", "verbs", "modify_cq nth=1 errno=EBUSY"):
            assert where.set("-C", "rx-usecs", 40, check=False).returncode
        assert shown(20, 8)
    finally:
        where.set("-C", "rx-usecs", 0, "rx-frames", 0)


# SO_TIMESTAMPING, with TX_SOFTWARE and SOFTWARE; what comes back is the time
# in SCM_TIMESTAMPING's first timespec, and the datagram with its headers.
STAMPED = """
import select, socket, struct, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 37, 1 << 1 | 1 << 4)
began = time.time()
s.sendto(b"when?", (sys.argv[1], 9))
poll = select.poll()
poll.register(s, 0)
assert poll.poll(int(sys.argv[2])), "no time stamp"
data, control, flags, _ = s.recvmsg(4096, 4096, socket.MSG_ERRQUEUE)
ended = time.time()
assert data.endswith(b"when?"), data
times = [value for level, kind, value in control
         if (level, kind) == (socket.SOL_SOCKET, 37)]
seconds, nanoseconds = struct.unpack_from("qq", times[0])
assert began - 0.1 < seconds + nanoseconds / 1e9 < ended + 0.1
"""


def test_time_stamps_of_what_is_sent():
    text = on(1, "ethtool", "-T", "ib0").stdout
    assert "software-transmit" in text
    ping(1, ip4(2))
    on(1, sys.executable, "-c", STAMPED, ip4(2), 5000 * SLOW)


# --- What is received ---------------------------------------------------------

HEAR = """
import signal, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 7007))
print("ready", flush=True)
signal.pause()
"""
TELL = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b"x" * int(sys.argv[2]), (sys.argv[1], 7007))
"""


@pytest.mark.core
@pytest.mark.lab()
@pytest.mark.lab(mtu=4092)
def test_memory_of_a_full_packet():
    """At most one and a half times its length waits in a socket."""
    mtu = link(1)["mtu"]
    hearer = start_on(2, sys.executable, "-c", HEAR, ip4(2),
                      stdout=subprocess.PIPE)
    try:
        assert hearer.stdout.readline() == "ready\n"
        on(1, sys.executable, "-c", TELL, ip4(2), mtu - 28)

        def memory():
            """Of what waits in the socket, as the kernel accounts it."""
            text = on(2, "cat", "/proc/net/udp").stdout
            return int(re.search(r":1B5F \S+ \S+ [0-9A-F]+:([0-9A-F]+)",
                                 text).group(1), 16)

        taken = wait_until("it waits there", memory)
        assert taken <= 1.5 * mtu
    finally:
        hearer.kill()
        hearer.wait()


# Python knows of 8 bytes of an address at most.
SNIFF = """
import ctypes, socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x800))
s.bind(("ib0", 0x800))
print("ready", flush=True)
libc = ctypes.CDLL(None)
data, name = ctypes.create_string_buffer(4096), ctypes.create_string_buffer(64)
while True:
    size = ctypes.c_uint(64)
    got = libc.recvfrom(s.fileno(), data, 4096, 0, name, ctypes.byref(size))
    if data.raw[9] == 253:
        length = name.raw[11]
        print(name.raw[10], int.from_bytes(name.raw[8:10], "little"), length,
              name.raw[12:12 + length].hex() or "-", flush=True)
        break
"""


@pytest.mark.core
@pytest.mark.parametrize("grh", [False, True], ids=["none", "grh"])
def test_packet_socket_gets_no_sender_address(grh):
    """The kernel's other users of a sender's address have room for 8 bytes."""
    hearer = start_on(2, sys.executable, "-c", SNIFF, stdout=subprocess.PIPE)
    try:
        assert hearer.stdout.readline() == "ready\n"
        packet = bytes.fromhex("08000000" "45000014000040000afd0000"
                               "0a2c00010a2c0002")
        words = {"dgid": gid(2), "sgid_index": 0} if grh else {}
        inject(1, packet, dlid=lid(2), qpn=hex(int(address(2)[2:8], 16)),
               qkey=0xb1b, sqpn=0x77, **words)
        assert hearer.stdout.readline().split() == ["0", "32", "0", "-"]
    finally:
        hearer.kill()
        hearer.wait()


def address(host):
    return link(host)["address"].replace(":", "")


def gid(host):
    text = address(host)[8:]
    return ":".join(text[i:i + 4] for i in range(0, 32, 4))
