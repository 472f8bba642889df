# SPDX-License-Identifier: GPL-2.0
"""The driver comes and goes."""

import contextlib
import os

import pytest

from endurance import AGAIN, assert_not_grown, memory_kib
from labkit import (DRIVER, FABRIC, HOSTS, counters, has_carrier, ip4, on,
                    ping, run, start_on, wait_until)

pytestmark = pytest.mark.needs("netdev")

MODULE = f"{os.environ.get('LAB_MODULES', '.')}/ib_fabric.ko"


def reload():
    run("lab-driver", "unload")
    assert "ib_ipoib" not in run("lsmod").stdout
    run("lab-driver", "load", DRIVER)


@pytest.mark.smoke
@pytest.mark.core
def test_unload_and_load_again():
    reload()
    run("lab-hosts")
    ping(1, ip4(2))


@pytest.mark.core
@AGAIN
def test_again_and_again(rounds):
    before = None
    for done in range(rounds + 1):
        reload()
        if not done:
            before = memory_kib()
    assert_not_grown(before, rounds)
    run("lab-hosts")
    for host in range(1, HOSTS + 1):
        assert has_carrier(host)
    wait_until("nothing in flight", lambda: counters()["in_flight"] == 0)


@pytest.mark.core
@AGAIN
def test_unload_under_traffic(rounds):
    """Each time in the middle of it, and nobody is cut off afterwards."""
    for _ in range(1 if rounds < 100 else rounds):
        flood = start_on(1, "ping", "-q", "-i", "0.005", ip4(2))
        try:
            sent = counters()["sent"]
            wait_until("traffic flows", lambda: counters()["sent"] >
                       sent + 100)
            reload()
        finally:
            flood.kill()
            flood.wait()
        run("lab-hosts")
        ping(1, ip4(2))


@contextlib.contextmanager
def without_fabric():
    """No subnet manager, and a fabric that may go; both come back."""
    run("lab-sm", "stop")
    try:
        yield
    finally:
        if not FABRIC.exists():
            run("insmod", MODULE, f"hcas={HOSTS + 1}")
        run("lab-sm", "start")
        run("lab-hosts", "adopt", *range(1, HOSTS + 1))
        run("lab-hosts")


@pytest.mark.long
def test_fabric_goes_from_under_the_driver():
    """Refused or clean, and the interfaces go with their HCAs."""
    with without_fabric():
        flood = start_on(1, "ping", "-q", "-f", ip4(2))
        try:
            sent = counters()["sent"]
            wait_until("traffic flows", lambda: counters()["sent"] >
                       sent + 100)
            done = run("rmmod", "ib_fabric", check=False)
        finally:
            flood.kill()
            flood.wait()
        if done.returncode:
            assert "in use" in done.stderr
        else:
            assert on(1, "ip", "link", "show", "dev", "ib0",
                      check=False).returncode
    ping(1, ip4(2))


def test_no_queue_pair_is_left_behind():
    run("lab-driver", "unload")
    left = open("/sys/kernel/debug/ib_fabric/fab1/qps",
                encoding="ascii").read().splitlines()
    run("lab-driver", "load", DRIVER)
    run("lab-hosts")
    assert {line.split()[1] for line in left} <= {"0x000000", "0x000001"}


@contextlib.contextmanager
def roce():
    """An RDMA device over Ethernet."""
    run("modprobe", "rdma_rxe")
    run("ip", "link", "add", "ether0", "up", "type", "dummy")
    try:
        run("rdma", "link", "add", "rxe0", "type", "rxe", "netdev", "ether0")
        yield "rxe0"
    finally:
        run("ip", "link", "del", "ether0")
        run("modprobe", "-r", "rdma_rxe")


@pytest.mark.debian
def test_a_port_that_is_not_infiniband_gets_no_interface():
    before = os.listdir("/sys/class/net")
    with roce() as device:
        assert device in os.listdir("/sys/class/infiniband")
        assert sorted([*before, "ether0"]) == sorted(
            os.listdir("/sys/class/net"))
        if DRIVER == "ours":
            said = f"{device}: port 1 has no InfiniBand link: no IPoIB"
            assert run("dmesg").stdout.count(said) == 1
