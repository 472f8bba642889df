# SPDX-License-Identifier: GPL-2.0
"""Tables and addresses of a port edited by hand, as a subnet manager would.

Each edit has the effect that only it has, raises the event that the same SMP
would raise, once, and raises none when it changes nothing.
"""

import errno

import pytest

from labkit import (FABRIC, all_active, edit, events, ib_port, lid, lft,
                    port_dir, run, set_lft, switch_port, table, wait_until,
                    without_opensm)

pytestmark = pytest.mark.fabric

PORT = "fab2/port1"


@pytest.fixture
def no_sm():
    """Nobody writes the edits over; afterwards everything is as it was."""
    with without_opensm():
        before = lft(), lid(2), table(2, "pkeys")
        yield
        table_before, lid_before, pkeys = before
        edit(2, "lid", lid_before)
        for index in table(2, "pkeys").keys() | pkeys.keys():
            edit(2, "pkeys", f"{index} {pkeys.get(index, 0):#x}")
        for dlid in lft().keys() | table_before.keys():
            set_lft(dlid, table_before.get(dlid, 255))


def raised(before):
    """Events of PORT since @before, those that came."""
    now = events(PORT)
    return {name: now[name] - before[name] for name in now
            if now[name] != before[name]}


def test_lid(no_sm):
    """Host 2 takes over the LID of host 3, and what is sent there."""
    before, taken = events(PORT), lid(3)
    edit(2, "lid", taken)
    assert raised(before) == {"LID_CHANGE": 1}
    wait_until("ib_core has the new LID", lambda: lid(2) == taken)
    assert (port_dir(2) / "lid").read_text() == f"{taken}\n"
    set_lft(taken, switch_port(2))
    out = run("smpquery", "-C", "fab0", "nodeinfo", taken).stdout
    assert "0x02fab00000000201" in out.replace("0x2fab", "0x02fab")
    edit(2, "lid", hex(taken))
    assert raised(before) == {"LID_CHANGE": 1}


def test_prefix(no_sm):
    before = events(PORT)
    edit(2, "prefix", "0xfec0000000000001")
    try:
        assert raised(before) == {"GID_CHANGE": 1}
        wait_until("ib_core has the new GID", lambda: ib_port(
            2, "gids/0") == "fec0:0000:0000:0001:02fa:b000:0000:0201")
    finally:
        edit(2, "prefix", "0xfe80000000000000")
    assert raised(before) == {"GID_CHANGE": 2}


def test_guids(no_sm):
    before = events(PORT)
    edit(2, "guids", "3 0x0011223344556677")
    try:
        assert raised(before) == {"GID_CHANGE": 1}
        assert table(2, "guids")[3] == 0x0011223344556677
        wait_until("ib_core has the alias", lambda: ib_port(
            2, "gids/3").endswith("0011:2233:4455:6677"))
    finally:
        edit(2, "guids", "3 0")
    wait_until("the alias is gone",
               lambda: ib_port(2, "gids/3").endswith("0000:0000:0000:0000"))


def test_pkeys(no_sm):
    before = events(PORT)
    edit(2, "pkeys", "5 0x1234")
    assert raised(before) == {"PKEY_CHANGE": 1}
    assert table(2, "pkeys")[5] == 0x1234
    wait_until("ib_core has the key",
               lambda: ib_port(2, "pkeys/5") == "0x1234")
    out = run("smpquery", "-C", "fab0", "pkeys", lid(2)).stdout
    assert "0x1234" in out
    edit(2, "pkeys", "5 0x1234")
    assert raised(before) == {"PKEY_CHANGE": 1}


def test_a_new_opensm_puts_its_own_back(no_sm):
    """What it misses it puts where it finds room: a key that moves."""
    before = table(2, "pkeys")
    edit(2, "pkeys", "1 0x1234")
    run("lab-sm", "start")
    try:
        wait_until("its own keys are back",
                   lambda: set(table(2, "pkeys").values()) ==
                   set(before.values()))
        assert 1 not in table(2, "pkeys")
    finally:
        run("lab-sm", "stop")


@pytest.mark.core
@pytest.mark.parametrize("state", ["on", "off"])
def test_client_reregistration(state):
    """Without the capability a new OpenSM does not ask ports to register."""
    edit(2, "capmask", f"client_reregister {state}")
    try:
        assert f"client_reregister {state}\n" in \
            (port_dir(2) / "capmask").read_text()
        before = events(PORT), events("fab1/port1")
        run("lab-sm", "stop")
        run("lab-sm", "start")
        wait_until("port 1 was asked", lambda: events("fab1/port1")[
            "CLIENT_REREGISTER"] > before[1]["CLIENT_REREGISTER"])
        wait_until("all ports ACTIVE", all_active)
        assert ("CLIENT_REREGISTER" in raised(before[0])) == (state == "on")
    finally:
        edit(2, "capmask", "client_reregister on")


def test_capability_mask_as_a_number():
    before = int((port_dir(2) / "capmask").read_text().split()[0], 16)
    edit(2, "capmask", hex(before | 0x80))
    try:
        out = run("smpquery", "-C", "fab0", "portinfo", lid(2)).stdout
        assert f"CapMask:.........................{before | 0x80:#x}" in out
    finally:
        edit(2, "capmask", hex(before))


@pytest.mark.parametrize("name, text, error", [
    ("lid", "0xc000", errno.ERANGE),
    ("lid", "many", errno.EINVAL),
    ("prefix", "0x10000000000000000", errno.ERANGE),
    ("pkeys", "1", errno.EINVAL),
    ("pkeys", "100000 1", errno.ERANGE),
    ("pkeys", "1 0x10000", errno.ERANGE),
    ("guids", "8 1", errno.ERANGE),
    ("guids", "x 1", errno.EINVAL),
    ("capmask", "client_reregister maybe", errno.EINVAL),
    ("capmask", "0x100000000", errno.ERANGE),
])
def test_what_is_refused(name, text, error):
    path = FABRIC / PORT / name
    before = path.read_text()
    with pytest.raises(OSError) as caught:
        path.write_text(text)
    assert caught.value.errno == error
    assert path.read_text() == before
