# SPDX-License-Identifier: GPL-2.0
"""What becomes of datagrams to a group that is being joined, or joined anew."""

import contextlib
import os
import pathlib
import subprocess
import sys
import time

import pytest

from labkit import (SLOW, all_active, ethtool_stats, fault, on, port_dir,
                    start_on, wait_until)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("hitless")]

SM = "fab0/port1"
# Subnet administration: the answer to a Get or Set of a membership
MEMBER_RECORD = "class=3 method=0x81 attr=0x38"
# As many as wait for a group
PARKED = 64

# Joins a group, and says what it hears: a line for each datagram's number.
HEAR = """
import socket, struct, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
index = socket.if_nametoindex("ib0")
group = socket.inet_pton(family, sys.argv[1])
if family == socket.AF_INET:
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                 struct.pack("4s4si", group, bytes(4), index))
else:
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP,
                 struct.pack("16si", group, index))
s.bind(("", 7011))
print("ready", flush=True)
while True:
    print(s.recv(64).decode(), flush=True)
"""
# Sends numbers to a group, and says when each left: so many, so far apart.
SEND = """
import socket, sys, time
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"ib0")
for number in range(int(sys.argv[2])):
    print(number, time.monotonic(), flush=True)
    s.sendto(str(number).encode(), (sys.argv[1], 7011))
    time.sleep(float(sys.argv[3]))
"""


@contextlib.contextmanager
def hearing(host, group, tmp_path):
    """Numbers that a host hears; gives those so far by call."""
    said = tmp_path / "heard"
    with said.open("w") as out:
        process = start_on(host, sys.executable, "-c", HEAR, group, stdout=out)

    def lines():
        text = said.read_text()
        return text[:text.rfind("\n") + 1].split()

    try:
        wait_until("it listens", lines)
        yield lambda: list(map(int, lines()[1:]))
    finally:
        process.kill()
        process.wait()


@pytest.mark.core
def test_what_waits_for_a_group_is_sent_in_its_order(tmp_path):
    """So many, and the others are counted."""
    group = "239.6.4.100"
    with hearing(2, group, tmp_path) as heard:
        wait_until("host 2 is a member", lambda: ":0f06:0464 " in
                   (port_dir(2) / "groups").read_text())
        before = ethtool_stats(1)
        with fault(SM, "mad", f"delay=1500 {MEMBER_RECORD} every=1"):
            on(1, sys.executable, "-c", SEND, group, 100, 0)
            wait_until("they have come", lambda: len(heard()) >= PARKED)
        after = ethtool_stats(1)
        assert heard() == list(range(PARKED))
    assert after["drop_tx_park_full"] - before["drop_tx_park_full"] == \
        100 - PARKED


def log():
    """OpenSM's, which begins anew with each start."""
    return pathlib.Path(os.environ["LAB_SM_CONF"], "opensm.log")


@pytest.mark.long
@pytest.mark.parametrize("group", ["239.6.4.101", "ff12::6401"])
def test_a_group_is_back_within_a_second_of_subnet_up(group, tmp_path):
    """What OpenSM forgets when it is started anew."""
    with hearing(2, group, tmp_path) as heard:
        with (tmp_path / "sent").open("w") as out:
            sender = start_on(1, sys.executable, "-c", SEND, group, 10 ** 6,
                              0.005, stdout=out)
        try:
            wait_until("it is heard", heard)
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
        finally:
            sender.kill()
            sender.wait()
        sent = dict(map(str.split, (tmp_path / "sent").read_text()
                        .splitlines()[:-10]))
        wait_until("the last has come",
                   lambda: set(heard()) >= {int(list(sent)[-1])})
        arrived = set(heard())
    lost = [float(when) for number, when in sent.items()
            if int(number) not in arrived]
    print(f"{len(lost)} lost, the last {max(lost, default=0) - up:.3f} s after")
    assert not lost or max(lost) < up + 1 * SLOW
