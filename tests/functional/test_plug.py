# SPDX-License-Identifier: GPL-2.0
"""HCAs leave their slots and come back, with no driver but ib_mad on them."""

import contextlib
import errno
import threading

import pytest

from endurance import AGAIN, assert_not_grown, memory_kib
from labkit import (FABRIC, all_active, counters, edit, events, inject,
                    is_plugged, lid, plug, run, table, wait_until)

pytestmark = pytest.mark.fabric


def is_there(host):
    return f"CA 'fab{host}'" in run("ibstat", check=False).stdout


def link_up(where):
    return (FABRIC / where / "link").read_text() == "up\n"


@pytest.fixture(autouse=True)
def whole():
    yield
    for host in (1, 2):
        plug(host)
    wait_until("all ports ACTIVE", all_active, timeout=60)


@pytest.mark.core
@pytest.mark.parametrize("how", ["0", "surprise"])
def test_out_and_in_again(how):
    before = events("fab2"), events("fab2/port1")
    plug(2, how)
    assert not is_plugged(2)
    assert not is_there(2)
    assert not link_up("switch0/port3")
    fatal = events("fab2")["DEVICE_FATAL"] - before[0]["DEVICE_FATAL"]
    assert fatal == (how == "surprise")
    # A client that is told in good order never sees the port go.
    lost = events("fab2/port1")["PORT_ERR"] - before[1]["PORT_ERR"]
    assert lost == (how == "surprise")
    plug(2)
    assert is_plugged(2)
    assert is_there(2)
    wait_until("all ports ACTIVE", all_active, timeout=60)


def test_it_comes_back_as_after_power_on():
    run("lab-sm", "stop")
    try:
        edit(2, "pkeys", "0 0x1234")
        edit(2, "guids", "1 0x99")
        plug(2, "0")
        plug(2)
        assert table(2, "pkeys") == {0: 0xffff}
        assert table(2, "guids") == {0: 0x02fab00000000201}
        assert (FABRIC / "fab2/port1/lid").read_text() == "0\n"
    finally:
        run("lab-sm", "start")


def test_writing_what_is_there_changes_nothing():
    before = events("fab2/port1")
    plug(2)
    assert is_plugged(2)
    assert events("fab2/port1") == before


def test_other_words_are_refused():
    with pytest.raises(OSError) as caught:
        plug(2, "2")
    assert caught.value.errno == errno.EINVAL
    assert is_plugged(2)


def hammer(action, stop, failed):
    while not stop.is_set():
        try:
            action()
        except OSError as err:
            failed.append(err)
            return


def test_two_writers_and_readers_at_once():
    """Writers wait for each other; readers see it whole or not at all."""
    stop, failed = threading.Event(), []
    folder = FABRIC / "fab2"
    actions = [lambda: plug(2, "0"), lambda: plug(2, "1"),
               lambda: plug(2, "surprise")]
    actions += [(folder / name).read_text for name in ("qps", "cqs", "events")]
    threads = [threading.Thread(target=hammer, args=(action, stop, failed))
               for action in actions]
    rounds = events("fab2")["DEVICE_FATAL"]
    for thread in threads:
        thread.start()
    try:
        wait_until("it was torn out three times", lambda: failed or events(
            "fab2")["DEVICE_FATAL"] >= rounds + 3, timeout=60)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed


@contextlib.contextmanager
def traffic():
    """Datagrams and queries to and from HCA 2, whether it is there or not."""
    stop, failed = threading.Event(), []
    target = lid(2)

    def datagrams():
        inject(1, bytes(64), dlid=target, qpn=1, qkey=0x80010000, repeat=200)
        if is_plugged(2):
            inject(2, bytes(64), dlid=lid(1), qpn=1, qkey=0x80010000)

    def queries():
        run("smpquery", "-C", "fab0", "-t", 20, "-D", "nodeinfo", "0,1,3",
            check=False)

    threads = [threading.Thread(target=hammer, args=(action, stop, failed))
               for action in (datagrams, queries)]
    for thread in threads:
        thread.start()
    try:
        yield failed
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@AGAIN
def test_again_and_again_under_traffic(rounds):
    """In good order and by surprise in turns, and no memory is lost."""
    before = None
    with traffic() as failed:
        for done in range(rounds + 1):
            plug(2, "surprise" if done % 2 else "0")
            plug(2)
            if not done:
                before = memory_kib()
        assert_not_grown(before, rounds)
    assert not failed
    wait_until("all ports ACTIVE", all_active, timeout=60)
    wait_until("nothing in flight", lambda: counters()["in_flight"] == 0)


def test_module_stays_while_a_writer_has_the_file():
    with open(FABRIC / "fab2/plugged", "w", encoding="ascii"):
        done = run("rmmod", "ib_fabric", check=False)
    assert done.returncode
    assert "in use" in done.stderr


def test_the_balance_holds_across_it():
    for how in ("0", "surprise"):
        plug(1, how)
        plug(1)
    wait_until("all ports ACTIVE", all_active, timeout=60)
    wait_until("nothing in flight", lambda: counters()["in_flight"] == 0)
