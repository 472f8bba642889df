# SPDX-License-Identifier: GPL-2.0
"""Faults of an HCA under bare verbs: each does what it says, exactly."""

import contextlib
import errno
import os
import threading
import time

import pytest

from labkit import (FABRIC, MISUSE, Ear, all_active, completion_queues, counters, edit,
                    events, fault, ib_port, loop, loop_result, misuse, plug,
                    queue_pairs, run, wait_until, written)

pytestmark = pytest.mark.fabric

MODULES = ("fabric_loop", "fabric_ear", "fabric_misuse")


@pytest.fixture(autouse=True, scope="module")
def loop_module():
    wait_until("all ports ACTIVE", all_active)
    for name in MODULES:
        run("insmod", f"{os.environ['LAB_MODULES']}/{name}.ko")
    yield
    for name in MODULES:
        run("rmmod", name)


def verbs_text(host):
    return (FABRIC / f"fab{host}/faults/verbs").read_text()


def more(where, before):
    """What events or counters grew by, those that did."""
    now = events(where)
    return {name: now[name] - before[name] for name in now
            if now[name] != before[name]}


# --- Verbs -------------------------------------------------------------------

@pytest.mark.core
def test_refused_sends_are_those_of_the_rule():
    with fault("fab1", "verbs", "post_send every=10"):
        result = loop(1, 2, messages=200)
        assert "post_send every=10 seen=200 hit=20 errno=12 qp=ud" in \
            verbs_text(1)
    assert (result["refused"], result["received"]) == (20, 180)
    assert verbs_text(1) == ""
    assert loop(1, 2, messages=200)["received"] == 200


def test_a_chain_breaks_at_the_request_that_is_refused():
    """Those before it are posted, it and those behind it are not."""
    with fault("fab1", "verbs", "post_send nth=3 errno=EIO"):
        result = loop(1, 2, messages=16, chain=4)
    assert (result["bad_wr"], result["refused"]) == (3, 2)
    assert result["received"] == 14


def test_a_rule_for_another_kind_of_queue_pair_does_not_strike():
    with fault("fab1", "verbs", "post_send count=1000 qp=gsi"):
        assert loop(1, 2, messages=100)["refused"] == 0
        done = run("saquery", "-C", "fab1", "-g", check=False)
        assert done.returncode
    assert run("saquery", "-C", "fab1", "-g").stdout


@pytest.mark.parametrize("verb, code", [
    ("alloc_pd", errno.ENOMEM), ("create_cq", errno.EFAULT),
    ("create_qp", errno.ENOSPC), ("modify_qp", errno.EINVAL),
    ("create_ah", errno.EIO), ("post_recv", errno.ENOMEM),
    ("query_port", errno.ETIMEDOUT),
])
def test_a_verb_fails_once_with_the_errno_it_was_told(verb, code):
    name = errno.errorcode[code]
    with fault("fab1", "verbs", f"{verb} nth=1 errno={name}") as refusal:
        with pytest.raises(OSError) as caught:
            loop(1, 2, messages=10)
        assert caught.value.errno == code
        assert refusal.hit == 1
        assert f" errno={code}" in verbs_text(1)
        assert loop(1, 2, messages=10)["received"] == 10


def test_a_table_of_keys_that_cannot_be_read():
    with fault("fab1", "verbs", "query_pkey nth=1 errno=EIO") as refusal:
        with pytest.raises(OSError) as caught:
            ib_port(1, "pkeys/0")
        assert caught.value.errno == errno.EIO
        assert refusal.hit == 1
        assert ib_port(1, "pkeys/0") == "0xffff"


def test_gids_that_cannot_be_read_are_not_known():
    """ib_core reads them when the port says that they changed."""
    own, other = ib_port(1, "gids/0"), "fe80:0000:0000:0000:02fa:b000:0a00:0001"
    with fault("fab1", "verbs", "query_gid every=1 errno=EIO") as refusal:
        edit(1, "guids", "7 0x02fab0000a000001")
        wait_until("ib_core asked", lambda: refusal.hit)
        assert ib_port(1, "gids/7") != other
    try:
        # What was not read stays unknown until the next change.
        edit(1, "guids", "6 0x02fab0000a000002")
        wait_until("they are known", lambda: ib_port(1, "gids/7") == other)
        assert ib_port(1, "gids/0") == own
    finally:
        edit(1, "guids", "7 0")
        edit(1, "guids", "6 0")


