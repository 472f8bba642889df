# SPDX-License-Identifier: GPL-2.0
"""Management datagrams that are wrong get the status the specification says.

IBA 13.4.7: what is wrong, as the status tells it; 14.2.5 and 16.1.3: what an
attribute and its modifier may be.
"""

import struct

import pytest

import umad
from labkit import (FABRIC, SLOW, counters, inject, lid, switch_port,
                    wait_until, without_opensm)

pytestmark = pytest.mark.fabric

OK, VERSION, METHOD, COMBINATION, FIELD = 0, 1 << 2, 2 << 2, 3 << 2, 7 << 2
NODE_DESC, NODE_INFO, SWITCH_INFO, GUID_INFO = 0x10, 0x11, 0x12, 0x14
PORT_INFO, PKEYS, LFT, MFT = 0x15, 0x16, 0x19, 0x1b
CLASS_PORT_INFO, COUNTERS = 0x01, 0x12
UNKNOWN = 0x3f
# What the HCA does not answer, and the kernel reports after this long
SILENCE_MS = 200 * SLOW

SWITCH = (1,)
HCA = (1, switch_port(2))
WHERE = {"switch": SWITCH, "hca": HCA}


@pytest.fixture(name="ask")
def subnet_agent():
    """Send a subnet management packet along a path; the answer."""
    agent = umad.Agent("fab0", umad.DIRECTED)

    def ask(path, method, attribute, modifier=0, data=b"", **more):
        return agent.ask(umad.smp(method, attribute, modifier, data, path,
                                  **more), timeout_ms=SILENCE_MS)
    yield ask
    agent.close()


@pytest.fixture(autouse=True, scope="module")
def no_sm():
    """Nobody else asks; afterwards all is as a subnet manager wants it."""
    with without_opensm():
        yield


def data(packet):
    return packet[umad.DATA:umad.DATA + 64]


@pytest.mark.core
@pytest.mark.parametrize("who", WHERE)
@pytest.mark.parametrize("method, attribute, modifier, more, said", [
    (umad.GET, NODE_INFO, 0, {}, OK),
    (umad.GET, NODE_INFO, 0, {"version": 2}, VERSION),
    (umad.GET, NODE_INFO, 0, {"version": 0}, VERSION),
    (0x12, NODE_INFO, 0, {}, METHOD),
    (0x15, PORT_INFO, 0, {}, METHOD),
    (umad.SET, NODE_INFO, 0, {}, COMBINATION),
    (umad.SET, NODE_DESC, 0, {}, COMBINATION),
    (umad.GET, UNKNOWN, 0, {}, COMBINATION),
    (umad.SET, UNKNOWN, 0, {}, COMBINATION),
    (umad.GET, NODE_INFO, 1, {}, FIELD),
    (umad.GET, NODE_DESC, 1, {}, FIELD),
    (umad.GET, GUID_INFO, 1, {}, FIELD),
    (umad.SET, GUID_INFO, 1, {}, FIELD),
    (umad.GET, PORT_INFO, 200, {}, FIELD),
    (umad.SET, PORT_INFO, 200, {}, FIELD),
    (umad.GET, PKEYS, 4096, {}, FIELD),
    (umad.SET, PKEYS, 1, {}, FIELD),
])
def test_what_both_kinds_of_node_say(ask, who, method, attribute, modifier,
                                     more, said):
    answer = ask(WHERE[who], method, attribute, modifier, **more)
    assert umad.status(answer) == said
    assert answer[3] == umad.GET_RESP


@pytest.mark.parametrize("attribute, modifier, said", [
    (SWITCH_INFO, 0, OK), (SWITCH_INFO, 1, FIELD),
    (PKEYS, 1 << 16, FIELD),
    (LFT, 767, OK), (LFT, 768, FIELD), (LFT, 0xffffffff, FIELD),
    (MFT, 127, OK), (MFT, 128, FIELD), (MFT, 1 << 28, FIELD),
    (MFT, 15 << 28, FIELD),
])
@pytest.mark.parametrize("method", [umad.GET, umad.SET])
def test_tables_of_a_switch_end(ask, method, attribute, modifier,
                                said):
    sent = b"\xff" * 64
    if said == OK:
        sent = data(ask(SWITCH, umad.GET, attribute, modifier))
    tables = [(FABRIC / "switch0" / name).read_text()
              for name in ("lft", "mft")]
    assert umad.status(ask(SWITCH, method, attribute, modifier, sent)) == said
    assert tables == [(FABRIC / "switch0" / name).read_text()
                      for name in ("lft", "mft")]


@pytest.mark.parametrize("attribute", [SWITCH_INFO, LFT, MFT])
@pytest.mark.parametrize("method", [umad.GET, umad.SET])
def test_an_hca_has_none_of_them(ask, method, attribute):
    assert umad.status(ask(HCA, method, attribute)) == COMBINATION


