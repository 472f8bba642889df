# SPDX-License-Identifier: GPL-2.0
"""Many groups, groups that are only sent to, and refusals."""

import contextlib
import pathlib
import re
import sys
import time

import pytest

from groupkit import (groups_left, member, members, memberships, send,
                      sending)
from labkit import (KERNEL, SLOW, all_active, debug_files, edit, ethtool_stats,
                    fault, ip4, lid, link_up, mentions, on, ping, pinging, port_dir,
                    reregister, run, switch_port, traced, wait_until)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("rings")]

COUNT = 1000 if KERNEL == "uml" else 200
SM = "fab0/port1"
# Subnet administration: the answer to a Get or Set of a membership
MEMBER_RECORD = "class=3 method=0x81 attr=0x38"

SEND = """
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack(
    "4s4si", bytes(4), bytes(4), socket.if_nametoindex("ib0")))
for number in range(int(sys.argv[1]), int(sys.argv[2])):
    s.sendto(b"x", (f"239.30.{number >> 8}.{number & 255}", 6100))
"""


def attached(host, second):
    """Groups 239.SECOND.* that a host's queue pair receives."""
    text = (port_dir(host) / "groups").read_text()
    return len(set(re.findall(
        rf"ff12:401b:ffff:0000:0000:0000:0f{second:02x}:[0-9a-f]+", text)))


@pytest.mark.long
def test_many_groups_come_and_go_beside_a_ping():
    """None is lost, and none waits for long."""
    wait_until("an answer", lambda: ping(1, ip4(2), 1, check=False))
    with pinging(1, ip4(2), 0.01) as pinger:
        with members(1, COUNT):
            wait_until("all are received",
                       lambda: attached(1, 20) == COUNT, timeout=120)
        wait_until("all are left", lambda: attached(1, 20) == 0, timeout=120)
    assert pinger.lost == 0
    assert pinger.slowest_ms <= 1000 * SLOW


FULL, SEND_ONLY = 1, 8


def join_states(number):
    """What the SA has hosts for in group 239.30.0.NUMBER, by their GIDs."""
    return {who: state for mgid, who, state in memberships()
            if mgid == f"ff12:401b:ffff::f1e:{number:x}"}


def only_host_1(state):
    return {f"fe80::2fa:b000:0:{1:x}01": state}


@pytest.mark.core
def test_a_group_that_is_only_sent_to_is_not_received():
    on(1, sys.executable, "-c", SEND, 1, 6)
    for number in range(1, 6):
        wait_until("it is joined", lambda n=number: join_states(n) ==
                   only_host_1(SEND_ONLY))
    assert attached(1, 30) == 0


def shown(number):
    """What debugfs has of group 239.30.0.NUMBER of host 1: complete, send_only;
    or None."""
    found = re.search(
        rf"^GID: ff12:401b:ffff:0:0:0:f1e:{number:x}\n.*\n.*\n"
        r"  complete: +(yes|no)\n  send_only: +(yes|no)\n",
        debug_files(1)[0].read_text(), re.M)
    return found and found.groups()


@pytest.mark.core
def test_a_group_that_is_only_sent_to_is_left_when_idle():
    """And joined again by the next datagram; one that is in use stays."""
    idle, used = "239.30.0.24", "239.30.0.25"

    def there(number):
        return shown(number) == ("yes", "yes") and \
            join_states(number) == only_host_1(SEND_ONLY)

    def gone(number):
        return shown(number) is None and not join_states(number)

    send(1, idle)
    wait_until("it is joined", lambda: there(24))
    with sending(1, used):
        wait_until("it is joined", lambda: there(25))
        with groups_left(1, seconds=4):
            wait_until("it is left", lambda: gone(24))
            assert there(25)
    with member(2, idle) as listener:
        wait_until("it is heard", lambda: send(1, idle) or listener.count())
        assert shown(24) == ("yes", "yes")
        assert join_states(24)["fe80::2fa:b000:0:101"] == SEND_ONLY


@pytest.mark.core
def test_full_membership_where_senders_alone_are_refused():
    """An SA that does not know them says no, once: not in every answer."""
    before = ethtool_stats(1)["join_refusals"]
    with fault(f"switch0/port{switch_port(1)}", "corrupt",
               "count=1 qp=gsi at=4 xor=0200") as refusal:
        on(1, sys.executable, "-c", SEND, 6, 7)
        wait_until("it was refused", lambda: refusal.hit)
    wait_until("it is joined", lambda: join_states(6) == only_host_1(FULL))
    assert ethtool_stats(1)["join_refusals"] == before + 1
    # all the same it is for sending
    assert attached(1, 30) == 0


