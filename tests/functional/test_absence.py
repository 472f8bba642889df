# SPDX-License-Identifier: GPL-2.0
"""A P_Key or GID that is missing from its table for a moment costs nothing."""

import contextlib
import time

import pytest

from labkit import (attr, edit, has_carrier, ib_port, ip4, link, on, ping, reason,
                    run, table, wait_until)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("hitless")]

# An absence is believed when it has lasted for 0.1 s.
MOMENT = 0.08
ROUNDS = 10

GUID = 0x02fab0000a00007b
EMPTY = "0000:0000:0000:0000:0000:0000:0000:0000"


def carrier_changes(host, name):
    return int(attr(host, "carrier_changes", name))


def have_it_looked_at(host):
    """An edit of another entry raises an event, and the link is checked."""
    free = max(table(host, "pkeys")) + 1
    edit(host, "pkeys", f"{free} 0x8077")
    edit(host, "pkeys", f"{free} 0")


def missing_for_moments(host, name, remove, restore):
    """Rounds that took too long, as the machine was busy, do not count."""
    rounds = 0
    while rounds < ROUNDS:
        before = carrier_changes(host, name)
        start = time.monotonic()
        remove()
        have_it_looked_at(host)
        restore()
        if time.monotonic() - start < MOMENT:
            have_it_looked_at(host)
            assert ping(host, ip4(2), 3) == 3
            assert carrier_changes(host, name) == before
            rounds += 1
        wait_until("carrier", lambda: has_carrier(host, name) and
                   reason(host, name) == "up", timeout=60)


def test_pkey_missing_for_a_moment():
    missing_for_moments(1, "ib0", lambda: edit(1, "pkeys", "0 0"),
                        lambda: edit(1, "pkeys", "0 0xffff"))


@contextlib.contextmanager
def child_with_a_guid():
    """A child of host 1 by an alias GUID, and where that is in the table."""
    words = link(1)["address"].split(":")[:12]
    words += f"{GUID:016x}"[0:2], *(f"{GUID:016x}"[at:at + 2]
                                    for at in range(2, 16, 2))
    run("lab-guid", "add", 1, f"{GUID:#x}")
    on(1, "ip", "link", "add", "link", "ib0", "name", "kid", "address",
       ":".join(words), "type", "ipoib")
    try:
        on(1, "ip", "link", "set", "kid", "up")
        wait_until("carrier", lambda: has_carrier(1, "kid"), timeout=60)
        yield {guid: at for at, guid in table(1, "guids").items()}[GUID]
    finally:
        on(1, "ip", "link", "del", "kid")
        wait_until("nobody uses it any more", lambda: run(
            "lab-guid", "del", 1, f"{GUID:#x}", check=False).returncode == 0)


def test_gid_missing_for_a_moment():
    """As ib_core has it: that rewrites its table at some events."""
    with child_with_a_guid() as index:
        def is_known(known):
            return (ib_port(1, f"gids/{index}") != EMPTY) == known

        def put(guid, known):
            edit(1, "guids", f"{index} {guid:#x}")
            wait_until("ib_core has read it", lambda: is_known(known))

        missing_for_moments(1, "kid", lambda: put(0, False),
                            lambda: put(GUID, True))


def test_pkey_that_stays_away_is_gone():
    """Also when nothing but its removal raises an event."""
    edit(1, "pkeys", "0 0")
    try:
        wait_until("it is gone", lambda: not has_carrier(1) and
                   link(1)["broadcast"].replace(":", "")[16:20] != "ffff" or
                   reason(1) == "pkey-absent")
    finally:
        edit(1, "pkeys", "0 0xffff")
    wait_until("carrier", lambda: has_carrier(1), timeout=60)
    wait_until("it answers", lambda: ping(2, ip4(1), 1, check=False),
               timeout=60)