def test_last_port_of_each(ask):
    ports = data(ask(SWITCH, umad.GET, NODE_INFO))[3]
    for path, last in ((SWITCH, ports), (HCA, 1)):
        assert umad.status(ask(path, umad.GET, PORT_INFO, last)) == OK
        assert umad.status(ask(path, umad.GET, PORT_INFO, last + 1)) == FIELD


def test_forwarding_ends_with_the_table(ask):
    info = bytearray(data(ask(SWITCH, umad.GET, SWITCH_INFO)))
    info[6:8] = b"\xc0\x00"
    assert umad.status(ask(SWITCH, umad.SET, SWITCH_INFO, 0, info)) == FIELD


# --- Set(PortInfo) ----------------------------------------------------------

# Offsets in PortInfo
MKEY, LID, SM_LID, LEASE, WIDTH, STATE = 0, 16, 18, 26, 29, 32
PHYS, PROT_LMC, SPEED, MTU_SL, VLS = 33, 34, 35, 36, 43
MKEY_VIOLATIONS = 44
NO_CHANGE, DOWN, INIT, ARMED, ACTIVE = range(5)


def as_is(info):
    """PortInfo that sets nothing new."""
    same = bytearray(info)
    same[STATE] &= 0xf0
    same[PHYS] &= 0x0f
    return same


def high(offset, value):
    return lambda info: info.__setitem__(
        offset, info[offset] & 0x0f | value << 4)


def low(offset, value):
    return lambda info: info.__setitem__(offset, info[offset] & 0xf0 | value)


def whole(offset, *values):
    return lambda info: info.__setitem__(
        slice(offset, offset + len(values)), bytes(values))


def both(*changes):
    return lambda info: [change(info) for change in changes]


BAD_SETS = {
    "init": low(STATE, INIT),
    "armed from active": low(STATE, ARMED),
    "reserved state": low(STATE, 5),
    "sleep": high(PHYS, 1),
    "training": high(PHYS, 4),
    "polling and active": both(high(PHYS, 2), low(STATE, ACTIVE)),
    "down to reserved": low(PHYS, 3),
    "multicast LID": whole(LID, 0xc0, 0),
    "multicast LID of the SM": whole(SM_LID, 0xc0, 0),
    "width 8X": whole(WIDTH, 4),
    "speed reserved": low(SPEED, 8),
    "MTU beyond the cap": high(MTU_SL, 6),
    "VLs beyond the cap": high(VLS, 2),
}


@pytest.mark.parametrize("name", BAD_SETS)
def test_port_info_that_no_port_takes(ask, name):
    before = data(ask(HCA, umad.GET, PORT_INFO))
    wanted = as_is(before)
    BAD_SETS[name](wanted)
    answer = ask(HCA, umad.SET, PORT_INFO, 0, wanted)
    assert umad.status(answer) == FIELD
    assert data(answer) == before
    assert data(ask(HCA, umad.GET, PORT_INFO)) == before


def test_port_info_of_no_change(ask):
    before = data(ask(HCA, umad.GET, PORT_INFO))
    answer = ask(HCA, umad.SET, PORT_INFO, 0, as_is(before))
    assert umad.status(answer) == OK
    assert data(answer) == before


def test_states_go_up_one_at_a_time(ask):
    def enter(state, path=HCA, port=0):
        info = as_is(data(ask(path, umad.GET, PORT_INFO, port)))
        info[STATE] |= state
        return umad.status(ask(path, umad.SET, PORT_INFO, port, info))

    assert enter(DOWN) == OK
    assert [enter(state) for state in (ACTIVE, INIT)] == [FIELD, FIELD]
    assert [enter(state) for state in (ARMED, INIT)] == [OK, FIELD]
    assert [enter(state) for state in (ACTIVE, ARMED)] == [OK, FIELD]
    # The other end of the cable went down, too.
    assert [enter(state, SWITCH, switch_port(2))
            for state in (ACTIVE, ARMED, ACTIVE)] == [FIELD, OK, OK]


# --- M_Key ------------------------------------------------------------------

SECRET = 0x1122334455667788


@pytest.fixture(name="locked")
def locked_port(ask):
    """Give HCA 2 an M_Key: lock(protection, lease in seconds)."""
    def lock(protection, lease=0):
        info = as_is(data(ask(HCA, umad.GET, PORT_INFO)))
        whole(MKEY, *SECRET.to_bytes(8, "big"))(info)
        whole(LEASE, *lease.to_bytes(2, "big"))(info)
        info[PROT_LMC] = protection << 6
        whole(MKEY_VIOLATIONS, 0, 0)(info)
        assert umad.status(ask(HCA, umad.SET, PORT_INFO, 0, info)) == OK
    yield lock
    info = as_is(data(ask(HCA, umad.GET, PORT_INFO, mkey=SECRET)))
    info[MKEY:LID] = bytes(16)
    info[LID:LID + 2] = lid(2).to_bytes(2, "big")
    info[8:16] = bytes.fromhex("fe80000000000000")
    info[PROT_LMC] = 0
    info[LEASE:LEASE + 2] = bytes(2)
    ask(HCA, umad.SET, PORT_INFO, 0, info, mkey=SECRET)