def test_a_queue_pair_that_tells_nothing_of_itself():
    """The kernel's list of queue pairs asks each."""
    ask = ("rdma", "resource", "show", "qp", "link", "fab1/1")
    with fault("fab1", "verbs", "query_qp every=1 errno=EIO") as refusal:
        assert "GSI" in run(*ask).stdout
        assert refusal.seen == 0
    with fault("fab1", "verbs", "query_qp every=1 errno=EIO qp=gsi") as refusal:
        assert "GSI" not in run(*ask, check=False).stdout
        assert refusal.hit
    assert "GSI" in run(*ask).stdout


def test_a_queue_that_is_not_moderated():
    with fault("fab2", "verbs", "modify_cq nth=1 errno=EBUSY") as refusal:
        assert loop(1, 2, messages=10)["received"] == 10
        assert refusal.seen == 0
        with pytest.raises(OSError) as caught:
            loop(1, 2, messages=10, usecs=50)
        assert caught.value.errno == errno.EBUSY
        assert refusal.hit == 1
        assert loop(1, 2, messages=10, usecs=50)["received"] == 10


def test_a_queue_that_is_not_armed():
    """Management's queues are armed all the time, and left alone."""
    with fault("fab1", "verbs", "req_notify_cq nth=1 errno=EFAULT") as refusal:
        assert run("saquery", "-C", "fab1", "-g").stdout
        assert refusal.seen == 0
        assert written(MISUSE, "fab1 nothing") == errno.EFAULT
        assert refusal.hit == 1
        assert written(MISUSE, "fab1 nothing") == 0
        assert refusal.seen == 2


# How often loop() uses it on either HCA
COMMANDS = {"query_port": 1, "alloc_pd": 1, "dealloc_pd": 1, "create_cq": 2,
            "destroy_cq": 2, "create_qp": 1, "modify_qp": 4, "destroy_qp": 1}


@pytest.mark.parametrize("verb", COMMANDS)
def test_slow_command(verb):
    """It takes its time, and does its work."""
    with fault("fab1", "verbs", f"{verb} every=1 delay_ms=150") as delay:
        start = time.monotonic()
        assert loop(1, 2, messages=10)["received"] == 10
        took = time.monotonic() - start
        assert delay.hit >= COMMANDS[verb]
        assert " delay_ms=150" in verbs_text(1)
        assert "errno" not in verbs_text(1)
    assert took >= 0.15 * COMMANDS[verb]


def test_slow_command_that_fails():
    with fault("fab1", "verbs",
               "create_qp nth=1 delay_ms=300 errno=ETIMEDOUT"):
        start = time.monotonic()
        with pytest.raises(OSError) as caught:
            loop(1, 2, messages=10)
        took = time.monotonic() - start
    assert caught.value.errno == errno.ETIMEDOUT
    assert took >= 0.3


def test_slow_post_counts_calls():
    with fault("fab1", "verbs", "post_send every=1 delay_us=50000") as delay:
        result = loop(1, 2, messages=16, chain=4)
        # The first four requests in one, others when one of them has completed.
        assert 4 <= delay.hit <= 13
        assert " delay_us=50000 " in verbs_text(1)
    assert (result["received"], result["refused"]) == (16, 0)
    assert result["ns"] >= 4 * 50_000_000


def test_slow_post_of_receives():
    """A ring of 1024 receives is filled one by one."""
    with fault("fab2", "verbs", "post_recv every=100 delay_us=30000") as delay:
        start = time.monotonic()
        assert loop(1, 2, messages=10)["received"] == 10
        assert time.monotonic() - start >= 0.3
        assert delay.hit == 10


