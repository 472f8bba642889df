# SPDX-License-Identifier: GPL-2.0
"""A driver on an HCA that fails: it counts what it loses, and goes on."""

import contextlib
import os
import pathlib
import re
import subprocess
import threading

import pytest

from endurance import assert_not_grown, memory_kib
from labkit import (DRIVER, FABRIC, all_active, byte_limits, completion_queues,
                    edit, ethtool_stats, events, fault, generous_limits,
                    has_carrier, iperf, ip4, ip6, lid, on, opensm_held, ping,
                    plug, port_is_active, queue_pairs, run, start_on,
                    switch_port, table, wait_until)

pytestmark = pytest.mark.needs("netdev")


def answers(source, target):
    return ping(source, ip4(target), 1, check=False)


BLAST = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setblocking(False)
for _ in range(20000):
    try:
        s.sendto(bytes(100), (sys.argv[1], 9))
    except BlockingIOError:
        break
"""


def flood(source, target, count):
    """Small packets as fast as they go; how many were answered."""
    out = on(source, "ping", "-n", "-q", "-f", "-c", count, "-W", 1,
             ip4(target), check=False).stdout
    return int(re.search(r"(\d+) received", out).group(1))


def addressed(host):
    """Going down took the IPv6 address along."""
    on(host, "ip", "addr", "replace", f"{ip6(host)}/64", "dev", "ib0", "nodad")


def down_up(host):
    on(host, "ip", "link", "set", "ib0", "down")
    on(host, "ip", "link", "set", "ib0", "up")


def up_again(host):
    wait_until("carrier is back", lambda: has_carrier(host), timeout=60)
    addressed(host)
    other = 1 if host != 1 else 2
    wait_until("the host answers", lambda: answers(other, host), timeout=60)
    wait_until("the host is answered", lambda: answers(host, other),
               timeout=60)
    # The group that a neighbour listens to takes a join and a sweep.
    wait_until("the host is answered by IPv6",
               lambda: ping(host, ip6(other), 1, check=False), timeout=60)


# --- Verbs -------------------------------------------------------------------

@pytest.mark.core
def test_refused_sends_are_counted_and_the_rest_goes_on():
    before = ethtool_stats(1)
    with fault("fab1", "verbs", "post_send every=5 errno=EINVAL") as refusal:
        got = flood(1, 2, 200)
        hits = refusal.hit
    now = ethtool_stats(1)
    assert hits >= 40
    assert 0 < got < 200
    assert now["tx_errors"] - before["tx_errors"] == hits
    if DRIVER == "ours":
        assert now["drop_tx_post"] - before["drop_tx_post"] == hits
    ping(1, ip4(2), 10)


def test_refused_sends_do_not_wedge_a_queue():
    """Under load every slot of the ring and the byte limit come round."""
    with fault("fab1", "verbs", "post_send prob=0.02"):
        assert iperf(1, 2, "-t", 1)["sum_received"]["bytes"] > 10_000
    with fault("fab1", "verbs", "post_send every=7") as refusal:
        on(1, "/usr/bin/python3", "-c", BLAST, ip4(2))
        assert refusal.hit > 2
    assert iperf(1, 2, "-t", 1)["sum_received"]["bytes"] > 100_000
    idle = lambda: all(pair["sq"].startswith("0/")
                       for qpn, pair in queue_pairs(1).items() if qpn > 1)
    wait_until("nothing is left in the rings", idle)
    for queue in on(1, "sh", "-c", "cat /sys/class/net/ib0/queues/tx-*/"
                    "byte_queue_limits/inflight").stdout.split():
        assert queue == "0"


# 200 datagrams, however many of them wait in front of the HCA.
SEND_200 = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 32, 4 << 20)    # SO_SNDBUFFORCE
for _ in range(200):
    s.sendto(bytes(100), (sys.argv[1], 9))
"""


@contextlib.contextmanager
def sent_in_chains(rule):
    """200 datagrams wait for an HCA that then gets them in chains.

    Gives the fault by which it rejects requests meanwhile.
    """
    limits = "/sys/class/net/ib0/queues/tx-*/byte_queue_limits/limit_max"
    before = byte_limits(1, "limit_max")[0]
    ping(1, ip4(2))

    def send():
        """From one processor, so by one queue."""
        on(1, "taskset", "-c", 0, "/usr/bin/python3", "-c", SEND_200, ip4(2))

    # room for about fifteen of them; it is in force once a queue is used
    on(1, "sh", "-c", f"for file in {limits}; do echo 2000 > $file; done")
    send()
    try:
        with fault("fab1", "completions", "stall dir=send") as stalled:
            send()
            wait_until("completions wait", lambda: sum(
                cq["held"] for cq in completion_queues(1)))
            with fault("fab1", "verbs", rule) as rejects:
                stalled.path.write_text("release")
                wait_until("all is sent", lambda: rejects.seen >= 150 and
                           not sum(byte_limits(1, "inflight")))
                yield rejects
    finally:
        on(1, "sh", "-c",
           f"for file in {limits}; do echo {before} > $file; done")