def mkey_of(packet):
    return int.from_bytes(data(packet)[:8], "big")


@pytest.mark.parametrize("protection, shown", [(0, SECRET), (1, 0)])
def test_mkey_guards_writing_and_what_it_is(ask, locked, protection, shown):
    """Below level 2 anybody reads, from 1 on not the key itself."""
    locked(protection)
    answer = ask(HCA, umad.GET, PORT_INFO)
    assert (umad.status(answer), mkey_of(answer)) == (OK, shown)
    assert mkey_of(ask(HCA, umad.GET, PORT_INFO, mkey=SECRET)) == SECRET
    assert ask(HCA, umad.SET, PORT_INFO, 0, as_is(data(answer))) is None
    violations = data(ask(HCA, umad.GET, PORT_INFO))[
        MKEY_VIOLATIONS:MKEY_VIOLATIONS + 2]
    assert violations == b"\0\1"


@pytest.mark.parametrize("protection", [2, 3])
def test_mkey_guards_reading(ask, locked, protection):
    locked(protection)
    assert ask(HCA, umad.GET, NODE_INFO) is None
    assert ask(HCA, umad.GET, PORT_INFO, mkey=SECRET + 1) is None
    answer = ask(HCA, umad.GET, PORT_INFO, mkey=SECRET)
    assert mkey_of(answer) == SECRET
    violations = data(answer)[MKEY_VIOLATIONS:MKEY_VIOLATIONS + 2]
    assert violations == b"\0\2"


def test_mkey_lease_ends(ask, locked):
    """A lease begins with who does not know the key, not before."""
    locked(3, lease=1)
    assert ask(HCA, umad.GET, NODE_INFO) is None
    answer = wait_until("anybody may read",
                        lambda: ask(HCA, umad.GET, PORT_INFO))
    assert mkey_of(answer) == SECRET


# --- What gets no answer ----------------------------------------------------

def directed(method, **more):
    """As it leaves the HCA, for injection."""
    return umad.smp(method, NODE_INFO, path=SWITCH, hop_ptr=1, **more)


@pytest.mark.parametrize("packet", [
    directed(umad.GET_RESP), directed(0x05), directed(0x07), directed(0x03),
    directed(0x83), directed(umad.GET, cls=0x03),
], ids=["answer", "trap", "repress", "send", "unknown answer", "class"])
def test_a_switch_answers_requests_alone(packet):
    before = counters(), counters("fab0/port1")
    inject(0, packet, dlid=umad.PERMISSIVE, qpn=0, qkey=0)
    wait_until("it was dropped", lambda: counters()["dropped_bad_smp"] >
               before[0]["dropped_bad_smp"])
    wait_until("nothing in flight", lambda: counters()["in_flight"] == 0)
    assert counters()["dropped_bad_smp"] == before[0]["dropped_bad_smp"] + 1


def test_a_switch_says_it_knows_no_other_base_version():
    before = counters("fab0/port1")
    inject(0, directed(umad.GET, base=2), dlid=umad.PERMISSIVE, qpn=0, qkey=0)
    wait_until("an answer came", lambda: counters("fab0/port1")["delivered"] ==
               before["delivered"] + 1)


# --- General services -------------------------------------------------------

def switch_lid(ask):
    info = data(ask(SWITCH, umad.GET, PORT_INFO))
    return struct.unpack_from(">H", info, LID)[0]


@pytest.mark.parametrize("who", WHERE)
@pytest.mark.parametrize("method, attribute, modifier, more, said", [
    (umad.GET, CLASS_PORT_INFO, 0, {}, OK),
    (umad.SET, CLASS_PORT_INFO, 0, {}, COMBINATION),
    (umad.GET, COUNTERS, 0, {}, OK),
    (umad.GET, COUNTERS, 0, {"version": 2}, VERSION),
    (0x15, COUNTERS, 0, {}, METHOD),
    (umad.GET, UNKNOWN, 0, {}, COMBINATION),
    (umad.GET, COUNTERS, 1, {}, FIELD),
    (umad.GET, COUNTERS, 0, {"port": 200}, FIELD),
    (umad.SET, COUNTERS, 0, {"port": 200}, FIELD),
])
def test_performance_manager(ask, who, method, attribute, modifier, more,
                             said):
    """Port select is the second byte of all counters' attributes."""
    more = dict(more)
    payload = bytes(40) + bytes([0, more.pop("port", 1)])
    agent = umad.Agent("fab0", umad.PERFORMANCE)
    try:
        answer = agent.ask(umad.gmp(umad.PERFORMANCE, method, attribute,
                                    modifier, payload, **more),
                           lid(2) if who == "hca" else switch_lid(ask))
    finally:
        agent.close()
    assert umad.status(answer) == said
