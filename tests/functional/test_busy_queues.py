# SPDX-License-Identifier: GPL-2.0
"""Queues that are changed while something is under way in them.

The HCA holds completions back, the transport is just being restarted, or a
queue pair is treated: a change is made or refused, and in the end all goes on.
"""

import contextlib
import subprocess
import sys
import time

import pytest

from labkit import (FABRIC, SLOW, byte_limits, counters, ethtool_stats, fault,
                    find_flow, has_carrier, ip4, kernel_log, link_up,
                    mentions, numbers, on, packets_by_queue, ping, queue_pairs,
                    run, send_from, spray, spread_flows, start_on,
                    traced, wait_until)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("rings")]


BROADCAST = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.sendto(b"x", (sys.argv[1], 9))
"""


def queues():
    """How many host 1 sends by."""
    return numbers(on(1, "ethtool", "-l", "ib0").stdout, "TX")["TX"][1]


def ring():
    """Entries of host 1's transmit rings."""
    return numbers(on(1, "ethtool", "-g", "ib0").stdout, "TX")["TX"][1]


def change(*words):
    """Whether ethtool does it."""
    return on(1, "ethtool", *words, check=False).returncode == 0


@pytest.fixture(autouse=True)
def as_before():
    before = queues(), ring()
    yield
    on(1, "ethtool", "-L", "ib0", "tx", before[0])
    on(1, "ethtool", "-G", "ib0", "tx", before[1])
    wait_until("it answers", lambda: ping(1, ip4(2), 1, check=False),
               timeout=60)


def in_flight(queue):
    """Bytes that the HCA has, by the queue's limit."""
    path = f"/sys/class/net/ib0/queues/tx-{queue}/byte_queue_limits/inflight"
    return int(on(1, "cat", path).stdout)


@contextlib.contextmanager
def four_busy_queues():
    """Each has something under way that does not complete meanwhile."""
    on(1, "ethtool", "-L", "ib0", "tx", 4)
    spread_flows(1)
    ping(1, ip4(2))

    def all_busy():
        spray(1, ip4(2))
        return all(in_flight(queue) for queue in range(4))

    with fault("fab1", "completions", "stall dir=send"):
        wait_until("each queue has something under way", all_busy)
        yield


@pytest.mark.core
def test_a_queue_with_packets_under_way_is_not_taken_away():
    with four_busy_queues():
        assert not change("-L", "ib0", "tx", 1)
        assert queues() == 4
    wait_until("all is given back", lambda: not any(
        in_flight(queue) for queue in range(4)))
    ping(1, ip4(2), 5)
    assert change("-L", "ib0", "tx", 1)
    ping(1, ip4(2), 5)


def test_rings_with_packets_under_way_stay_all_as_they_are():
    before = ring()
    with four_busy_queues():
        assert not change("-G", "ib0", "tx", 1024)
        assert ring() == before
    wait_until("all is given back", lambda: not any(
        in_flight(queue) for queue in range(4)))
    assert change("-G", "ib0", "tx", 1024)
    ping(1, ip4(2), 5)


def test_queues_before_a_busy_one_go_on_after_rings_stay():
    """The change begins with the first queue, and the last one is busy."""
    on(1, "ethtool", "-L", "ib0", "tx", 4)
    spread_flows(1)
    ping(1, ip4(2))
    port, _ = find_flow(1, ip4(2), lambda queue: queue == 3)
    with fault("fab1", "completions", "stall dir=send"):
        send_from(1, port, ip4(2))
        wait_until("the last queue is busy", lambda: in_flight(3))
        assert not change("-G", "ib0", "tx", 1024)
    before = packets_by_queue(ethtool_stats(1))[0]
    on(1, sys.executable, "-c", BROADCAST, "10.44.0.255")
    wait_until("the first queue sends", lambda: packets_by_queue(
        ethtool_stats(1))[0] > before)


def restart_begins(failure):
    """The first queue's completion queue fails: only new ones help.

    The queue pairs are taken out of RTS. @failure holds receives back.
    """
    failure.path.write_text("overflow nth=1 dir=send")
    on(1, sys.executable, "-c", BROADCAST, "10.44.0.255")
    wait_until("the queue pairs are stopped", lambda: all(
        pair["state"] == "ERR" for qpn, pair in queue_pairs(1).items()
        if qpn > 1))


