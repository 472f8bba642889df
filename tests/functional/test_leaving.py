# SPDX-License-Identifier: GPL-2.0
"""Whatever an interface is at, it is gone or down within ten seconds.

Host 2 and a child of it are brought into each state, and end in each way;
afterwards the host is there again, and answers.
"""

import contextlib
import socket
import struct

import pytest

from labkit import (DRIVER, FABRIC, all_active, attr, edit, fault, has_carrier,
                    interface_names, ip4, is_plugged, kernel_log, link, link_up,
                    mentions, on, opensm_held, ping, plug, queue_pairs, reason,
                    run, start_on, switch_port, table, traced, wait_until,
                    within)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("partitions")]

NAMES = ("ib0", "kid")
# As long as an interface may take to stop, or to be removed
PATIENCE = 10


def down_up():
    on(2, "ip", "link", "set", "ib0", "down")
    on(2, "ip", "link", "set", "ib0", "up")


def both_say(word):
    """Why the interface and its child have no carrier."""
    wait_until(f"both say {word}", lambda: {
        reason(2, name) for name in NAMES} == {word}, timeout=60)


# --- States -------------------------------------------------------------------

@contextlib.contextmanager
def joining():
    """Nobody answers the join of the broadcast group."""
    with fault(f"switch0/port{switch_port(2)}", "mad",
               "drop class=3 method=0x81 every=1") as silence:
        down_up()
        both_say("bcast-joining")
        wait_until("an answer is lost", lambda: silence.hit)
        yield


# include/uapi/linux/netlink.h, include/uapi/rdma/rdma_netlink.h
NETLINK_RDMA, SOL_NETLINK, ADD_MEMBERSHIP = 20, 270, 1
LOCAL_SERVICE_GROUP, SET_TIMEOUT, TIMEOUT_ATTR = 3, (4 << 10) + 1, 2
# what ib_sa begins with
LOCAL_TIMEOUT_MS = 2000


@contextlib.contextmanager
def mute_listener(timeout_ms):
    """A program to reply for the subnet administrator, which does not."""
    def set_timeout(value):
        listener.send(struct.pack("=IHHIIHHi", 24, SET_TIMEOUT, 1, 0, 0, 8,
                                  TIMEOUT_ATTR, value))

    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW,
                       NETLINK_RDMA) as listener:
        listener.bind((0, 0))
        listener.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, LOCAL_SERVICE_GROUP)
        listener.settimeout(30)
        set_timeout(timeout_ms)
        try:
            yield listener
        finally:
            set_timeout(LOCAL_TIMEOUT_MS)


STRANGER = "10.44.0.200"


@contextlib.contextmanager
def querying():
    """A path query has no reply for twice the time."""
    address = link(2)["address"][:-5] + "99:99"
    with mute_listener(2000 * PATIENCE) as listener:
        on(2, "ip", "neigh", "replace", STRANGER, "lladdr", address, "dev",
           "ib0", "nud", "permanent")
        try:
            ping(2, STRANGER, 1, "-W", 1, check=False)
            assert listener.recv(4096)
            yield
        finally:
            on(2, "ip", "neigh", "del", STRANGER, "dev", "ib0", check=False)


@contextlib.contextmanager
def without_pkey():
    """The key is not in the port's table."""
    before = table(2, "pkeys")[0]
    edit(2, "pkeys", "0 0")
    try:
        both_say("pkey-absent")
        yield
    finally:
        with contextlib.suppress(OSError):
            edit(2, "pkeys", f"0 {before:#x}")


def pairs():
    """Queue pairs of the interfaces, by number."""
    return {qpn: pair for qpn, pair in queue_pairs(2).items() if qpn > 1}


@contextlib.contextmanager
def stalled():
    """The HCA gives nothing back."""
    with fault("fab2", "completions", "stall dir=any"):
        yield


def in_error():
    """Has that of each interface which also receives fallen into error?"""
    return sum(pair["state"] == "ERR" for pair in pairs().values()) >= \
        len(NAMES)


