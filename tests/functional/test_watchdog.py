# SPDX-License-Identifier: GPL-2.0
"""The kernel's watchdog finds a queue that is stopped, and it is healed.

The driver looks after its queues itself, every five seconds, and the watchdog
waits for ten. So it is made impatient here, and comes first.
"""

import contextlib
import os
import re
import sys

import pytest

from labkit import (FABRIC, attr, completion_queues, ethtool_stats, fault,
                    ip4, kernel_log, link_up, mentions, numbers, on, ping,
                    queue_pairs, run, traced, wait_until)

# on 6.1 the watchdog barks with a stack trace, which counts as a fault
pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("heals"),
              pytest.mark.instrumented("uml", "kasan", "debug", "6.12", "7.3")]

MODULE = f"{os.environ.get('LAB_MODULES', '.')}/lab_watchdog.ko"
# As many datagrams as a socket has room for: nothing completes meanwhile.
BLAST = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setblocking(False)
try:
    while True:
        s.sendto(bytes(100), (sys.argv[1], 9))
except BlockingIOError:
    pass
"""
NAMES = ("heal_rearm", "heal_sqe", "heal_reset", "heal_recreate")
REARM, SQE, RESET, RECREATE = range(len(NAMES))


@contextlib.contextmanager
def impatient_watchdog():
    """Half a second, and only one queue to look after."""
    before = numbers(on(1, "ethtool", "-l", "ib0").stdout, "TX")["TX"][1]
    on(1, "ethtool", "-L", "ib0", "tx", 1)
    on(1, "insmod", MODULE)
    try:
        on(1, "ip", "link", "set", "ib0", "down")
        link_up(1)
        ping(1, ip4(2))
        yield
    finally:
        run("rmmod", "lab_watchdog")
        on(1, "ip", "link", "set", "ib0", "down")
        link_up(1)
        on(1, "ethtool", "-L", "ib0", "tx", before)
        wait_until("it answers", lambda: ping(1, ip4(2), 1, check=False))


def timeouts():
    """How often the watchdog has found host 1's queue stopped for too long."""
    return int(attr(1, "queues/tx-0/tx_timeout"))


def stages(lines):
    """What has been done for the queue, in order."""
    return [int(found.group(1)) for found in (re.search(
        r"ipoib_heal: ifindex=\d+ queue=0 stage=(\d)", line)
        for line in lines) if found]


def counted(before):
    """The same, how often each, by the counters."""
    now = ethtool_stats(1)
    return [now[name] - before[name] for name in NAMES]


def found_by_watchdog_alone(lines):
    """The driver has not, which says other words."""
    return mentions(lines, "transmit queue 0 is stuck") and \
        not mentions(lines, "nothing completed for")


def held():
    return sum(queue["held"] for queue in completion_queues(1))


def only_pair():
    """Number of the queue pair that host 1 sends by."""
    pair, = (qpn for qpn in queue_pairs(1) if qpn > 1)
    return pair


@contextlib.contextmanager
def as_it_is():
    """The HCA says that the queue pair works: its completions are lost."""
    yield


@contextlib.contextmanager
def in_sqe():
    """It sends no more, and nobody is told: there is no event for that."""
    (FABRIC / "fab1/qp_state").write_text(f"{only_pair():#x} sqe")
    yield


@contextlib.contextmanager
def immovable():
    """It takes no Q_Key, and goes neither into ERR nor into RESET."""
    with fault("fab1", "verbs", "modify_qp count=3 errno=EIO") as refused:
        yield
        assert refused.hit == 3


@pytest.mark.parametrize("how, ladder", [
    (as_it_is, [REARM, RESET]), (in_sqe, [SQE, RESET]),
    pytest.param(immovable, [RESET, RECREATE],
                 marks=pytest.mark.long)])
def test_a_queue_that_the_watchdog_finds_stopped_is_healed(how, ladder):
    with impatient_watchdog(), traced("ipoib/ipoib_heal") as lines, \
            kernel_log() as log:
        before, found = ethtool_stats(1), timeouts()
        with fault("fab1", "completions", "stall dir=send"):
            on(1, sys.executable, "-c", BLAST, ip4(2))
            assert held()
            with how():
                wait_until("the watchdog barks", lambda: timeouts() > found)
                wait_until("treatment begins", lambda: stages(lines()))
                assert found_by_watchdog_alone(log.lines())
                wait_until("each stage had its turn",
                           lambda: len(stages(lines())) >= len(ladder))
        assert stages(lines())[:len(ladder)] == ladder
        wait_until("it answers", lambda: ping(1, ip4(2), 1, check=False))
        ping(1, ip4(2), 10)
        wait_until("each is counted", lambda: counted(before) == [
            stages(lines()).count(stage) for stage in range(len(NAMES))])