@pytest.mark.core
@pytest.mark.parametrize("count", [8, 1])
def test_queues_come_and_go_while_the_transport_restarts(count):
    on(1, "ethtool", "-L", "ib0", "tx", 4)
    ping(1, ip4(2))
    with fault("fab1", "completions", "stall dir=recv") as failure:
        restart_begins(failure)
        assert change("-L", "ib0", "tx", count)
    wait_until("carrier", lambda: has_carrier(1), timeout=60)
    wait_until("it answers", lambda: ping(1, ip4(2), 1, check=False),
               timeout=60)
    ready = [qpn for qpn, pair in queue_pairs(1).items()
             if qpn > 1 and pair["state"] == "RTS"]
    assert len(ready) == queues() == count


@pytest.fixture
def kids():
    """Two children of host 1, up, that drain one after the other."""
    names = ("kid1", "kid2")
    for number, name in enumerate(names, 1):
        on(1, "ip", "link", "add", "link", "ib0", "name", name, "type",
           "ipoib", "pkey", f"0x800{number}")
        on(1, "ip", "addr", "add", f"10.79.{number}.1/24", "dev", name)
    for name in reversed(names):
        on(1, "ip", "link", "set", name, "up")
        wait_until("carrier", lambda one=name: has_carrier(1, one))
    yield names
    for name in names:
        on(1, "ip", "link", "del", name)


def test_restart_that_is_requested_late_does_not_drain_under_rtnl(kids):
    """Another job of the interface waits for RTNL when its queue fails.

    That job is an announcement of the address, a second after the first; and
    RTNL is held by a child whose HCA does not return its buffers.
    """
    with traced("workqueue/workqueue_execute_start") as lines, \
            fault("fab1", "completions", "stall dir=recv") as failure:
        holder = start_on(1, "ip", "link", "set", kids[1], "down")
        wait_until("it drains", lambda: "ERR" in [
            pair["state"] for pair in queue_pairs(1).values()])
        seen = len(lines())
        # on a slow machine there may have been all three before
        wait_until("an announcement waits for RTNL", lambda: mentions(
            lines()[seen:], "function ipoib_rtnl_work") or
            holder.poll() is not None)
        failure.path.write_text("overflow nth=1 dir=send")
        on(1, sys.executable, "-c", BROADCAST, "10.79.1.255")
        wait_until("its queue fails", lambda: failure.hit)
        assert holder.wait() == 0
        began = time.monotonic()
        run("ip", "link", "set", "lo", "up")
        # the HCA's time to return them is 5 s
        assert time.monotonic() - began < 3
    wait_until("carrier", lambda: has_carrier(1, kids[0]), timeout=60)


def test_restart_forgets_what_was_linked_and_not_posted():
    """An HCA had no memory for it; its ring is another one afterwards."""
    ping(1, ip4(2))
    before = ethtool_stats(1)
    with fault("fab1", "verbs", "post_send every=1 errno=ENOMEM") as rejects:
        ping(1, ip4(2), 1, "-W", "0.1", check=False)
        wait_until("it is not posted", lambda: rejects.hit)
        on(1, "ip", "link", "set", "ib0", "down")
    link_up(1)
    wait_until("it answers", lambda: ping(1, ip4(2), 1, check=False))
    ping(1, ip4(2), 10)
    now = ethtool_stats(1)
    assert now["drop_tx_post"] == before["drop_tx_post"]
    assert now["heal_reset"] == before["heal_reset"]


def test_rings_change_while_queue_pairs_are_treated():
    """Healing and the change take turns, whoever comes first."""
    flood = start_on(1, "ping", "-f", "-q", ip4(2), stdout=subprocess.DEVNULL)
    changed = 0
    try:
        before = ethtool_stats(1)
        for turn in range(30):
            qpn = min(qpn for qpn in queue_pairs(1) if qpn > 1)
            with contextlib.suppress(OSError):
                (FABRIC / "fab1/qp_state").write_text(
                    f"{qpn:#x} {'sqe' if turn % 2 else 'err'}")
            changed += change("-G", "ib0", "tx", 128 << turn % 4)
    finally:
        flood.kill()
        flood.wait()
    after = ethtool_stats(1)
    assert changed > 3
    assert sum(after[name] - before[name] for name in after
               if name.startswith("heal_")) > 3
    wait_until("all is given back", lambda: not any(
        in_flight(queue) for queue in range(queues())), timeout=60)


