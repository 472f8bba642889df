# SPDX-License-Identifier: GPL-2.0
"""Each fault of the fabric, crossed with what an interface may be doing.

Afterwards the host answers, or link_reason says why not; no report; and what
is sent is delivered or counted as dropped.
"""

import contextlib

import pytest

from labkit import (FABRIC, attr, counters, fault, has_carrier, interface_names,
                    ip4, ip6, on, ping, reason, run, set_link, start_on,
                    wait_until)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("reason"),
              pytest.mark.long]

HCA, PORT, SM = "fab2", "fab2/port1", "fab0/port1"
VERBS = ("query_port", "query_pkey", "create_ah", "create_cq", "modify_cq",
         "create_qp", "modify_qp", "query_qp", "post_send", "post_recv",
         "attach_mcast", "alloc_pd")
FAULTS = [
    *[(HCA, "verbs", f"{verb} nth=1") for verb in VERBS],
    *[(HCA, "verbs", f"{verb} every=3") for verb in ("post_send", "post_recv",
                                                     "create_ah")],
    *[(HCA, "completions", text) for text in (
        "stall dir=send", "stall dir=recv", "delay_us=20000",
        "status=LOC_PROT_ERR nth=3 dir=send", "status=LOC_LEN_ERR nth=3 "
        "dir=recv", "overflow nth=2 dir=recv", "overflow nth=2 dir=send")],
    *[(PORT, name, text) for name, text in (
        ("loss", "every=3"), ("corrupt", "every=4"), ("duplicate", "every=2"),
        ("delay", "every=1 us=20000"), ("reorder", "every=3"),
        ("corrupt", "every=2 qp=ud at=0 xor=ffff"))],
    *[(SM, "mad", f"{what} class=3 method=0x81 attr={attribute}")
      for what in ("drop count=3", "delay=300 every=1")
      for attribute in ("0x35", "0x38")],
    (SM, "corrupt", "count=3 qp=gsi at=4 xor=0200"),
]


def traffic():
    """Both ways, to a neighbour that may have to be found."""
    on(1, "ip", "neigh", "flush", "dev", "ib0")
    for host, other in ((1, 2), (2, 1)):
        ping(host, ip4(other), 20, "-W", 1, check=False)


def opening():
    on(2, "ip", "link", "set", "ib0", "up", check=False)
    wait_until("it is up, or says why", lambda: has_carrier(2) or
               reason(2) != "up")


def closing():
    on(2, "ip", "link", "set", "ib0", "down", timeout=60)


def a_child():
    on(2, "ip", "link", "add", "link", "ib0", "name", "kid", "type", "ipoib",
       "pkey", "0x8001", check=False)
    on(2, "ip", "link", "set", "kid", "up", check=False)


DEEDS = {"idle": lambda: None, "traffic": traffic, "opening": opening,
         "closing": closing, "child": a_child}


@pytest.fixture(autouse=True)
def mended():
    """Up and answering, whatever a fault has left."""
    yield
    for name in interface_names(2) - {"lo", "ib0"}:
        on(2, "ip", "link", "del", name, check=False)
    on(2, "ip", "link", "set", "ib0", "up", check=False)
    wait_until("carrier", lambda: has_carrier(2) or on(
        2, "ip", "link", "set", "ib0", "up", check=False) and False,
        timeout=90)
    on(2, "ip", "addr", "replace", f"{ip6(2)}/64", "dev", "ib0", "nodad")
    wait_until("an answer", lambda: ping(1, ip4(2), 1, "-W", 1, check=False),
               timeout=60)


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("where, name, text", FAULTS,
                         ids=[f"{name}-{text.replace(' ', '_')}"
                              for _, name, text in FAULTS])
def test_a_fault_during_a_deed(where, name, text, deed):
    if deed == "opening":
        on(2, "ip", "link", "set", "ib0", "down")
    with fault(where, name, text):
        DEEDS[deed]()
    if deed == "closing":
        assert attr(2, "link_reason") == "admin-down"
        return
    wait_until("it answers, or says why not", lambda: ping(
        1, ip4(2), 1, "-W", 1, check=False) or reason(2) != "up", timeout=60)
    wait_until("nothing is in flight",
               lambda: counters()["in_flight"] == 0, timeout=60)


@pytest.mark.parametrize("deed", ["traffic", "child"])
def test_a_cable_that_is_pulled_during_a_deed(deed):
    flood = start_on(2, "ping", "-q", "-f", ip4(1))
    try:
        set_link(2, "down")
        with contextlib.suppress(AssertionError):
            DEEDS[deed]()
    finally:
        set_link(2, "up")
        flood.kill()
        flood.wait()
    assert (FABRIC / "fab2").is_dir()
    assert run("lab-sm", "status").returncode == 0