@pytest.mark.needs("queues")
def test_rejected_request_costs_its_packet_alone():
    """What is behind it in the chain is posted."""
    before = ethtool_stats(1)
    with sent_in_chains("post_send every=7 errno=EINVAL") as rejects:
        assert rejects.hit >= 20
        now = ethtool_stats(1)
        assert now["drop_tx_post"] - before["drop_tx_post"] == rejects.hit
        assert now["tx_packets"] - before["tx_packets"] >= 200 - rejects.hit
    ping(1, ip4(2), 10)


@pytest.mark.needs("queues")
def test_request_that_the_hca_has_no_memory_for_is_posted_again():
    before = ethtool_stats(1)
    with sent_in_chains("post_send every=7 errno=ENOMEM") as rejects:
        assert rejects.hit >= 20
    now = ethtool_stats(1)
    assert now["tx_packets"] - before["tx_packets"] >= 200
    assert now["tx_errors"] == before["tx_errors"]
    assert now["heal_reset"] == before["heal_reset"]


@pytest.mark.needs("queues")
def test_lone_request_that_the_hca_has_no_memory_for_is_posted_again():
    """No completion comes that would bring it to mind."""
    ping(1, ip4(2))
    before = ethtool_stats(1)["tx_errors"]
    with start_on(1, "ping", "-q", "-c", 3, "-i", "0.1", "-W", 10, ip4(2),
                  stdout=subprocess.PIPE) as pinger:
        with fault("fab1", "verbs",
                   "post_send every=1 errno=ENOMEM") as rejects:
            wait_until("it is posted again", lambda: rejects.hit >= 10)
        assert " 3 received" in pinger.communicate()[0]
    assert ethtool_stats(1)["tx_errors"] == before


# The stock driver without a handle for its broadcast group stays without
# carrier until it is taken down.
@pytest.mark.parametrize("verb", [
    "attach_mcast",
    pytest.param("create_ah", marks=pytest.mark.needs("retries_ah"))])
def test_a_start_survives_a_verb_that_fails(verb):
    """What the first attempt lacks a later one gets."""
    with fault("fab2", "verbs", f"{verb} nth=1") as refusal:
        down_up(2)
        wait_until("the verb failed", lambda: refusal.hit)
        up_again(2)
    ping(1, ip4(2))
    ping(2, ip6(1))


@pytest.mark.needs("coalesce")
def test_moderation_that_is_refused_is_not_in_force():
    def moderated():
        return {cq["usecs"] for cq in completion_queues(1)}

    set_to = lambda usecs: on(1, "ethtool", "-C", "ib0", "rx-usecs", usecs,
                              "rx-frames", 9, check=False)
    with fault("fab1", "verbs", "modify_cq nth=1 errno=EIO") as refusal:
        done = set_to(70)
        assert done.returncode and "Input/output error" in done.stderr
        assert refusal.hit == 1
        assert moderated() == {0}
        assert set_to(71).returncode == 0
    assert moderated() == {0, 71}
    on(1, "ethtool", "-C", "ib0", "rx-usecs", 0, "rx-frames", 0)


# --- Completions -------------------------------------------------------------

@pytest.mark.core
def test_a_send_that_fails_stops_nobody_for_long():
    before = ethtool_stats(1)
    with fault("fab1", "completions",
               "status=LOC_PROT_ERR nth=3 dir=send") as failure:
        ping(1, ip4(2), 5, check=False)
        assert failure.hit == 1
    wait_until("host 2 answers", lambda: answers(1, 2), timeout=60)
    ping(1, ip4(2), 10)
    # The stock driver takes a packet for sent whatever its completion says.
    if DRIVER == "ours":
        now = ethtool_stats(1)
        assert now["drop_tx_error"] - before["drop_tx_error"] == 1
    assert not [pair for pair in queue_pairs(1).values()
                if pair["state"] in ("SQE", "ERR")]