@pytest.mark.core
def test_the_first_retry_comes_within_a_second():
    """From refusal to request, as the driver traces them; then the grant."""
    found = re.compile(r"(\d+\.\d+): ipoib_mcast: \S+ mgid=ff12:401b:ffff:0000:"
                       r"0000:0000:0f14:0000 event=(\d+) ")

    def when():
        """Seconds by event; the first of each."""
        text = "\n".join(lines())
        return {int(event): float(at) for at, event in
                reversed(found.findall(text))}

    refusal, retry = 2, 5
    with traced("ipoib/ipoib_mcast") as lines, contextlib.ExitStack() as stack:
        with fault(f"switch0/port{switch_port(1)}", "corrupt",
                   "every=1 qp=gsi at=4 xor=0200"):
            stack.enter_context(members(1, 1))
            wait_until("it was refused", lambda: refusal in when())
        wait_until("it is granted", lambda: attached(1, 20) == 1)
        times = when()
    assert 0.3 <= times[retry] - times[refusal] <= 1 * SLOW


@pytest.mark.long
def test_full_membership_is_not_kept_at_a_new_subnet_manager():
    """It may be one that knows members that only send.

    Any management datagram takes the fault, so now and then the join does not.
    """
    with fault(f"switch0/port{switch_port(1)}", "corrupt",
               "count=1 qp=gsi at=4 xor=0200") as refusal:
        on(1, sys.executable, "-c", SEND, 8, 9)
        wait_until("it was refused", lambda: refusal.hit)
    wait_until("it is joined", lambda: join_states(8) == only_host_1(FULL))
    run("lab-sm", "stop")
    run("lab-sm", "start")
    wait_until("all ports ACTIVE", all_active)
    wait_until("it is a member that sends", lambda: join_states(8) ==
               only_host_1(SEND_ONLY), timeout=60)


def test_backoff_starts_over_after_a_grant():
    """What failed thrice, succeeded, and fails again is soon tried again."""
    group = "239.30.0.60"
    found = re.compile(r"(\d+\.\d+): ipoib_mcast: \S+ mgid=ff12:401b:ffff:0000:"
                       r"0000:0000:0f1e:003c event=(\d+) ")
    retry, unready = 5, 9

    def times(event):
        return [float(at) for at, number in found.findall("\n".join(trace()))
                if int(number) == event]

    with traced("ipoib/ipoib_mcast") as trace, sending(1, group):
        with fault("fab1", "verbs", "create_ah every=1 errno=ENOMEM"):
            wait_until("it failed", lambda: len(times(unready)) >= 3)
        wait_until("it is joined", lambda: shown(60) == ("yes", "yes"))
        before = len(times(unready))
        with fault("fab1", "verbs", "create_ah every=1 errno=ENOMEM"), \
                member(1, group):
            failed = wait_until("it failed again",
                                lambda: times(unready)[before:])[0]
            tried = wait_until("it is tried again", lambda: [
                at for at in times(retry) if at > failed])[0]
        assert tried - failed < 2 * SLOW


# what work items are begun
WORK = "workqueue/workqueue_execute_start"


@pytest.mark.long
def test_a_subnet_manager_without_an_address_is_not_asked_for_ever():
    """ib_core has no address handle for it: many tries at once, then fewer."""
    def asked():
        return ethtool_stats(1)["join_requests"]

    def seconds(count):
        before, begun = asked(), time.monotonic()
        wait_until("it is asked for", lambda: asked() >= before + count,
                   timeout=60)
        return time.monotonic() - begun

    with fault("fab1", "verbs", "create_ah every=1 errno=ENOMEM"):
        own = lid(1)
        edit(1, "lid", own + 40)
        edit(1, "lid", own)
        seconds(45)
        wait_until("it is asked for at leisure", lambda: seconds(1) > 0.3,
                   timeout=60)
    reregister(1)
    wait_until("an answer", lambda: ping(1, ip4(2), 1, check=False),
               timeout=60)


@pytest.mark.core
def test_a_group_that_is_joined_does_not_stir_the_link():
    with traced(WORK) as begun:
        for number in range(10, 20):
            before = ethtool_stats(1)["join_grants"]
            on(1, sys.executable, "-c", SEND, number, number + 1)
            wait_until("it is joined", lambda b=before: ethtool_stats(
                1)["join_grants"] > b)
        lines = begun()
    works = {name: mentions(lines, f"function ipoib_{name}_work")
             for name in ("mcast", "link", "link_poll", "rtnl")}
    assert works["mcast"] >= 10
    # the poll and what needed RTNL have it look at the link, once each
    assert works["link"] - works["link_poll"] - works["rtnl"] < 10


