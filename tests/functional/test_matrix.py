# SPDX-License-Identifier: GPL-2.0
"""Each fault of the fabric, crossed with what an interface may be doing.

Afterwards the host answers, or link_reason says why not; no report; and what
is sent is delivered or counted as dropped. Each fault strikes in one deed at
least, or it would show nothing.
"""

import collections
import contextlib
import os
import re
import threading

import pytest

from labkit import (FABRIC, HEALING, HOSTS, attr, completion_queues, edit,
                    fabric_balances, fault, has_carrier, healers,
                    interface_names, ip4, ip6, is_plugged, lid, on, ping, plug,
                    port_dir, queue_pairs, reason, run, set_link, spray,
                    sums_agree, table, traced, wait_until)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("reason"),
              pytest.mark.long, pytest.mark.apart("matrix")]

HCA, PORT, SM = "fab2", "fab2/port1", "fab0/port1"
VERBS = ("query_port", "query_pkey", "query_gid", "create_ah", "create_cq",
         "create_qp", "modify_qp", "query_qp", "post_send",
         "post_recv", "attach_mcast", "alloc_pd")
LEFT_OUT = {
    "get_dma_mr": "asked for where an HCA has no local_lkey: test_shapes.py",
    "modify_cq": "asked for by ethtool -C alone: test_hca_faults.py",
    "req_notify_cq": "management arms by it, too, and has no way out",
    "detach_mcast": "the queue pair is kept for good: test_kept.py",
}


# --- Faults ------------------------------------------------------------------

class Rule:
    """A line of a file in faults/; how often it struck by its own account."""

    def __init__(self, where, name, text):
        self.where, self.name, self.text = where, name, text
        self.hit = 0

    def __str__(self):
        port = "" if self.where in (HCA, PORT) else "sm-"
        return f"{port}{self.name}-{self.text}".replace(" ", "_")

    @contextlib.contextmanager
    def strikes(self):
        with fault(self.where, self.name, self.text) as struck:
            yield
            self.hit += struck.hit


class Holding(Rule):
    """What holds completions back does not count them; the queues tell."""

    @contextlib.contextmanager
    def strikes(self):
        over = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(over,))
        with fault(self.where, self.name, self.text):
            watcher.start()
            try:
                yield
            finally:
                over.set()
                watcher.join()

    def _watch(self, over):
        while not over.wait(0.005):
            self.hit += any(queue["held"] for queue in completion_queues(2))


class Edit:
    """Something set by hand and set back; it struck if it could be seen."""

    def __init__(self, name, do, undo, look):
        self.name, self.do, self.undo, self.look = name, do, undo, look
        self.hit = 0

    def __str__(self):
        return self.name

    @contextlib.contextmanager
    def strikes(self):
        before = self.look()
        try:
            self.do()
            self.hit += self.look() != before
            yield
        finally:
            self.undo(before)


class Unplugging(Edit):
    """While the deed goes on, not before."""


def file_of(name):
    return lambda: (port_dir(2) / name).read_text()


def in_slot():
    return is_plugged(2)


def back_in_its_slot(_):
    if not in_slot():
        plug(2)
    run("lab-hosts", "adopt", 2)


def first_pair():
    return min((qpn for qpn, pair in queue_pairs(2).items()
                if qpn > 1 and pair["state"] == "RTS"), default=0)


def pair_states():
    return {qpn: pair["state"] for qpn, pair in queue_pairs(2).items()}


def move_pair(state):
    """An interface that is down has none that works."""
    if first_pair():
        (FABRIC / "fab2/qp_state").write_text(f"{first_pair():#x} {state}")


def entry(name, index):
    return lambda: table(2, name).get(index, 0)


def put(name, value):
    return lambda *_: edit(2, name, value)


def put_back(name, index):
    return lambda before: edit(2, name, f"{index} {before:#x}")