def test_stalled_completions_stop_a_queue_and_let_it_go():
    """Nothing is lost but time when the HCA comes to its senses in time."""
    before = ethtool_stats(1)["tx_packets"]
    with fault("fab1", "completions", "stall dir=send"):
        sender = start_on(1, "ping", "-q", "-f", "-c", 5000, ip4(2))
        wait_until("completions wait",
                   lambda: sum(cq["held"] for cq in completion_queues(1)))
        (FABRIC / "fab1/faults/completions").write_text("release")
        sender.wait(timeout=120)
    assert sum(cq["held"] for cq in completion_queues(1)) == 0
    wait_until("they are counted",
               lambda: ethtool_stats(1)["tx_packets"] > before + 1000)
    ping(1, ip4(2), 10)


def groups(host):
    """What a host's queue pairs receive."""
    return set(re.findall(r"^mgid (\S+)", (
        FABRIC / f"fab{host}/port1/groups").read_text(), re.M))


def timeouts():
    """What was said of transmit queues that stand still.

    Our driver looks after its queues itself, and finds that out before the
    kernel's watchdog does.
    """
    return re.findall(r"ib0.*(?:timed out|timeout).*", run("dmesg").stdout)


def test_a_queue_that_stands_still_is_started_anew():
    """No completion for longer than the watchdog waits."""
    before, joined = len(timeouts()), groups(1)
    healed = ethtool_stats(1)
    with fault("fab1", "completions", "stall dir=send"):
        on(1, "/usr/bin/python3", "-c", BLAST, ip4(2))
        wait_until("the watchdog barks", lambda: len(timeouts()) > before)
        if DRIVER == "ours":
            wait_until("it looked what is in the queue", lambda: ethtool_stats(
                1)["heal_rearm"] > healed["heal_rearm"])
    up_again(1)
    if DRIVER == "stock":
        # From 6.12 on it starts anew, and forgets all but broadcast.
        down_up(1)
        up_again(1)
    wait_until("it is in its groups", lambda: groups(1) == joined)
    ping(1, ip4(2), 10)


@pytest.mark.needs("heals")
def test_a_queue_pair_in_error_is_started_anew():
    """What is posted to one comes straight back: that must not go on."""
    receiving = min(qpn for qpn in queue_pairs(2) if qpn > 1)
    with fault("fab2", "verbs", "post_recv nth=1000000") as posted:
        (FABRIC / "fab2/qp_state").write_text(f"{receiving:#x} err")
        wait_until("it is filled anew", lambda: posted.seen)
        wait_until("the host answers", lambda: answers(1, 2), timeout=60)
        assert posted.seen < 2000
    ping(2, ip4(1))


@pytest.mark.needs("heals")
def test_queue_pair_that_fails_again_and_again_is_recreated():
    """Nine times in 10 s are too many."""
    def recovered():
        stats = ethtool_stats(1)
        return stats["heal_reset"], stats["heal_recreate"]

    resets, recreated = recovered()
    for turn in range(9):
        first = min(qpn for qpn in queue_pairs(1) if qpn > 1)
        (FABRIC / "fab1/qp_state").write_text(f"{first:#x} err")
        wait_until("it is recovered",
                   lambda n=turn: sum(recovered()) > resets + recreated + n)
        wait_until("it is in RTS", lambda: all(
            pair["state"] == "RTS" for pair in queue_pairs(1).values()))
    assert recovered() == (resets + 8, recreated + 1)
    up_again(1)


@pytest.mark.needs("heals")
def test_queue_that_is_not_full_is_recovered_when_it_stands_still():
    """The stack's watchdog only sees a queue that is stopped.

    Nor may the byte limit stop it.
    """
    ping(1, ip4(2))
    before = ethtool_stats(1)["heal_rearm"]
    with generous_limits(1), fault("fab1", "completions", "stall dir=send"):
        ping(1, ip4(2), 1, check=False)
        wait_until("it is recovered",
                   lambda: ethtool_stats(1)["heal_rearm"] > before)
    wait_until("host 2 answers", lambda: answers(1, 2))
    ping(1, ip4(2), 10)


@pytest.mark.needs("heals")
def test_queue_pair_that_rejects_every_send_is_reset():
    """No completion tells of that, and no packet is left that waits."""
    ping(1, ip4(2))
    before = ethtool_stats(1)["heal_reset"]
    with fault("fab1", "verbs", "post_send every=1 errno=EIO"):
        on(1, "/usr/bin/python3", "-c", SEND_200, ip4(2))
        wait_until("it is reset",
                   lambda: ethtool_stats(1)["heal_reset"] > before)
    wait_until("host 2 answers", lambda: answers(1, 2))
    ping(1, ip4(2), 10)