@contextlib.contextmanager
def healing():
    """Each queue pair is in ERR, and is waited for until it is flushed."""
    with stalled():
        for qpn in pairs():
            (FABRIC / "fab2/qp_state").write_text(f"{qpn:#x} err")
        assert in_error()
        yield


@contextlib.contextmanager
def restarting():
    """The key moves to another place: what was at the old one is flushed."""
    free = max(table(2, "pkeys")) + 1
    edit(2, "pkeys", f"{free} 0xffff")
    with stalled():
        edit(2, "pkeys", "0 0")
        wait_until("the first is stopped", lambda: any(
            pair["state"] == "ERR" for pair in pairs().values()))
        yield
    with contextlib.suppress(OSError):
        edit(2, "pkeys", "0 0xffff")
        edit(2, "pkeys", f"{free} 0")


@contextlib.contextmanager
def wedged():
    """What it was given when it worked, it keeps."""
    with stalled():
        ping(2, ip4(1), 3, "-W", 1, check=False)
        yield


# --- Ends ---------------------------------------------------------------------

def set_down():
    on(2, "ip", "link", "set", "ib0", "down")
    for name in NAMES:
        assert "UP" not in link(2, name)["flags"]


def delete_child():
    on(2, "ip", "link", "del", "kid")
    assert "kid" not in interface_names(2)


def unplug():
    plug(2, "0")
    assert interface_names(2) == {"lo"}


def unload():
    run("lab-driver", "unload")
    assert interface_names(2) == {"lo"}


@pytest.fixture(autouse=True)
def there_again():
    """The HCA, the driver, the interfaces; and they answer."""
    on(2, "ip", "link", "add", "link", "ib0", "name", "kid", "type", "ipoib")
    on(2, "ip", "link", "set", "kid", "up")
    wait_until("carrier", lambda: has_carrier(2, "kid"), timeout=60)
    yield
    if not is_plugged(2):
        plug(2)
        run("lab-hosts", "adopt", 2)
    if "ib_ipoib" not in run("lsmod").stdout:
        run("lab-driver", "load", DRIVER)
    wait_until("all ports ACTIVE", all_active, timeout=60)
    link_up(2)
    on(2, "ip", "link", "del", "kid", check=False)
    for host, other in ((1, 2), (2, 1)):
        wait_until("an answer", lambda a=host, b=other:
                   ping(a, ip4(b), 1, check=False), timeout=60)


ENDS = (set_down, delete_child, unplug, unload)


def ends(state, end):
    with state(), within(PATIENCE):
        end()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("state", (joining, querying, without_pkey))
def test_an_interface_that_waits_ends_in_time(state, end):
    ends(state, end)


@pytest.mark.long
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("state", (healing, restarting, wedged))
def test_an_interface_that_is_waited_for_ends_in_time(state, end):
    ends(state, end)


# As they are traced: the broadcast group is asked for, and granted
LINK = "mgid=ff12:401b:ffff:0000:0000:0000:ffff:ffff"
START, ANSWER = f"{LINK} event=0 ", f"{LINK} event=1 "


def test_join_reply_while_stopping():
    """Queues that are being stopped take no group, and nothing is wrong."""
    def happened(event):
        return mentions(trace(), f"ifindex={index} {event}")

    index = attr(2, "ifindex")
    on(2, "ip", "link", "set", "ib0", "down")
    with traced("ipoib/ipoib_mcast") as trace, kernel_log() as log, \
            contextlib.ExitStack() as silence, contextlib.ExitStack() as stop:
        silence.enter_context(opensm_held())
        on(2, "ip", "link", "set", "ib0", "up")
        wait_until("the join is under way", lambda: happened(START))
        # the child takes until the HCA has returned its buffers
        stop.enter_context(stalled())
        process = start_on(2, "ip", "link", "set", "ib0", "down")
        try:
            wait_until("the queues are being stopped", in_error)
            silence.close()
            wait_until("the group is granted", lambda: happened(ANSWER))
            assert process.poll() is None
        finally:
            stop.close()
            process.wait()
        lines = log.lines()
    assert not mentions(lines, "cannot attach")
    assert not mentions(lines, " in ERR")
