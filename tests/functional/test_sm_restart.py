# SPDX-License-Identifier: GPL-2.0
"""The subnet manager goes and comes back."""

import pytest

from labkit import (all_active, group_mlid, has_carrier, ip4, ip6, mft, on,
                    ping, run, set_link, switch_port, wait_until,
                    without_opensm, BROADCAST)

pytestmark = pytest.mark.needs("netdev")


@pytest.fixture
def acquainted():
    """Both have used their paths to each other a moment ago."""
    ping(1, ip4(2))
    ping(1, ip6(2))


@pytest.fixture
def no_sm():
    with without_opensm():
        yield
    wait_until("host 2 answers", lambda: ping(1, ip4(2), 1, check=False),
               timeout=60)


def test_traffic_goes_on_without_a_subnet_manager(acquainted, no_sm):
    ping(1, ip4(2), 20)
    ping(1, ip6(2), 20)
    assert has_carrier(1) and has_carrier(2)


@pytest.mark.smoke
@pytest.mark.core
def test_restart_of_the_subnet_manager():
    run("lab-sm", "stop")
    run("lab-sm", "start")
    wait_until("all ports ACTIVE", all_active)
    for host in (1, 2):
        wait_until("carrier", lambda h=host: has_carrier(h), timeout=60)
    wait_until("members of the broadcast group are back",
               lambda: {switch_port(1), switch_port(2)} <=
               mft().get(group_mlid(BROADCAST), set()), timeout=60)
    # A new neighbour needs the broadcast group and a path from the new SM.
    for host in (1, 2):
        on(host, "ip", "neigh", "flush", "dev", "ib0")
    wait_until("host 2 answers", lambda: ping(1, ip4(2), 1, check=False),
               timeout=60)
    ping(1, ip4(2), 10)
    ping(2, ip6(1), 10)


def test_link_that_came_back_while_the_sm_was_away():
    run("lab-sm", "stop")
    set_link(2, "down")
    wait_until("carrier is gone", lambda: not has_carrier(2))
    set_link(2, "up")
    assert not has_carrier(2)
    run("lab-sm", "start")
    wait_until("carrier is back", lambda: has_carrier(2), timeout=60)
    wait_until("host 2 answers", lambda: ping(1, ip4(2), 1, check=False),
               timeout=60)


def test_resweep_disturbs_nobody():
    run("lab-sm", "resweep")
    ping(1, ip4(2), 20)
    ping(2, ip6(1), 20)
