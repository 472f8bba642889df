# SPDX-License-Identifier: GPL-2.0
"""Children that are deleted while others hold or remove what they need."""

import contextlib
import subprocess

import pytest

import kapikit
from labkit import (FABRIC, SLOW, interface_names, is_plugged, on, plug,
                    reaches, run, start_on, wait_until, write_attr)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("partitions")]

NAME = "ib0.8001"
HOST = 3


@pytest.fixture(scope="module")
def kapi():
    with kapikit.loaded() as one:
        yield one


@pytest.fixture
def child():
    """A child made by file; the HCA is back and without children afterwards."""
    assert write_attr(HOST, "create_child", "0x8001") == 0
    yield NAME
    if not is_plugged(HOST):
        plug(HOST)
        run("lab-hosts", "adopt", HOST)
    on(HOST, "ip", "link", "del", NAME, check=False)
    wait_until("host 3 answers", lambda: reaches(1, "10.44.0.3"), timeout=60)


@contextlib.contextmanager
def ended(process, kapi):
    """A process that has to end by itself, or is killed after the test."""
    try:
        yield process
    finally:
        if kapi.held():
            kapi.drop()
        process.kill()
        process.wait()


def deleting_by_file():
    return start_on(HOST, "sh", "-c",
                    "echo 0x8001 > /sys/class/net/ib0/delete_child")


def unplugging():
    return subprocess.Popen(["sh", "-c", "echo 0 > "
                             f"{FABRIC / f'fab{HOST}' / 'plugged'}"])


def in_sysfs(name):
    """Is an interface there? Asks without RTNL."""
    return name in on(HOST, "ls", "/sys/class/net").stdout.split()


def test_delete_child_returns_while_the_child_is_referenced(kapi, child):
    """The name and the P_Key are free as soon as the write returns."""
    with kapi.holding(HOST, child), ended(deleting_by_file(), kapi) as delete:
        assert delete.wait(timeout=30 * SLOW) == 0
        assert child not in interface_names(HOST)
        assert write_attr(HOST, "create_child", "0x8001") == 0
        assert write_attr(HOST, "delete_child", "0x8001") == 0
        assert child not in interface_names(HOST)


def test_unplug_while_delete_child_waits_for_a_reference(kapi, child):
    """The holder of the reference needs RTNL to drop it.

    The unplug takes RTNL and waits for the writer of delete_child, who must
    not wait for the reference then.
    """
    with kapi.holding(HOST, child), ended(deleting_by_file(), kapi) as delete:
        wait_until("the child is out of sight", lambda: not in_sysfs(child))
        with ended(unplugging(), kapi) as unplug:
            wait_until("ib0 is out of sight", lambda: not in_sysfs("ib0"))
            kapi.drop()
            assert kapi.forced() == 0
            delete.wait(timeout=60 * SLOW)
            unplug.wait(timeout=60 * SLOW)


def test_unplug_waits_for_a_deleted_child_that_is_referenced(kapi, child):
    """The child's end uses the HCA: the HCA must be there until then."""
    with kapi.holding(HOST, child), \
            ended(start_on(HOST, "ip", "link", "del", child), kapi) as delete:
        wait_until("the child is out of sight", lambda: not in_sysfs(child))
        with ended(unplugging(), kapi) as unplug:
            wait_until("ib0 is out of sight", lambda: not in_sysfs("ib0"))
            with pytest.raises(subprocess.TimeoutExpired):
                unplug.wait(timeout=2)
            kapi.drop()
            delete.wait(timeout=60 * SLOW)
            unplug.wait(timeout=60 * SLOW)
