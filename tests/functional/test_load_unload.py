# SPDX-License-Identifier: GPL-2.0
"""The driver comes and goes."""

import contextlib
import os
import pathlib
import subprocess
import time

import pytest

from endurance import AGAIN, assert_not_grown, memory_kib
from labkit import (DRIVER, FABRIC, HOSTS, counters, has_carrier, ip4,
                    kernel_log, mentions, on, ping, run, start_on, wait_until)

pytestmark = pytest.mark.needs("netdev")

MODULE = f"{os.environ.get('LAB_MODULES', '.')}/ib_fabric.ko"
DRIVER_MODULE = f"{os.environ.get('LAB_MODULES', '.')}/ib_ipoib.ko"
PARAMETERS = pathlib.Path("/sys/module/ib_ipoib/parameters")


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


def interfaces_of_hcas():
    return {name for name in os.listdir("/sys/class/net")
            if name.startswith("ib")}


@pytest.mark.needs("partitions")
def test_every_port_has_its_interface_though_insmod_is_killed():
    """At moments that cover all of the module's start."""
    with without_driver():
        for moment in range(20):
            with subprocess.Popen(["insmod", DRIVER_MODULE]) as insmod:
                wait_until("it is there", lambda: os.path.exists(
                    "/sys/module/ib_ipoib") or insmod.poll() is not None)
                time.sleep(moment * 0.005)
                insmod.kill()
            assert len(interfaces_of_hcas()) == HOSTS + 1
            run("rmmod", "ib_ipoib")


# what is asked for, and what the receive ring and the transmit rings get
SIZES = {0: (64, 128), 2: (64, 128), -5: (64, 128), 100: (128, 128),
         513: (1024, 1024), 100000: (8192, 8192), 256: (256, 256)}


@contextlib.contextmanager
def without_driver():
    """It may be loaded otherwise inside; afterwards all is as it was."""
    run("lab-driver", "unload")
    try:
        yield
    finally:
        run("rmmod", "ib_ipoib", check=False)
        run("lab-driver", "load", DRIVER)
        run("lab-hosts")


@pytest.mark.needs("rings")
def test_sizes_of_rings_are_clamped_and_rounded_and_it_is_said():
    with without_driver(), kernel_log() as log:
        for asked, sizes in SIZES.items():
            limits = {"recv_queue_size": (sizes[0], 64),
                      "send_queue_size": (sizes[1], 128)}
            run("insmod", DRIVER_MODULE, *(f"{name}={asked}"
                                           for name in limits))
            lines = log.lines()
            for name, (size, least) in limits.items():
                assert (PARAMETERS / name).read_text() == f"{size}\n"
                said = f"{name}={asked} becomes {size}, a power of two " \
                    f"from {least} to 8192"
                assert any(said in line for line in lines) == (asked != size)
            run("rmmod", "ib_ipoib")
    ping(1, ip4(2))


def sees(shape):
    """What the driver makes of an HCA of two ports: their numbers, and lines."""
    before = set(os.listdir("/sys/class/net"))
    with kernel_log() as log:
        run("insmod", MODULE, "hcas=1", "ports=2", "switches=0",
            f"shape={shape}")
        try:
            fresh = set(os.listdir("/sys/class/net")) - before
            ports = {pathlib.Path("/sys/class/net", name, "dev_port"
                                  ).read_text().strip() for name in fresh}
            return ports, log.lines()
        finally:
            run("rmmod", "ib_fabric")


@contextlib.contextmanager
def driver_alone():
    """The driver, and no HCA yet."""
    with without_driver():
        run("lab-sm", "stop")
        run("rmmod", "ib_fabric")
        run("insmod", DRIVER_MODULE)
        try:
            yield
        finally:
            run("rmmod", "ib_ipoib")
            run("insmod", MODULE, f"hcas={HOSTS + 1}")
            run("lab-sm", "start")


@pytest.mark.needs("rings")
@pytest.mark.parametrize("kind", ["roce", "iwarp"])
def test_only_ports_that_are_infiniband_get_an_interface(kind):
    """Each other one is named once, whether or not its HCA has one that is."""
    said = "fab0: port {} has no InfiniBand link: no IPoIB"
    with driver_alone():
        for others, shape in (({2}, f"port2={kind}"), ({1}, f"port1={kind}"),
                              ({1, 2}, f"port1={kind},port2={kind}")):
            ports, lines = sees(shape)
            assert ports == {str(port - 1) for port in {1, 2} - others}
            assert [mentions(lines, said.format(port)) for port in
                    (1, 2)] == [port in others for port in (1, 2)]
    ping(1, ip4(2))


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