def moved_during_a_slow_post():
    """A loop() whose queue pair went to SQE before the first send was posted."""
    posted = 0
    with fault("fab1", "verbs", "post_send nth=1 delay_us=1000000") as delay:
        under_way = Run(1, 2, messages=10)
        try:
            wait_until("it is posting", lambda: delay.hit)
            for qpn in ud_pairs(1):
                with contextlib.suppress(OSError):
                    set_state(1, qpn, "sqe")
            posted = sum(int(pair["send_requests"])
                         for pair in ud_pairs(1).values())
        finally:
            under_way.join()
    result = loop_result()
    return (posted, result["received"], result["flushed"]) == (0, 0, 10)


# With one processor nobody else runs while it is kept busy.
@pytest.mark.instrumented("uml", "kasan")
def test_queue_pair_moves_during_a_slow_post():
    """No lock is held meanwhile, and what is posted meets the new state."""
    wait_until("the queue pair moved in time", moved_during_a_slow_post)


GROUP = "ff12:0000:0000:0000:0000:0000:000f:ab01"


def attached():
    return GROUP in (FABRIC / "fab2/port1/groups").read_text()


def test_a_group_that_is_not_entered():
    with fault("fab2", "verbs", "attach_mcast nth=1 errno=ENOSPC") as refusal:
        with pytest.raises(OSError) as caught:
            Ear(2, GROUP)
        assert caught.value.errno == errno.ENOSPC
        assert refusal.hit == 1
        assert not attached()
        ear = Ear(2, GROUP)
    assert attached()
    ear.close()


def test_a_group_that_is_not_left():
    ear = Ear(2, GROUP)
    with fault("fab2", "verbs", "detach_mcast nth=1 errno=EBUSY") as refusal:
        with pytest.raises(OSError) as caught:
            ear.close()
        assert caught.value.errno == errno.EBUSY
        assert refusal.hit == 1
        assert attached()
        ear.close()
    assert not attached()


def test_an_errno_may_be_a_number():
    with fault("fab1", "verbs", "create_qp nth=1 errno=71"):
        with pytest.raises(OSError) as caught:
            loop(1, 2, messages=10)
    assert caught.value.errno == 71


@pytest.mark.parametrize("text", [
    "dance nth=1", "post_send", "post_send nth=0", "post_send nth=1 errno=EX",
    "post_send nth=1 errno=0", "post_send nth=1 errno=4096",
    "create_ah nth=1 qp=ud", "post_send nth=1 qp=rc", "post_send prob=2",
    "create_ah nth=1 delay_ms=1", "req_notify_cq nth=1 delay_ms=1",
    "post_send nth=1 delay_ms=1", "modify_qp nth=1 delay_us=1",
    "modify_qp delay_ms=1", "modify_qp nth=1 delay_ms=0",
    "modify_qp nth=1 delay_ms=60001", "post_send nth=1 delay_us=1000001",
    "post_send nth=1 delay_us=1 errno=EIO", "destroy_qp nth=1",
    "destroy_qp nth=1 errno=EIO",
])
@pytest.mark.parametrize("name", ["verbs"])
def test_what_is_not_understood_changes_nothing(name, text):
    path = FABRIC / "fab1/faults" / name
    with pytest.raises(OSError) as caught:
        path.write_text(text)
    assert caught.value.errno == errno.EINVAL
    assert path.read_text() == ""


# --- Completions --------------------------------------------------------------

class Run(threading.Thread):
    """A loop that is under way."""

    def __init__(self, *args, **kwargs):
        super().__init__(target=loop, args=args, kwargs=kwargs)
        self.start()


def held(host):
    return sum(cq["held"] for cq in completion_queues(host))


@pytest.mark.core
@pytest.mark.parametrize("direction, host", [("recv", 2), ("send", 1)])
def test_stalled_completions_are_held_and_not_lost(direction, host):
    with fault(f"fab{host}", "completions", f"stall dir={direction}"):
        under_way = Run(1, 2, messages=100)
        try:
            wait_until("all are held", lambda: held(host) >= 100)
            assert under_way.is_alive()
            assert held(3 - host) == 0
        finally:
            (FABRIC / f"fab{host}/faults/completions").write_text("release")
            under_way.join()
    result = loop_result()
    assert (result["received"], result["late"]) == (100, 0)
    assert result["flushed"] == 0
    assert held(host) == 0


