# SPDX-License-Identifier: GPL-2.0
"""Children that are deleted while others hold or remove what they need."""

import contextlib
import subprocess

import pytest

import kapikit
from labkit import (FABRIC, SLOW, is_plugged, on, plug, reaches, run, start_on,
                    wait_until, write_attr)

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


def unplugging():
    return subprocess.Popen(["sh", "-c", "echo 0 > "
                             f"{FABRIC / f'fab{HOST}' / 'plugged'}"])


def in_sysfs(name):
    """Is an interface there? Asks without RTNL."""
    return name in on(HOST, "ls", "/sys/class/net").stdout.split()


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
