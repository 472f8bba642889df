# SPDX-License-Identifier: GPL-2.0
"""What ethtool is told of an interface, and other modules by its callbacks."""

import pytest

import kapikit
from labkit import kernel_log, link_up, on

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