@pytest.mark.needs("heals")
def test_queue_pair_that_rejects_every_receive_is_reset():
    ping(1, ip4(2))
    before = ethtool_stats(2)["heal_reset"]
    with fault("fab2", "verbs", "post_recv every=1 errno=EIO"):
        # as many as its ring holds, and more
        on(1, "/usr/bin/python3", "-c", 4 * SEND_200, ip4(2))
        wait_until("it is reset",
                   lambda: ethtool_stats(2)["heal_reset"] > before)
    wait_until("host 2 answers", lambda: answers(1, 2))
    ping(1, ip4(2), 10)


@pytest.mark.needs("heals")
def test_completion_queue_that_is_not_armed_is_armed_again():
    """Sooner than by the periodic check, which comes every 5 s.

    Management must not arm meanwhile: it would wait for ever afterwards.
    """
    ping(2, ip4(1))
    with opensm_held(), fault("fab1", "verbs",
                              "req_notify_cq count=2 errno=EIO") as failure:
        # one queue when a request has come, one when the reply has left
        answers(2, 1)
        wait_until("neither is armed", lambda: failure.hit == 2)
        wait_until("host 1 answers", lambda: answers(2, 1), timeout=4)
        ping(2, ip4(1), 10)


def posted(host):
    """Receive buffers that the HCA has of a host's first queue pair."""
    pairs = queue_pairs(host)
    return int(pairs[min(qpn for qpn in pairs if qpn > 1)]["rq"].split("/")[0])


@pytest.mark.needs("heals")
@pytest.mark.lab(hca=["3:post_in_reset=on"])
def test_no_receive_is_posted_while_queue_pair_is_reset():
    """This HCA would take it, and have the same buffers twice in the end.

    Its ring is dry, so no buffer comes back flushed and gives a warning.
    """
    ping(1, ip4(3))
    full, before = posted(3), ethtool_stats(3)["heal_reset"]
    first = min(qpn for qpn in queue_pairs(3) if qpn > 1)
    with fault("fab3", "verbs", "post_recv every=1 errno=ENOMEM") as post:
        def is_dry():
            on(1, "/usr/bin/python3", "-c", SEND_200, ip4(3))
            return not posted(3)

        wait_until("the ring is dry", is_dry)
        post.path.write_text("post_recv nth=1 delay_us=500000")
        wait_until("a post takes its time", lambda: post.hit)
        (FABRIC / "fab3/qp_state").write_text(f"{first:#x} err")
        wait_until("it is reset",
                   lambda: ethtool_stats(3)["heal_reset"] > before)
    wait_until("host 3 answers", lambda: answers(1, 3))
    wait_until("the ring is full", lambda: posted(3) > full - 32)
    assert posted(3) <= 512
    ping(1, ip4(3), 20, "-s", 1900)


@pytest.mark.needs("heals")
@pytest.mark.parametrize("direction", ["recv", "send"])
def test_completion_that_does_not_match_resets_its_queue_pair(direction):
    """What comes behind it would not match either."""
    ping(1, ip4(2))
    before = ethtool_stats(1)["heal_reset"]
    with fault("fab1", "completions", "wr_id nth=1 xor=0x1000000000000 "
               f"dir={direction}") as failure:
        answers(1, 2)
        wait_until("one does not match", lambda: failure.hit)
        wait_until("it is reset",
                   lambda: ethtool_stats(1)["heal_reset"] > before)
    wait_until("host 2 answers", lambda: answers(1, 2))
    ping(1, ip4(2), 10)


@pytest.mark.needs("heals")
def test_lost_receive_event_is_made_up_for():
    """By the periodic check; nothing else tells of what has come in."""
    ping(2, ip4(1))
    with fault("fab1", "completions", "lose_event nth=1 dir=recv") as failure:
        answers(2, 1)
        wait_until("an event is lost", lambda: failure.hit)
        wait_until("host 1 answers", lambda: answers(2, 1))
        ping(2, ip4(1), 10)


# --- HCAs that come and go ----------------------------------------------------

@contextlib.contextmanager
def floods():
    """Pings as fast as they go between hosts 1 and 2, from both."""
    senders = [start_on(1, "ping", "-q", "-f", ip4(2)),
               start_on(2, "ping", "-q", "-f", ip4(1))]
    try:
        yield
    finally:
        for sender in senders:
            sender.kill()
            sender.wait()


def traffic_flows():
    sent = ethtool_stats(2)["tx_packets"]
    wait_until("traffic flows",
               lambda: ethtool_stats(2)["tx_packets"] > sent + 100)


def back_in_its_slot():
    plug(2)
    run("lab-hosts", "adopt", 2)