EDITS = [
    *[Unplugging(f"plugged-{how}", lambda how=how: plug(2, how),
                 back_in_its_slot, in_slot) for how in ("0", "surprise")],
    *[Edit(f"qp_state-{state}", lambda state=state: move_pair(state),
           lambda _: None, pair_states) for state in ("sqe", "err")],
    Edit("link", lambda: set_link(2, "down"), lambda _: set_link(2, "up"),
         lambda: (port_dir(2) / "link").read_text()),
    Edit("lid", lambda: edit(2, "lid", lid(2) + 40),
         lambda before: edit(2, "lid", before), lambda: lid(2)),
    Edit("prefix", put("prefix", "0xfec0000000000000"),
         put("prefix", "0xfe80000000000000"), file_of("prefix")),
    Edit("pkeys-none", put("pkeys", "0 0"), put_back("pkeys", 0),
         entry("pkeys", 0)),
    Edit("pkeys-other", put("pkeys", "0 0x8055"), put_back("pkeys", 0),
         entry("pkeys", 0)),
    Edit("guids", put("guids", "0 0x02fab0ff00000201"), put_back("guids", 0),
         entry("guids", 0)),
    Edit("capmask", put("capmask", "client_reregister off"),
         put("capmask", "client_reregister on"), file_of("capmask")),
]
RULES = [
    *[(HCA, "verbs", f"{verb} nth=1") for verb in VERBS],
    *[(HCA, "verbs", f"{verb} every=3") for verb in ("post_send", "post_recv",
                                                     "create_ah")],
    *[(HCA, "completions", text) for text in (
        "status=LOC_PROT_ERR nth=3 dir=send", "status=LOC_LEN_ERR nth=3 "
        "dir=recv", "overflow nth=2 dir=recv", "overflow nth=2 dir=send")],
    *[(PORT, name, text) for name, text in (
        ("loss", "every=3"), ("corrupt", "every=4"), ("duplicate", "every=2"),
        ("delay", "every=1 us=20000"), ("reorder", "every=3"),
        ("loss", "prob=0.3"), ("corrupt", "prob=0.3"),
        ("duplicate", "prob=0.5"), ("reorder", "prob=0.3 by=3"),
        ("corrupt", "every=2 qp=ud at=0 xor=ffff"),
        ("rx_csum", "bad every=2"))],
    *[(SM, "mad", f"{what} class=3 method=0x81 attr={attribute}")
      for what in ("drop count=3", "delay=300 every=1")
      for attribute in ("0x35", "0x38")],
    (SM, "corrupt", "count=3 qp=gsi at=4 xor=0200"),
]
HELD = [Holding(HCA, "completions", text) for text in (
    "stall dir=send", "stall dir=recv", "delay_us=20000")]
FAULTS = [Rule(*words) for words in RULES] + HELD + EDITS
# the HCA vouches for sums in another lab only
VOUCHED = Rule(PORT, "rx_csum", "none every=2")


# --- Deeds -------------------------------------------------------------------

def heal_round():
    """Until each interface has looked what has become of its queues."""
    with traced(HEALING) as lines:
        wait_until("a round of healing",
                   lambda: len(set(healers(lines()))) >= HOSTS)


def idle():
    """Nothing of its own: the port is looked at, from both sides."""
    run("lab-sm", "resweep")
    if not in_slot():
        return
    free = max(table(2, "pkeys")) + 1
    for name, index in (("pkeys", free), ("guids", 7)):
        edit(2, name, f"{index} 0x8066")
        edit(2, name, f"{index} 0")
    if first_pair():
        heal_round()


def traffic():
    """Both ways, to a neighbour that may have to be found."""
    on(1, "ip", "neigh", "flush", "dev", "ib0")
    for host, other in ((1, 2), (2, 1)):
        ping(host, ip4(other), 10, "-W", 1, check=False)
        spray(host, ip4(other))


def opening():
    on(2, "ip", "link", "set", "ib0", "up", check=False)
    wait_until("it is up, or says why", lambda: has_carrier(2) or
               reason(2) != "up")
    ping(2, ip4(1), 3, "-W", 1, check=False)


def closing():
    on(2, "ip", "link", "set", "ib0", "down", timeout=60)