def test_a_stall_of_management_leaves_datagrams_alone():
    stall = "stall qp=gsi dir=recv"
    with fault("fab1", "completions", stall):
        def none_is_held():
            """Nor a management packet that came by chance, in the end."""
            path = FABRIC / "fab1/faults/completions"
            path.write_text("release")
            path.write_text(stall)
            assert loop(1, 2, messages=100)["received"] == 100
            return held(1) == 0

        wait_until("nothing is held", none_is_held)
        done = threading.Thread(target=run, args=("saquery", "-C", "fab1"),
                                kwargs={"check": False})
        done.start()
        try:
            wait_until("the answer is held", lambda: held(1))
        finally:
            (FABRIC / "fab1/faults/completions").write_text("release")
            done.join()


def test_each_completion_is_seen_later():
    with fault("fab2", "completions", "delay_us=200000 dir=recv"):
        result = loop(1, 2, messages=50)
    assert (result["received"], result["late"]) == (50, 0)
    assert 200_000_000 <= result["ns"]
    # A machine that is busy is slow as well, but not every time.
    assert min(loop(1, 2, messages=50)["ns"] for _ in range(5)) < 200_000_000


def test_a_send_that_fails_stops_its_queue():
    before = events("fab1")
    with fault("fab1", "completions", "status=LOC_PROT_ERR nth=11 dir=send"):
        result = loop(1, 2, messages=100)
    assert (result["send_errors"], result["received"]) == (1, 10)
    assert result["flushed"] == 89
    # The completion is all there is to it.
    assert more("fab1", before) == {}


def test_a_receive_that_fails_stops_its_queue_pair():
    before = counters("fab2/port1"), events("fab2")
    with fault("fab2", "completions", "status=4 nth=11 dir=recv"):
        result = loop(1, 2, messages=100)
    assert (result["recv_errors"], result["received"]) == (1, 10)
    now = counters("fab2/port1")
    assert now["dropped_recv_error"] - before[0]["dropped_recv_error"] == 1
    assert now["dropped_qp_state"] - before[0]["dropped_qp_state"] == 89
    assert more("fab2", before[1]) == {}


@pytest.mark.parametrize("direction, host", [("recv", 2), ("send", 1)])
def test_a_queue_that_overflows_takes_its_queue_pair_along(direction, host):
    before = events(f"fab{host}"), counters("fab2/port1")
    with fault(f"fab{host}", "completions", f"overflow nth=5 dir={direction}"):
        result = loop(1, 2, messages=100)
    assert more(f"fab{host}", before[0]) == {"CQ_ERR": 1, "QP_FATAL": 1}
    assert result["fatal"] == 1
    now = counters("fab2/port1")
    lost = now["dropped_cq_overflow"] - before[1]["dropped_cq_overflow"]
    assert lost == (direction == "recv")
    # The fifth send was executed, its completion alone found no room.
    assert result["received"] == (4 if direction == "recv" else 5)
    assert loop(1, 2, messages=100)["received"] == 100


@pytest.mark.parametrize("text", [
    "stall qp=rc", "stall dir=up", "stall nth=1", "delay_us=0", "delay_us=x",
    "delay_us=60000001", "status=SUCCESS nth=1", "status=99 nth=1",
    "status=LOC_QP_OP_ERR", "overflow", "rain", "lose_event",
    "lose_event nth=1 xor=1", "wr_id nth=1", "wr_id xor=1", "wr_id nth=1 xor=0",
])
def test_what_completions_do_not_know(text):
    path = FABRIC / "fab1/faults/completions"
    with pytest.raises(OSError) as caught:
        path.write_text(text)
    assert caught.value.errno == errno.EINVAL
    assert path.read_text() == ""


@pytest.mark.parametrize("how", ["0", "surprise"])
def test_unplugging_releases_what_is_held(how):
    """Nobody can wait for ever for a completion that is held back."""
    with fault("fab2", "completions", "stall qp=any"):
        under_way = Run(1, 2, messages=100)
        wait_until("all are held", lambda: held(2) >= 100)
        plug(2, how)
        under_way.join()
        plug(2)
        assert "stall" in (FABRIC / "fab2/faults/completions").read_text()
    wait_until("all ports ACTIVE", all_active, timeout=60)
    assert loop(1, 2, messages=100)["received"] == 100


