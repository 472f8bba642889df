# SPDX-License-Identifier: GPL-2.0
"""The driver comes and goes."""

import pytest

from labkit import (DRIVER, HOSTS, counters, has_carrier, ip4, ping, run,
                    start_on, wait_until)

pytestmark = pytest.mark.needs("netdev")


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
def test_twenty_times():
    for _ in range(20):
        reload()
    run("lab-hosts")
    for host in range(1, HOSTS + 1):
        assert has_carrier(host)
    wait_until("nothing in flight", lambda: counters()["in_flight"] == 0)


@pytest.mark.core
def test_unload_under_traffic():
    flood = start_on(1, "ping", "-q", "-i", "0.005", ip4(2))
    try:
        wait_until("traffic flows", lambda: counters()["sent"] > 100)
        reload()
    finally:
        flood.kill()
        flood.wait()
    run("lab-hosts")
    ping(1, ip4(2))


def test_no_queue_pair_is_left_behind():
    run("lab-driver", "unload")
    left = open("/sys/kernel/debug/ib_fabric/fab1/qps",
                encoding="ascii").read().splitlines()
    run("lab-driver", "load", DRIVER)
    run("lab-hosts")
    assert {line.split()[1] for line in left} <= {"0x000000", "0x000001"}