def a_child():
    """It is there and works, or tells why not; or it could not be made."""
    made = on(2, "ip", "link", "add", "link", "ib0", "name", "kid", "type",
              "ipoib", "pkey", "0x8001", check=False)
    if made.returncode:
        assert made.stderr
        return
    done = on(2, "ip", "link", "set", "kid", "up", check=False)
    assert done.stderr or not done.returncode
    wait_until("it has a carrier, or says why not", lambda: has_carrier(
        2, "kid") or reason(2, "kid") != "up")
    on(2, "ip", "link", "del", "kid", timeout=60)
    assert "kid" not in interface_names(2)


DEEDS = {"idle": idle, "traffic": traffic, "opening": opening,
         "closing": closing, "child": a_child}
TRIED = collections.defaultdict(set)


def answers():
    return ping(1, ip4(2), 1, "-W", 1, check=False)


def has_no_way():
    """ib_core asks for the way to the subnet manager once when something
    changes, and no more when a fault has kept it from that."""
    return "status=-11 " in attr(2, "link_reason")


def come_up():
    """Whatever has it down; the cable is pulled only where ib_core needs it."""
    def carrier():
        return has_carrier(2) or on(2, "ip", "link", "set", "ib0", "up",
                                    check=False) and False

    wait_until("carrier, or no way to the subnet manager",
               lambda: carrier() or has_no_way(), timeout=90)
    if not has_carrier(2):
        set_link(2, "down")
        set_link(2, "up")
        wait_until("carrier", carrier, timeout=90)


@pytest.fixture(autouse=True)
def mended():
    """Up and answering, whatever a fault has left, and each packet counted."""
    yield
    for name in interface_names(2) - {"lo", "ib0"}:
        on(2, "ip", "link", "del", name, check=False)
    assert interface_names(2) == {"lo", "ib0"}
    come_up()
    on(2, "ip", "addr", "replace", f"{ip6(2)}/64", "dev", "ib0", "nodad")
    wait_until("an answer", answers, timeout=60)
    wait_until("sent is delivered or dropped", fabric_balances, timeout=60)
    wait_until("counters agree", lambda: sums_agree(1) and sums_agree(2))


def under(one, deed):
    """A deed while a fault strikes."""
    if not isinstance(one, Unplugging):
        with one.strikes():
            DEEDS[deed]()
        return

    def act():
        # what it talks of goes away meanwhile
        with contextlib.suppress(AssertionError, OSError, ValueError):
            DEEDS[deed]()

    thread = threading.Thread(target=act)
    thread.start()
    with one.strikes():
        thread.join()


def cross(one, deed):
    TRIED[one].add(deed)
    if deed == "opening":
        on(2, "ip", "link", "set", "ib0", "down")
    under(one, deed)
    if deed == "closing" and not isinstance(one, Unplugging):
        assert attr(2, "link_reason") == "admin-down"
        return
    wait_until("it answers, or says why not",
               lambda: answers() or reason(2) != "up", timeout=60)


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("one", FAULTS, ids=str)
def test_a_fault_during_a_deed(one, deed):
    cross(one, deed)


@pytest.mark.lab(hca="csum=on")
@pytest.mark.parametrize("deed", DEEDS)
def test_sums_that_nobody_vouches_for(deed):
    cross(VOUCHED, deed)


@pytest.mark.lab()
@pytest.mark.lab(hca="csum=on")
def test_each_fault_has_struck():
    """Of those that were tried in each deed."""
    idle_ones = [str(one) for one, deeds in TRIED.items()
                 if deeds == set(DEEDS) and not one.hit]
    print(*(f"{one}: {one.hit}" for one in TRIED), sep="\n")
    assert not idle_ones


def test_no_knob_is_left_out():
    """What the fabric has is in the table, or has a reason not to be."""
    text = "\n".join([str(one) for one in (*FAULTS, VOUCHED)])
    files = [*os.listdir(FABRIC / HCA / "faults"),
             *os.listdir(FABRIC / PORT / "faults"),
             "qp_state", "plugged", "link", "lid", "prefix", "pkeys", "guids",
             "capmask"]
    assert not [name for name in files if f"{name}-" not in text + "\n" and
                not re.search(rf"^{name}$", text, re.M)]
    assert not [verb for verb in LEFT_OUT if f"-{verb}_" in text]