FAILSLAB = pathlib.Path("/sys/kernel/debug/failslab")


@contextlib.contextmanager
def no_memory_in(function):
    """Whatever a function of the driver allocates fails meanwhile."""
    addresses = sorted((int(address, 16), name) for address, name in re.findall(
        r"^([0-9a-f]+) t (\w+)\t\[ib_ipoib\]$", pathlib.Path(
            "/proc/kallsyms").read_text(encoding="ascii"), re.M | re.I))
    at = [name for _, name in addresses].index(function)
    words = {"interval": 1, "times": -1, "space": 0, "verbose": 0,
             "ignore-gfp-wait": "N", "task-filter": "N", "reject-start": 0,
             "reject-end": 0, "require-start": addresses[at][0],
             "require-end": addresses[at + 1][0], "probability": 100}
    for name, value in words.items():
        (FAILSLAB / name).write_text(str(value))
    try:
        yield
    finally:
        (FAILSLAB / "probability").write_text("0")


@pytest.mark.instrumented
def test_broadcast_group_waits_for_memory():
    """It is tried again now and then, and not all the time."""
    on(1, "ip", "link", "set", "ib0", "down")
    try:
        with traced(WORK) as begun:
            with no_memory_in("__ipoib_mcast_add"):
                on(1, "ip", "link", "set", "ib0", "up")
                wait_until("it was tried again and again", lambda: mentions(
                    begun(), "function ipoib_mcast_work") >= 5)
            lines = begun()
        assert mentions(lines, "function ipoib_mcast_work") < 50
        assert mentions(lines, "function ipoib_link_work") < 50
    finally:
        link_up(1)
    wait_until("an answer", lambda: ping(1, ip4(2), 1, check=False))


@pytest.mark.long
def test_groups_that_may_not_ask_yet_wait_for_an_answer():
    """What works on them runs for news, and not all the time."""
    def failed():
        return ethtool_stats(1)["join_refusals"]

    before = failed()
    with fault(f"switch0/port{switch_port(1)}", "mad",
               f"drop {MEMBER_RECORD} every=1"):
        with members(1, 80):
            wait_until("the first have had no answer",
                       lambda: failed() >= before + 32, timeout=60)
            with traced(WORK) as begun:
                first = failed()
                wait_until("nor have the next",
                           lambda: failed() >= before + 64, timeout=60)
                works = mentions(begun(), "function ipoib_mcast_work")
                news = failed() - first
    # each comes with its own, and a wait ends with one more
    assert works <= 2 * news
    wait_until("all are left", lambda: attached(1, 20) == 0, timeout=120)


def test_reregistration_leaves_no_group():
    """What has just been granted anew is not let go of for another request."""
    count = COUNT // 4
    with members(1, count):
        wait_until("all are received", lambda: attached(1, 20) == count,
                   timeout=120)
        # strikes never, but counts requests to leave: Delete of a membership
        with fault("fab1/port1", "mad", "drop nth=1000000000 class=3 "
                   "method=0x15 attr=0x38") as left:
            for _ in range(20):
                before = ethtool_stats(1)["join_grants"]
                reregister(1)
                wait_until("all are granted", lambda b=before: ethtool_stats(
                    1)["join_grants"] >= b + count, timeout=60)
            assert left.seen == 0


def test_a_flood_of_groups():
    """So many at most, and what is known is served meanwhile."""
    before = ethtool_stats(1)
    with pinging(1, ip4(2), 0.01) as pinger:
        on(1, sys.executable, "-c", SEND, 100, 6000, timeout=240)
    assert pinger.lost == 0
    after = ethtool_stats(1)
    # 4096 of them, and those that were there
    assert after["drop_tx_park_full"] - before["drop_tx_park_full"] >= \
        5900 - 4096
    assert after["drop_tx_no_mem"] == before["drop_tx_no_mem"]
    ping(1, ip4(2), 5)
    # those that are left make room for others
    with groups_left(1):
        wait_until("they are left", lambda: debug_files(1)[0].read_text(
            ).count("0:f1e:") < 100, timeout=120)
    before = ethtool_stats(1)["drop_tx_park_full"]
    on(1, sys.executable, "-c", SEND, 6000, 6100)
    assert ethtool_stats(1)["drop_tx_park_full"] == before
