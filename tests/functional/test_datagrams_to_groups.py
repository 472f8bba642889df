# SPDX-License-Identifier: GPL-2.0
"""What becomes of datagrams to a group that is being joined, or joined anew."""

import os
import pathlib
import re
import subprocess
import sys
import time

import pytest

from groupkit import member, send, sending
from labkit import (SLOW, all_active, debug_files, ethtool_stats, fault, on,
                    port_dir, wait_until)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("hitless")]

SM = "fab0/port1"
# Subnet administration: the answer to a Get or Set of a membership
MEMBER_RECORD = "class=3 method=0x81 attr=0x38"
# As many as wait for a group
PARKED = 64


@pytest.mark.core
def test_what_waits_for_a_group_is_sent_in_its_order():
    """So many, and the others are counted."""
    group = "239.6.4.100"
    with member(2, group) as listener:
        wait_until("host 2 is a member", lambda: ":0f06:0464 " in
                   (port_dir(2) / "groups").read_text())
        before = ethtool_stats(1)
        with fault(SM, "mad", f"delay=1500 {MEMBER_RECORD} every=1"):
            send(1, group, 100, 0)
            wait_until("they have come", lambda: listener.count() >= PARKED)
        after = ethtool_stats(1)
        assert listener.heard() == list(range(PARKED))
    assert after["drop_tx_park_full"] - before["drop_tx_park_full"] == \
        100 - PARKED


# Datagrams of 2000 bytes to groups 239.6.5.*, each by a socket of its own
FLOOD = """
import socket, struct, sys
first, last, count = map(int, sys.argv[1:])
for number in range(first, last + 1):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack(
        "4s4si", bytes(4), bytes(4), socket.if_nametoindex("ib0")))
    # pending packets are the socket's, too
    s.setsockopt(socket.SOL_SOCKET, 32, 1 << 29)
    for _ in range(count):
        s.sendto(bytes(2000), (f"239.6.5.{number}", 6100))
"""


def pending():
    """Packets of host 1 that wait for a group."""
    return sum(map(int, re.findall(r"^  queuelen: +(\d+)$",
                                   debug_files(1)[0].read_text(), re.M)))


def test_pending_packets_are_bounded_in_bytes():
    """2 MiB to all groups of an interface, however many they are."""
    groups = 40
    before = ethtool_stats(1)["drop_tx_park_full"]
    with fault(SM, "mad", f"drop {MEMBER_RECORD} every=1"):
        on(1, sys.executable, "-c", FLOOD, 1, groups, PARKED)
        found = pending()
        assert found * 2000 <= 2 << 20
        assert ethtool_stats(1)["drop_tx_park_full"] - before >= \
            groups * PARKED - (2 << 20) // 2000
    # what has been pending leaves room for others
    wait_until("nothing is pending", lambda: pending() == 0, timeout=60)
    before = ethtool_stats(1)["drop_tx_park_full"]
    on(1, sys.executable, "-c", FLOOD, groups + 1, groups + 1, PARKED)
    assert ethtool_stats(1)["drop_tx_park_full"] == before


def log():
    """OpenSM's, which begins anew with each start."""
    return pathlib.Path(os.environ["LAB_SM_CONF"], "opensm.log")


@pytest.mark.long
@pytest.mark.parametrize("group", ["239.6.4.101", "ff12::6401"])
def test_a_group_is_back_within_a_second_of_subnet_up(group):
    """What OpenSM forgets when it is started anew."""
    with member(2, group) as listener:
        with sending(1, group) as sender:
            wait_until("it is heard", listener.count)
            subprocess.run(["lab-sm", "stop"], check=True)
            log().write_text("")
            with subprocess.Popen(["lab-sm", "start"]) as start:
                wait_until("SUBNET UP", lambda: "SUBNET UP" in
                           log().read_text(errors="replace"))
                up = time.monotonic()
                assert start.wait() == 0
            wait_until("all ports ACTIVE", all_active)
            wait_until("some time has passed",
                       lambda: time.monotonic() > up + 3 * SLOW)
        sent = dict(list(sender.sent.items())[:-10])
        wait_until("the last has come", lambda: max(sent) in listener.heard())
        arrived = set(listener.heard())
    lost = [when for number, when in sent.items() if number not in arrived]
    print(f"{len(lost)} lost, the last {max(lost, default=0) - up:.3f} s after")
    assert not lost or max(lost) < up + 1 * SLOW
