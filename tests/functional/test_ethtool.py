# SPDX-License-Identifier: GPL-2.0
"""What ethtool is told of an interface, and other modules by its callbacks."""

import pytest

import kapikit
from labkit import (ethtool_stats, has_carrier, kernel_log, link_up, on,
                    packets_by_queue, queue_sums, set_link, shown_sums,
                    wait_until)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("partitions")]


def test_get_link_without_rtnl():
    """As LNet calls it; the kernel warns of what needs RTNL."""
    with kapikit.loaded() as kapi, kernel_log() as log:
        assert kapi.link(1) == 1
        on(1, "ip", "link", "set", "ib0", "down")
        try:
            assert kapi.link(1) == 0
        finally:
            link_up(1)
        assert kapi.link(1) == 1
        assert not [line for line in log.lines() if "WARNING" in line]


def test_autonegotiation_is_on_and_supported():
    """With and without carrier."""
    wanted = ["Supports auto-negotiation: Yes",
              "Advertised auto-negotiation: Yes", "Auto-negotiation: on"]

    def shown():
        text = on(3, "ethtool", "ib0").stdout
        return [line.strip() for line in text.splitlines()
                if "negotiation" in line and "Partner" not in line]

    assert shown() == wanted
    set_link(3, "down")
    try:
        wait_until("carrier is gone", lambda: not has_carrier(3))
        assert shown() == wanted
    finally:
        set_link(3, "up")
    wait_until("carrier is back", lambda: has_carrier(3), timeout=60)


def test_statistics_of_a_child_that_goes_down_and_up():
    """As many lines, or who reads them meanwhile gets none; and the same sums."""
    on(1, "ip", "link", "add", "link", "ib0", "name", "kid", "type", "ipoib")
    try:
        new = list(ethtool_stats(1, "kid"))
        on(1, "ip", "link", "set", "kid", "up")
        wait_until("carrier", lambda: has_carrier(1, "kid"))
        up = list(ethtool_stats(1, "kid"))
        assert packets_by_queue(ethtool_stats(1, "kid"))
        wait_until("it has sent", lambda: queue_sums(1, "kid")["tx_packets"])
        on(1, "ip", "link", "set", "kid", "down")
        down = list(ethtool_stats(1, "kid"))
        assert new == up == down
        assert queue_sums(1, "kid") == shown_sums(1, "kid")
    finally:
        on(1, "ip", "link", "del", "kid")
