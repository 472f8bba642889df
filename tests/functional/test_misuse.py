# SPDX-License-Identifier: GPL-2.0
"""Who breaks the rules of verbs gets a real HCA's answer, and is named once."""

import errno
import os

import pytest

from labkit import (FABRIC, all_active, counters, kernel_log, lid, misuse, plug,
                    run, wait_until)

pytestmark = pytest.mark.fabric

MODULE = f"{os.environ.get('LAB_MODULES', '.')}/fabric_misuse.ko"
HERE = "fab1/port1"

# enum ib_wc_status; -1 where nothing completes
NONE, SUCCESS, LOC_LEN_ERR, LOC_PROT_ERR, FLUSHED = -1, 0, 1, 4, 5
# enum ib_qp_state
RESET, INIT, RTS, SQE, ERR = 0, 1, 3, 5, 6
GRH = 40

REFUSED = {"errno": errno.EINVAL, "send_status": NONE, "recv_status": NONE}
RULES = {
    "send_state": (dict(REFUSED, state=INIT),
                   "a send was posted to a QP that is not ready to send"),
    "recv_state": (dict(REFUSED, state=RESET),
                   "a receive was posted to a QP in RESET"),
    "send_sge": (REFUSED, "a send has more SGEs than its QP allows"),
    "recv_sge": (REFUSED, "a receive has more SGEs than its QP allows"),
    "foreign_ah": (REFUSED,
                   "a send names an address handle of another PD or port"),
    "opcode": (REFUSED, "a datagram QP was given an operation it has not"),
    "send_huge": (REFUSED, "a send is longer than its QP allows"),
    "recv_huge": (REFUSED, "a receive is longer than its QP allows"),
    "send_full": ({"errno": errno.ENOMEM, "send_status": SUCCESS,
                   "state": RTS}, "a send was posted to a ring that is full"),
    "recv_full": ({"errno": errno.ENOMEM, "recv_status": NONE, "state": RTS},
                  "a receive was posted to a ring that is full"),
    "busy_ah": ({"errno": errno.EBUSY, "send_status": SUCCESS,
                 "recv_status": SUCCESS},
                "an address handle was destroyed under a posted send"),
    "send_lkey": ({"errno": 0, "send_status": LOC_PROT_ERR,
                   "recv_status": NONE, "state": SQE},
                  "a send request has a key of no memory region"),
    "recv_lkey": ({"errno": 0, "send_status": SUCCESS,
                   "recv_status": LOC_PROT_ERR, "state": ERR},
                  "a receive has a key of no memory region"),
    "send_mtu": ({"errno": 0, "send_status": LOC_LEN_ERR,
                  "recv_status": NONE, "state": SQE},
                 "a datagram is longer than its port's MTU"),
    "recv_short": ({"errno": 0, "send_status": SUCCESS, "recv_status": NONE,
                    "state": RTS},
                   "a posted receive had no room for a GRH and the packet"),
    # the queue and the queue pair tell of it
    "cq_full": ({"errno": 0, "send_status": SUCCESS, "state": ERR,
                 "events": 2}, "a completion queue overflowed"),
}
# What is allowed, or too common to be named
QUIET = {
    "nothing": {"errno": 0, "send_status": SUCCESS, "recv_status": SUCCESS,
                "bytes": GRH + 64, "state": RTS, "events": 0, "handled": 1},
    "send_zero": {"errno": 0, "send_status": SUCCESS, "recv_status": SUCCESS,
                  "bytes": GRH, "state": RTS},
    "send_zero_sge": {"errno": 0, "send_status": SUCCESS,
                      "recv_status": SUCCESS, "bytes": GRH, "state": RTS},
    "modify_pkey": dict(REFUSED),
    # Nothing is left of what was not polled before the RESET.
    "reset": {"errno": 0, "stale": 0, "send_status": SUCCESS,
              "recv_status": SUCCESS, "bytes": GRH + 64, "state": RTS},
}


@pytest.fixture(autouse=True, scope="module")
def new_card():
    """An HCA that has named nothing yet, and who misuses it."""
    wait_until("all ports ACTIVE", all_active)
    run("insmod", MODULE)
    plug(1, "0")
    plug(1)
    wait_until("all ports ACTIVE", all_active, timeout=60)
    yield
    run("rmmod", "fabric_misuse")


def assert_result(result, expected):
    assert {key: result[key] for key in expected} == expected


@pytest.mark.core
@pytest.mark.parametrize("name", RULES)
def test_breach_fails_and_is_named_once(name):
    expected, said = RULES[name]
    with kernel_log() as log:
        assert_result(misuse(name), expected)
        told = [line for line in log.lines() if "fab1:" in line]
        assert [line.rpartition("fab1: ")[2] for line in told] == [said]
        assert_result(misuse(name), expected)
        assert not [line for line in log.lines() if "fab1:" in line]


@pytest.mark.parametrize("name", QUIET)
def test_no_breach_is_not_named(name):
    with kernel_log() as log:
        assert_result(misuse(name), QUIET[name])
        assert not [line for line in log.lines() if "fab1:" in line]


def test_path_bits_beyond_the_lmc():
    """They are not part of the source LID."""
    assert misuse("path_bits")["slid"] == lid(1)


def test_inline_data_beyond_the_limit():
    assert_result(misuse("inline"), REFUSED)


@pytest.mark.parametrize("name, cause", [
    ("recv_short", "too_long"), ("recv_lkey", "recv_error"),
    ("cq_full", None), ("recv_full", None)])
def test_packets_are_accounted_for(name, cause):
    before = counters(HERE)
    misuse(name)
    wait_until("nothing in flight", lambda: counters()["in_flight"] == 0)
    if cause:
        grown = counters(HERE)[f"dropped_{cause}"]
        assert grown - before[f"dropped_{cause}"] == 1


def test_nothing_is_left_behind():
    """As many queue pairs as a card has that nobody uses."""
    lines = (FABRIC / "fab1/qps").read_text().splitlines()
    assert len(lines) == 2