SENT, RECEIVED = 0x5e4d, 0x4ecf


@pytest.mark.parametrize("direction, lost", [("recv", 1), ("send", 0)])
def test_lost_event_leaves_the_queue_unarmed(direction, lost):
    """Neither this completion nor the next one calls the handler."""
    with fault("fab1", "completions",
               f"lose_event nth=1 dir={direction}") as loss:
        result = misuse("twice")
        assert loss.hit == lost
    assert result["handled"] == 1 - lost
    assert (result["send_status"], result["recv_status"]) == (0, 0)
    assert misuse("twice")["handled"] == 1


@pytest.mark.parametrize("direction, sent, received", [
    ("send", SENT ^ 0x300, RECEIVED), ("recv", SENT, RECEIVED ^ 0x300),
    ("any", SENT ^ 0x300, RECEIVED ^ 0x300)])
def test_altered_wr_id(direction, sent, received):
    with fault("fab1", "completions",
               f"wr_id every=1 xor=0x300 dir={direction}") as change:
        result = misuse("nothing")
        assert change.hit == (2 if direction == "any" else 1)
        assert "xor=0x300 " in change.path.read_text()
    assert (result["send_id"], result["recv_id"]) == (sent, received)
    result = misuse("nothing")
    assert (result["send_id"], result["recv_id"]) == (SENT, RECEIVED)


# --- Queue pairs --------------------------------------------------------------

def set_state(host, qpn, state):
    (FABRIC / f"fab{host}/qp_state").write_text(f"{qpn:#x} {state}")


def ud_pairs(host):
    return {qpn: pair for qpn, pair in queue_pairs(host).items() if qpn > 1}


@pytest.mark.parametrize("state, fatal", [("sqe", 0), ("err", 1)])
def test_a_queue_pair_is_moved(state, fatal):
    before, arrived = events("fab1"), counters("fab2/port1")["delivered"]
    under_way = Run(1, 2, messages=10_000_000)
    qpn = wait_until("it sends", lambda: [
        qpn for qpn, pair in ud_pairs(1).items() if pair["state"] == "RTS"])[0]
    wait_until("messages arrive", lambda: counters(
        "fab2/port1")["delivered"] > arrived + 1000)
    set_state(1, qpn, state)
    under_way.join()
    result = loop_result()
    assert result["received"] < 10_000_000
    assert result["fatal"] == fatal
    assert more("fab1", before) == ({"QP_FATAL": 1} if fatal else {})


def charged(host):
    """(mlx4, mlx5) bytes of queue memory: the lines by name, and their total."""
    lines = (FABRIC / f"fab{host}/memory").read_text().splitlines()
    bytes_of = {words[:-4]: (int(words[-3]), int(words[-1])) for words in
                (tuple(line.split()) for line in lines)}
    return bytes_of, bytes_of.pop(("total",))


def test_queue_memory_is_charged():
    """Of 256 sends and 1024 receives with an SGE each, and two queues."""
    before, total = charged(1)
    with fault("fab2", "completions", "stall dir=recv"):
        under_way = Run(1, 2, messages=10)
        try:
            wait_until("all are held", lambda: held(2) >= 10)
            now, grown = charged(1)
        finally:
            (FABRIC / "fab2/faults/completions").write_text("release")
            under_way.join()
    new = [now[name] for name in now if name not in before]
    # mlx4 has 17 spare slots of 128 bytes, mlx5 none; a queue has one entry
    # more than asked for, of 64 bytes.
    assert sorted(new) == sorted([
        (512 * 128 + 1024 * 16, 256 * 128 + 1024 * 16),
        (512 * 64, 512 * 64), (2048 * 64, 2048 * 64)])
    assert [sum(one) for one in zip(*now.values())] == list(grown)
    assert [sum(one) for one in zip(*before.values())] == list(total)
    assert charged(1) == (before, total)


def test_queue_pairs_and_states_there_are_not():
    with pytest.raises(OSError) as caught:
        set_state(1, 0xabcdef, "err")
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(OSError) as caught:
        set_state(1, 0, "rts")
    assert caught.value.errno == errno.EINVAL