# Numbered datagrams until it is told to end; how many they were.
SENDER = """
import signal, socket, sys
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(True))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 7009))
count = 0
while not told:
    s.send(b"x" * 64)
    count += 1
print(count)
"""
# How many came, once it is told to end and none has come for a second; and those
# that the socket had no room for.
RECEIVER = """
import signal, socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
s.setsockopt(socket.SOL_SOCKET, 40, 1)
s.bind((sys.argv[1], 7009))
s.settimeout(1)
print("ready", flush=True)
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(True))
count, lost = 0, 0
while True:
    try:
        _, control, _, _ = s.recvmsg(64, 64)
    except TimeoutError:
        if told:
            break
        continue
    count += 1
    for _, _, value in control:
        lost, = struct.unpack("I", value)
print(count, lost)
"""


def no_room():
    """Packets for which host 2's HCA had no buffer."""
    return counters("fab2/port1")["dropped_no_recv_wqe"]


@pytest.mark.core
def test_a_flood_is_whole_while_rings_and_queues_change():
    """What was sent has arrived, or its receiver had no room for it."""
    full = no_room()
    receiver = start_on(2, sys.executable, "-c", RECEIVER, ip4(2),
                        stdout=subprocess.PIPE)
    assert receiver.stdout.readline() == "ready\n"
    sender = start_on(1, sys.executable, "-c", SENDER, ip4(2),
                      stdout=subprocess.PIPE)
    try:
        sent = ethtool_stats(1)["tx_packets"]
        for turn in range(6):
            assert change("-G", "ib0", "tx", 128 << turn % 4)
            assert change("-L", "ib0", "tx", 1 + turn % 3)
            wait_until("it goes on", lambda s=sent + 100 * turn:
                       ethtool_stats(1)["tx_packets"] > s)
    finally:
        sender.terminate()
        count = int(sender.communicate()[0])
        receiver.terminate()
        arrived, lost = map(int, receiver.communicate()[0].split())
    assert count > 1000
    assert arrived + lost + no_room() - full == count


# Datagrams without end.
POUR = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    s.sendto(bytes(1000), (sys.argv[1], 9))
"""


@contextlib.contextmanager
def shared_qdisc():
    """All of host 1's queues have one, in which packets always wait."""
    on(1, "ethtool", "-L", "ib0", "tx", 4)
    limits = "/sys/class/net/ib0/queues/tx-*/byte_queue_limits/limit_max"
    before = byte_limits(1, "limit_max")[0]
    ping(1, ip4(2))
    on(1, "sh", "-c", f"for file in {limits}; do echo 2000 > $file; done")
    on(1, "tc", "qdisc", "replace", "dev", "ib0", "root", "fq_codel")
    senders = []
    try:
        with fault("fab1", "completions", "delay_us=5000 dir=send"):
            senders = [start_on(1, sys.executable, "-c", POUR, ip4(2))
                       for _ in range(2)]
            wait_until("packets wait", lambda: " backlog 0b" not in on(
                1, "tc", "-s", "qdisc", "show", "dev", "ib0").stdout)
            yield
    finally:
        for sender in senders:
            sender.kill()
            sender.wait()
        on(1, "tc", "qdisc", "del", "dev", "ib0", "root")
        on(1, "sh", "-c",
           f"for file in {limits}; do echo {before} > $file; done")


def test_queues_are_taken_away_at_once_from_a_shared_qdisc():
    """It is never empty, and RTNL is held meanwhile: 2 s are too long."""
    with shared_qdisc():
        began = time.monotonic()
        assert change("-L", "ib0", "tx", 2)
        assert time.monotonic() - began < 1.5
        assert queues() == 2
    ping(1, ip4(2), 5)


FLOOD = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    s.sendto(b"x" * 64, (sys.argv[1], 9))
    time.sleep(0.1)
"""
# The stack's watchdog takes a queue that is stopped so long for stuck.
WATCHDOG = 10


@pytest.mark.long
def test_queues_that_are_gone_are_not_taken_for_stuck():
    with kernel_log() as log:
        on(1, "ethtool", "-L", "ib0", "tx", 4)
        on(1, "ethtool", "-L", "ib0", "tx", 1)
        on(1, sys.executable, "-c", FLOOD, ip4(2), 2.5 * WATCHDOG,
           timeout=4 * WATCHDOG * SLOW)
        assert not [line for line in log.lines() if "timed out" in line or
                    "is stuck" in line]
