# SPDX-License-Identifier: GPL-2.0
"""Groups that user space has joined by itself are left to it on demand."""

import contextlib
import pathlib
import subprocess
import sys

import pytest

from groupkit import TOOL, member, send
from labkit import (group_mlid, has_carrier, ip4, on, ping, port_dir, run,
                    set_link, start_on, wait_until, write_attr)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("partitions")]

USER = pathlib.Path(__file__).with_name("cm_join.py")
PORT = 5997
# between a user's group and one that is asked for after it
LATER = 8


@pytest.fixture(autouse=True, scope="module")
def manager():
    run("modprobe", "rdma_ucm")
    wait_until("its file", pathlib.Path("/dev/infiniband/rdma_cm").exists)
    yield
    run("modprobe", "-r", "rdma_ucm", check=False)


@pytest.fixture(autouse=True)
def umcast():
    assert write_attr(1, "umcast", "1") == 0
    yield
    assert write_attr(1, "umcast", "0") == 0


@pytest.fixture
def processes():
    """Start a program on host 1; all end with the test."""
    started = []

    def start(*command):
        started.append(start_on(1, sys.executable, *command,
                                stdout=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def mgid(number):
    return f"ff12:401b:ffff::f03:{number:x}"


def attached():
    """Groups 239.3.0.* that host 1's queue pair receives, by their number."""
    text = (port_dir(1) / "groups").read_text()
    return {number for number in range(1, 16) if
            f"ff12:401b:ffff:0000:0000:0000:0f03:{number:04x} " in text}


def listen(number, processes, folder):
    """A socket of the stack asks for the group."""
    count = folder / str(number)
    processes(TOOL, "recv", f"239.3.0.{number}", PORT, count)
    wait_until("the socket has joined", count.exists)


def join_by_user(number, processes, folder):
    """The answer is there when that to a later request is."""
    user = processes(USER, ip4(1), f"239.3.0.{number}")
    assert user.stdout.readline() == "asked\n"
    listen(number + LATER, processes, folder)
    wait_until("the other is received", lambda: number + LATER in attached())


def test_a_group_of_a_user_is_left_to_it(processes, tmp_path):
    join_by_user(1, processes, tmp_path)
    listen(1, processes, tmp_path)
    listen(2, processes, tmp_path)
    wait_until("the other is received", lambda: 2 in attached())
    assert attached() == {1 + LATER, 2}
    assert write_attr(1, "umcast", "0") == 0
    listen(3, processes, tmp_path)
    wait_until("all are received",
               lambda: attached() == {1, 1 + LATER, 2, 3})


def test_a_group_that_was_sent_to_is_left_to_its_user(processes, tmp_path):
    on(1, sys.executable, TOOL, "send", "239.3.0.4", PORT, 1)
    wait_until("it is a member that sends", lambda: group_mlid(mgid(4)))
    join_by_user(4, processes, tmp_path)
    listen(4, processes, tmp_path)
    listen(5, processes, tmp_path)
    wait_until("the other is received", lambda: 5 in attached())
    assert attached() == {4 + LATER, 5}


def test_a_group_of_a_sibling_is_no_users():
    """Two interfaces of one partition hear one group."""
    group = "239.3.0.7"
    on(1, "ip", "link", "add", "link", "ib0", "name", "kid", "type", "ipoib",
       "umcast", "1")
    try:
        on(1, "ip", "link", "set", "kid", "up")
        wait_until("carrier", lambda: has_carrier(1, "kid"), timeout=60)
        with contextlib.ExitStack() as stack:
            for where in (group, f"{group}%kid"):
                one = stack.enter_context(member(1, where))
                wait_until("it is heard", lambda m=one: send(2, group) or
                           m.count())
    finally:
        on(1, "ip", "link", "del", "kid")


def test_own_groups_are_back_with_the_cable(processes, tmp_path):
    """What is left of the memberships of before is nobody else's."""
    listen(6, processes, tmp_path)
    wait_until("it is received", lambda: 6 in attached())
    set_link(1, "down")
    wait_until("carrier is gone", lambda: not has_carrier(1))
    set_link(1, "up")
    wait_until("carrier is back", lambda: has_carrier(1), timeout=60)
    wait_until("it is received again", lambda: 6 in attached())
    wait_until("an answer", lambda: ping(1, ip4(2), 1, check=False),
               timeout=60)