@pytest.mark.core
@pytest.mark.parametrize("how", ["0", "surprise"])
def test_hca_leaves_under_traffic_and_comes_back(how):
    """Seen from both sides: the one that loses it, and the one left alone."""
    fatal = events("fab2")["DEVICE_FATAL"]
    try:
        with floods():
            traffic_flows()
            plug(2, how)
        assert events("fab2")["DEVICE_FATAL"] - fatal == (how == "surprise")
        assert on(2, "ip", "link", "show", "dev", "ib0",
                  check=False).returncode
    finally:
        back_in_its_slot()
    wait_until("all ports ACTIVE", all_active, timeout=60)
    up_again(2)
    ping(1, ip4(2))
    ping(2, ip6(1))


@pytest.mark.long
@pytest.mark.instrumented
def test_hca_leaves_a_hundred_times_under_traffic():
    """In good order and by surprise in turns, and no memory is lost.

    By surprise it takes ib_core 12 seconds to give up what it left.
    """
    before, rounds = None, 100
    for done in range(rounds + 1):
        try:
            with floods():
                traffic_flows()
                plug(2, "surprise" if done % 2 else "0")
        finally:
            back_in_its_slot()
        wait_until("carrier is back", lambda: has_carrier(2), timeout=60)
        wait_until("the host answers", lambda: answers(1, 2), timeout=60)
        if not done:
            before = memory_kib()
    assert_not_grown(before, rounds)
    up_again(2)


def came_up_while_it_was_registered():
    """(in time, PORT_ACTIVE events) of a port that came up meanwhile."""
    plug(2, "0")
    before = events("fab2/port1")["PORT_ACTIVE"]
    plugging = threading.Thread(target=plug, args=(2,))
    with fault("fab2", "verbs", "create_qp nth=1 delay_ms=4000") as delay:
        plugging.start()
        try:
            wait_until("the driver makes a queue pair", lambda: delay.hit)
            (FABRIC / f"switch0/port{switch_port(2)}/link").write_text("up")
            wait_until("its port is ACTIVE", lambda: port_is_active(2))
            in_time = plugging.is_alive()
        finally:
            plugging.join()
    run("lab-hosts", "adopt", 2)
    return in_time, events("fab2/port1")["PORT_ACTIVE"] - before


def test_port_that_comes_up_while_its_hca_is_registered():
    """ib_core hears of it when it listens, and so does the driver."""
    raised = wait_until("it came up in time", lambda: [
        raised for in_time, raised in [came_up_while_it_was_registered()]
        if in_time])
    assert raised[0] >= 1
    up_again(2)
    ping(1, ip4(2))


# --- What a subnet manager moves ----------------------------------------------

def remember_lid(host, new):
    """Make OpenSM, which is stopped, believe it once gave this LID."""
    file = pathlib.Path(os.environ["LAB_SM_CONF"]) / "guid2lid"
    guid = f"0x02fab0000000{host:02x}01"
    file.write_text(re.sub(rf"^{guid} .*$", f"{guid} {new:#06x} {new:#06x}",
                           file.read_text(), flags=re.M))


def test_another_lid():
    """It changes while the port is ACTIVE, and OpenSM leaves it there."""
    run("lab-sm", "stop")
    try:
        remember_lid(2, 0x55)
        edit(2, "lid", "0x55")
        wait_until("the port has it", lambda: lid(2) == 0x55)
    finally:
        run("lab-sm", "start")
    wait_until("all ports ACTIVE", all_active)
    assert lid(2) == 0x55
    # Who knew the old one has to ask for the new one.
    wait_until("host 2 answers", lambda: answers(1, 2), timeout=60)
    wait_until("host 1 answers", lambda: answers(2, 1), timeout=60)
    ping(1, ip4(2))
    ping(2, ip6(1))


@pytest.mark.needs("follows_pkey")
def test_another_place_for_the_partition_key():
    """The interface belongs to a partition, not to a place in the table."""
    def index():
        return {pair["pkey_index"] for qpn, pair in queue_pairs(2).items()
                if qpn > 1}

    assert table(2, "pkeys")[0] == 0xffff
    edit(2, "pkeys", "5 0xffff")
    edit(2, "pkeys", "0 0")
    try:
        wait_until("its queue pairs follow", lambda: index() == {"5"})
        up_again(2)
    finally:
        edit(2, "pkeys", "0 0xffff")
        edit(2, "pkeys", "5 0")
    wait_until("they come back", lambda: index() == {"0"})
    up_again(2)
    ping(2, ip6(1))
