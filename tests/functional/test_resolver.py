# SPDX-License-Identifier: GPL-2.0
"""Neighbours and paths: what they may cost, who shares them, how they end."""

import contextlib
import errno
import itertools
import re
import socket
import sys
import time

import pytest

from labkit import (FABRIC, HOSTS, PARAMETERS, SM_GUID, attr, credulous,
                    ethtool_stats, fault, has_carrier, hasty, ip4, ip6, lid,
                    link, link_up, on, parameters, ping, pinging, reregister,
                    set_sm_sl, switch_port, traced, wait_until, written)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("rings")]

SM = "fab0/port1"
PATH_RECORD = "class=3 method=0x81 attr=0x35"
CHILDREN = ("kid1", "kid2")
# as often an interface tells its neighbours that it has come up
ANNOUNCEMENTS = 3

# What may wait for one neighbour, and for all: Documentation/ib_ipoib.rst
NEIGHBOUR_BYTES = 64 << 10
ALL_BYTES = 4 << 20
SIZE = 2000
# The kernel's account of a packet of that size, which is what is bounded.
LEAST, MOST = SIZE, 4 * SIZE

SEND = """
import socket, sys, time
names, addresses = sys.argv[1].split(), sys.argv[2].split()
size, count, pause = int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
kind = sys.argv[6]
sockets = []
for name in names:
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    s.bind((name, int(kind, 16)))
    # what waits for a path counts as being sent, and would hold this up
    s.setsockopt(socket.SOL_SOCKET, 32, 1 << 29)
    sockets.append(s)
packets = [bytes.fromhex(ha + kind + "0000") + bytes(size) for ha in addresses]
for _ in range(count):
    for packet in packets:
        for s in sockets:
            s.send(packet)
    time.sleep(pause)
"""


def send(host, *addresses, names=("ib0",), size=SIZE, count=1, pause=0,
         kind="0800"):
    """Packets to hardware addresses, whether or not anybody has them.

    To each in turn by each interface, and that so many times.
    """
    on(host, sys.executable, "-c", SEND, " ".join(names), " ".join(addresses),
       size, count, pause, kind)


def address(host):
    """The address of a host's ib0, as send() takes it."""
    return link(host)["address"].replace(":", "")


def nobody(number, qpn=0x48):
    """An address of a GID that nobody has."""
    return f"{qpn:08x}fe80{0:012x}{0x02fab0fe00000000 + number:016x}"


def undisturbed():
    """An address of host 0, the subnet manager's, to which nobody else sends."""
    return f"00000048fe80{0:012x}{int(SM_GUID, 16):016x}"


class Growth:
    """By how much a host's counters grow."""

    def __init__(self, host, name="ib0"):
        self.host, self.name = host, name
        self.before = ethtool_stats(host, name)

    def __getitem__(self, counter):
        return ethtool_stats(self.host, self.name)[counter] - \
            self.before[counter]


@contextlib.contextmanager
def children(*hosts, names=CHILDREN, pkey="0x8001"):
    """Children of one key on hosts, with carrier."""
    every = [(host, name) for host in hosts for name in names]
    try:
        for host, name in every:
            on(host, "ip", "link", "add", "link", "ib0", "name", name, "type",
               "ipoib", "pkey", pkey)
            on(host, "ip", "link", "set", name, "up")
        for host, name in every:
            wait_until(f"carrier of {name}", lambda: has_carrier(host, name))
        yield
    finally:
        for host, name in every:
            on(host, "ip", "link", "del", name, check=False)


# --- What waits ---------------------------------------------------------------

def that_waited(addresses, each):
    """How many of so many packets to each address waited, not to be refused.

    A query does not time out before it is sent.
    """
    sent, growth = len(addresses) * each, Growth(1)
    with fault("fab1", "completions", "stall qp=gsi dir=send"):
        send(1, *addresses, count=each)
        assert growth["drop_tx_no_path"] == 0
    refused = growth["drop_tx_park_full"]
    wait_until("nobody waits", lambda: growth["drop_tx_no_path"] +
               growth["drop_tx_park_full"] >= sent)
    assert growth["drop_tx_park_full"] == refused
    assert growth["drop_tx_no_path"] == sent - refused
    return sent - refused


@pytest.mark.core
@pytest.mark.parametrize("neighbours, each, limit", [
    (1, 100, NEIGHBOUR_BYTES), (200, 12, ALL_BYTES)], ids=["one", "all"])
def test_what_waits_is_bounded(neighbours, each, limit):
    """All of it, and each that is refused, is counted; and then once more."""
    addresses = [nobody(1, qpn) for qpn in range(0x48, 0x48 + neighbours)]
    with fault(SM, "mad", f"drop {PATH_RECORD} every=1"):
        for _ in range(2):
            waited = that_waited(addresses, each)
            assert waited * LEAST <= limit <= waited * MOST


# As many GIDs without a path are remembered
UNRESOLVED = 100


def test_too_many_paths_with_all_queries_in_flight():
    """No path may be given up then; looking for one must end all the same."""
    # its path has to be known: no query gets a reply from here on
    ping(1, ip4(2))
    growth = Growth(1)
    try:
        with parameters(path_query_burst=4096, path_query_rate=10000,
                        path_max_unresolved=UNRESOLVED), fault("fab1", "completions", "stall qp=gsi dir=send"):
            send(1, *map(nobody, range(2000, 2000 + UNRESOLVED)), size=40)
            wait_until("all queries are in flight", lambda: growth[
                "path_queries"] >= UNRESOLVED, timeout=60)
            send(1, nobody(4000), size=40)
            wait_until("one more query is in flight", lambda: growth[
                "path_queries"] > UNRESOLVED)
            assert growth["drop_tx_park_full"] == 0
            ping(1, ip4(2))
    finally:
        # cancels the queries
        on(1, "ip", "link", "set", "ib0", "down")
        link_up(1)


def own(host, number):
    """An address of a host's GID with the number of another queue pair."""
    return f"{number:08x}" + address(host)[8:]


@pytest.mark.core
def test_neighbours_of_one_gid_evict_each_other():
    """So many are remembered, among them those that are in use."""
    ping(1, ip4(2))
    with parameters(neigh_max_per_gid=64), pinging(1, ip4(2), 0.01) as pinger:
        growth = Growth(1)
        send(1, *(own(2, 0x700000 + one) for one in range(500)), size=40)
        # a few may be of other GIDs
        assert growth["neigh_adds"] - growth["neigh_removes"] < 64 + 2 * HOSTS
        assert growth["neigh_adds"] >= 500
        assert growth["drop_tx_park_full"] == 0
    assert pinger.lost == 0


@pytest.mark.core
@pytest.mark.parametrize("kind", ["0800", "0806"], ids=["ip", "arp"])
def test_new_peer_does_not_wait_behind_a_flood(kind):
    """What is sent to it is worth a query before what came earlier."""
    on(1, "ip", "link", "set", "ib0", "down")
    link_up(1)
    try:
        with parameters(path_query_rate=1, path_query_burst=64), \
                traced("ipoib/ipoib_path") as lines:
            send(1, *map(nobody, range(7000, 7900)), size=40, kind=kind)
            send(1, undisturbed(), size=40)
            wait_until("its path", lambda: times(lines(), 0, FOUND))
    finally:
        on(1, "ip", "link", "set", "ib0", "down")
        link_up(1)


@pytest.mark.core
def test_pending_packets_of_a_flood_make_room_for_a_new_peer():
    """The oldest are dropped, not the newest."""
    on(1, "ip", "link", "set", "ib0", "down")
    link_up(1)
    try:
        with parameters(path_query_rate=1), \
                traced("ipoib/ipoib_path") as lines:
            growth = Growth(1)
            send(1, *map(nobody, range(10000, 12000)), size=SIZE)
            assert growth["drop_tx_park_full"] > 0
            send(1, undisturbed(), size=40)
            wait_until("its path", lambda: times(lines(), 0, FOUND))
    finally:
        on(1, "ip", "link", "set", "ib0", "down")
        link_up(1)


# --- How often is asked -------------------------------------------------------

@pytest.mark.core
def test_a_path_there_is_not_is_asked_for_ever_more_seldom():
    """250 ms, 500 ms, 1 s, each give or take, between one query and another."""
    growth = Growth(1)
    send(1, nobody(2), size=40, count=300, pause=0.01)
    assert 2 <= growth["path_queries"] <= 8
    assert growth["path_refusals"] <= growth["path_queries"]
    assert growth["drop_tx_no_path"] > 0


@pytest.mark.parametrize("name, values", [
    ("path_query_rate", (0, 10001)), ("path_query_burst", (0, 4097)),
    ("path_max_age", (0, 86401)), ("path_max_unresolved", (63, 32769)),
    ("neigh_max_per_gid", (63, 65537))])
def test_limits_of_the_parameters(name, values):
    path = PARAMETERS / name
    before = path.read_text()
    for value in values:
        assert written(path, str(value)) == errno.EINVAL
    assert path.read_text() == before


# a query, as it leaves; to count those that do, none is struck
PATH_QUERY = "class=3 method=0x1 attr=0x35"
RATE, BURST = 100, 64


@pytest.mark.core
def test_rate_of_queries_without_replies():
    """Those that are sent again are MADs like the others."""
    strangers = [nobody(number) for number in range(5000, 5120)]
    sends = 4 * RATE
    try:
        with fault(SM, "mad", f"drop {PATH_RECORD} every=1"), fault(
                "fab1/port1", "mad", f"drop {PATH_QUERY} nth=1000000") as sent:
            began = time.monotonic()
            wait_until("many have been sent", lambda: send(
                1, *strangers, size=40) or sent.seen >= sends)
            took = time.monotonic() - began
    finally:
        on(1, "ip", "link", "set", "ib0", "down")
        link_up(1)
    # slower on a machine that is busy, never faster
    assert took > 0.75 * (sends - BURST) / RATE


def asked(growths):
    """Queries that several interfaces sent, and answers they shared."""
    return tuple(sum(growth[counter] for growth in growths)
                 for counter in ("path_queries", "path_shared"))


@pytest.mark.core
@pytest.mark.needs("children")
def test_children_of_one_key_share_a_question():
    with children(1), fault(SM, "mad", f"delay=300 {PATH_RECORD} every=1"):
        growths = [Growth(1, name) for name in CHILDREN]
        send(1, address(3), names=CHILDREN, size=40)
        wait_until("both are told", lambda: all(
            growth["path_answers"] for growth in growths))
        assert asked(growths) == (1, 1)


@pytest.mark.core
@pytest.mark.needs("children")
def test_children_of_one_key_share_an_answer():
    with children(1):
        growths = [Growth(1, name) for name in CHILDREN]
        for name, growth in zip(CHILDREN, growths):
            send(1, address(4), names=[name], size=40)
            wait_until("it is told", lambda: growth["path_answers"])
        assert asked(growths) == (1, 1)


@pytest.mark.core
@pytest.mark.needs("children")
def test_an_answer_of_before_a_reregistration_is_not_shared():
    # another host than that of the test before, whose answer were shared
    with children(1):
        growths = [Growth(1, name) for name in CHILDREN]
        send(1, address(2), names=CHILDREN[:1], size=40)
        wait_until("it is told", lambda: growths[0]["path_answers"])
        reregister(1)
        wait_until("it is queried again", lambda: send(
            1, address(2), names=CHILDREN[:1], size=40) or
            sum(asked(growths)) > 1)
        assert asked(growths) == (2, 0)


# --- When is asked ------------------------------------------------------------

# enum ipoib_path_state: it works, and is to be asked for when it is next used;
# is to be asked for; others had been asked for too much
AGES, AGES_MORE, ASKED, PUT_OFF = "3->4", "4->4", "4->0", "1->0"
QUERIED = "0->1"
FRESH = "3"


def changes(lines):
    """(seconds, GID, change) of each state of a path of host 1."""
    pattern = rf" (\d+\.\d+): ipoib_path: ifindex={attr(1, 'ifindex')} " \
        r"gid=(\S+) state=(\S+)"
    return [(float(found.group(1)), found.group(2), found.group(3))
            for found in (re.search(pattern, line) for line in lines) if found]


def waits(lines):
    """How long each path was used before it was asked for anew."""
    since, found = {}, []
    for now, gid, change in changes(lines):
        if change in (AGES, AGES_MORE):
            since[gid] = now
        elif change == ASKED and gid in since:
            found.append(now - since.pop(gid))
    return found


def all_are_fresh(lines):
    """Has each path its answer?"""
    last = {gid: change[-1] for _, gid, change in changes(lines)}
    return set(last.values()) == {FRESH}


@pytest.mark.core
def test_after_a_change_of_the_subnet_manager_each_path_waits_its_own_time():
    """A cluster's queries would come all at once otherwise."""
    others = range(2, HOSTS + 1)
    for other in others:
        ping(1, ip4(other))
    with contextlib.ExitStack() as stack:
        lines = stack.enter_context(traced("ipoib/ipoib_path"))
        pingers = [stack.enter_context(pinging(1, ip4(other), 0.005))
                   for other in others]
        for level in (1, 0) * 3:
            before = len(waits(lines()))
            set_sm_sl(1, level)
            wait_until("each is asked for", lambda: len(
                waits(lines())) >= before + len(others))
            wait_until("each is answered", lambda: all_are_fresh(lines()))
        found = waits(lines())
    assert max(found) - min(found) > 0.1
    assert not any(pinger.lost for pinger in pingers)


@pytest.mark.core
@pytest.mark.needs("children")
def test_children_query_again_after_a_change_of_the_subnet_manager():
    """As their parent does; the HCA tells of it once for the port."""
    on(1, "ip", "link", "set", "ib0", "down")
    link_up(1)
    names = ("ib0", *CHILDREN)
    with children(1):
        growths = [Growth(1, name) for name in names]
        send(1, address(4), names=names, size=40)
        wait_until("each is told", lambda: all(
            growth["path_answers"] for growth in growths))
        for level in (1, 0):
            growths = [Growth(1, name) for name in names]
            set_sm_sl(1, level)
            for growth in growths:
                wait_until("the path is queried again", lambda one=growth: send(
                    1, address(4), names=names, size=40) or sum(
                        asked([one])))


def put_off(lines):
    """For how many jiffies each time, when too much had been asked."""
    found, worker = [], None
    for line in lines:
        if f" state={PUT_OFF} " in line:
            worker = line.split()[0]
        timeout = re.search(r"timer_start: .*function=delayed_work_timer_fn "
                            r".*\[timeout=(\d+)\]", line)
        if timeout and line.split()[0] == worker:
            found.append(int(timeout.group(1)))
            worker = None
    return found


def test_who_has_asked_too_much_asks_on_after_a_while_of_chance():
    """Hosts that were held back together do not come back in step."""
    strangers = [nobody(number) for number in range(1000, 1900)]
    try:
        with fault(SM, "mad", f"drop {PATH_RECORD} every=1"), \
                traced("ipoib/ipoib_path", "timer/timer_start") as lines:
            send(1, *strangers, size=40)
            wait_until("it has waited often",
                       lambda: len(put_off(lines())) >= 20)
            found = put_off(lines())
    finally:
        # those that were not asked for yet are forgotten
        on(1, "ip", "link", "set", "ib0", "down")
        link_up(1)
    assert max(found) > min(found)


def queries(lines, host):
    """How many queries for the path to a host were sent."""
    gid = f"02fa:b000:0000:{host:02x}01"
    return sum(name.endswith(gid) and change == QUERIED
               for _, name, change in changes(lines))


def other_sm_sl(host):
    """The subnet manager is reached by another service level, and back."""
    set_sm_sl(host, 1)
    set_sm_sl(host, 0)


@pytest.mark.core
@pytest.mark.needs("hitless")
@pytest.mark.parametrize("event", [reregister, other_sm_sl])
def test_event_while_a_query_is_in_flight(event):
    """The reply may be of before the event, so there is another query."""
    # what is known of this path by now is not shared
    other_sm_sl(1)
    on(1, "ip", "link", "set", "ib0", "down")
    link_up(1)
    with traced("ipoib/ipoib_path") as lines, \
            fault(SM, "mad", f"delay=900 {PATH_RECORD} every=1") as delay:
        growth = Growth(1)
        send(1, undisturbed(), size=40)
        wait_until("the reply is on its way", lambda: delay.hit)
        event(1)
        wait_until("a second query", lambda: queries(lines(), 0) >= 2)
        wait_until("its reply", lambda: all_are_fresh(lines()))
    # not answered with the reply to the first
    assert growth["path_shared"] == 0


# of queue pairs that nobody has
NUMBERS = itertools.count(0x600000)


def queried(host):
    """A path of host 1's is known, and not so new that its reply is shared."""
    send(1, address(host), size=40)
    with traced("ipoib/ipoib_path") as lines:
        # IPOIB_SA_FRESH_MS, as a new neighbour is not heard before that
        wait_until("a new neighbour is news", lambda: send(
            1, f"{next(NUMBERS):08x}" + address(host)[8:], size=40) or
            queries(lines(), host))
        # the last new neighbour may have come after the reply
        wait_until("its reply", lambda: send(1, address(host), size=40) or
                   all_are_fresh(lines()))


@pytest.mark.core
def test_path_is_queried_again_for_a_new_neighbour():
    """Its GID may have moved. Once, however many new neighbours there are."""
    ping(1, ip4(2))
    queried(2)
    with pinging(1, ip4(2), 0.01) as pinger:
        queried(2)
    assert pinger.lost == 0


PROBE = """
import socket, sys
ours, theirs, me, you = (bytes.fromhex(word) for word in sys.argv[1:5])
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
s.bind(("ib0", 0x0806))
for _ in range(int(sys.argv[5])):
    s.send(theirs + bytes.fromhex("08060000" "0020080014040001") + ours + me +
           bytes(20) + you)
"""


def probe(host, other, count):
    """ARP requests to the address that they are about."""
    on(host, sys.executable, "-c", PROBE, address(host), address(other),
       *(socket.inet_aton(ip4(one)).hex() for one in (host, other)), count)


@pytest.mark.core
def test_path_is_queried_again_when_a_probe_is_repeated():
    """One that has its reply is not repeated, and says nothing."""
    on(1, "ip", "neigh", "flush", "dev", "ib0")
    queried(3)
    with traced("ipoib/ipoib_path") as lines:
        probe(1, 3, 1)
        for _ in range(3):
            send(1, address(3), size=40)
        assert not any(AGES == change for _, _, change in changes(lines()))
        # the path has to be older than what is shared
        wait_until("it is queried", lambda: probe(1, 3, 2) or
                   queries(lines(), 3))
        # the last probe may have come after the reply
        wait_until("its reply", lambda: send(1, address(3), size=40) or
                   all_are_fresh(lines()))


@pytest.mark.core
def test_path_is_queried_again_at_its_maximum_age():
    with hasty(), parameters(path_max_age=1), \
            traced("ipoib/ipoib_path") as lines:
        # the next look is soon
        on(1, "ip", "link", "set", "ib0", "down")
        link_up(1)
        wait_until("an answer", lambda: ping(1, ip4(2), 1, check=False))
        with pinging(1, ip4(2), 0.01) as pinger:
            wait_until("two more queries", lambda: queries(lines(), 2) >= 3)
    assert pinger.lost == 0


# --- How a path ends ---------------------------------------------------------

# enum ipoib_path_state: its reply leaves an address handle that serves on, or
# none; a query for it is to be sent
FOUND, FAILED, GIVEN_UP = "2->3", "2->4", "2->5"
# what ib_sa takes for a reject, in what the subnet administrator says to host 1
TO_HOST = f"switch0/port{switch_port(1)}"
REJECT = "qp=gsi at=4 xor=0200"


def times(lines, host, change):
    """Seconds at which a path to a host changed so."""
    gid = f"02fa:b000:0000:{host:02x}01"
    return [now for now, name, found in changes(lines)
            if name.endswith(gid) and found == change]


def fails(lines, where, name, rule, count):
    """The path to host 2 is queried so often in vain, and then not."""
    before = len(times(lines(), 2, FAILED))
    with fault(where, name, rule):
        wait_until("it has failed", lambda: send(
            1, own(2, next(NUMBERS)), size=40) or len(times(
                lines(), 2, FAILED)) >= before + count)
    wait_until("its reply", lambda: send(1, address(2), size=40) or
               all_are_fresh(lines()))


@pytest.mark.core
def test_path_serves_on_through_rejects_without_an_event():
    """Where a subnet manager was the HCA rejects what it is sent."""
    queried(2)
    with traced("ipoib/ipoib_path") as lines, \
            pinging(1, ip4(2), 0.01) as pinger:
        fails(lines, TO_HOST, "corrupt", f"count=4 {REJECT}", 4)
        assert not times(lines(), 2, GIVEN_UP)
    assert pinger.lost == 0


def test_back_off_of_a_path_starts_again_after_a_reply():
    """The fourth failure in a row is followed by 2 s, the first by 250 ms."""
    queried(2)
    with traced("ipoib/ipoib_path") as lines, pinging(1, ip4(2), 0.01):
        for rule, count in (("every=1", 3), ("nth=1", 1)):
            fails(lines, "fab1", "verbs", f"create_ah {rule} errno=EINVAL",
                  count)
        failed = times(lines(), 2, FAILED)[-1]
        sent = next(now for now in times(lines(), 2, QUERIED) if now > failed)
    # less up to a quarter, and however slow the machine is
    assert sent - failed < 1.4


def handles(host, other):
    """How many address handles of a host's HCA lead to another host."""
    text = (FABRIC / f"fab{host}" / "ahs").read_text()
    return len(re.findall(rf"dlid {lid(other)} ", text))


@pytest.mark.needs("children")
def test_path_is_of_the_partition():
    """Limited members of one have none to each other, whatever they share."""
    with children(2, names=["kid"], pkey="0x8003"):
        growth = Growth(2, "kid")
        for host, counter in ((3, "path_answers"), (4, "path_refusals")):
            send(2, address(host), names=["kid"], size=40)
            wait_until(counter, lambda name=counter: growth[name])
        assert growth["path_answers"] == 1


@pytest.mark.core
def test_address_handle_of_a_path_that_is_given_up():
    """Three rejects in a row after an event, and it is destroyed."""
    queried(2)
    assert handles(1, 2)
    with traced("ipoib/ipoib_path") as lines, \
            fault(TO_HOST, "corrupt", f"every=1 {REJECT}"):
        other_sm_sl(1)
        wait_until("it is given up", lambda: send(
            1, own(2, next(NUMBERS)), size=40) or times(lines(), 2, GIVEN_UP))
        wait_until("its handle is gone", lambda: not handles(1, 2))
    wait_until("an answer", lambda: ping(1, ip4(2), 1, check=False))


def test_change_of_the_subnet_manager_ends_the_back_off():
    """What it did not know it may know now."""
    gid, number = "02fa:b0fe:0000:0bb8", 3000
    def at(change):
        return [now for now, name, found in changes(lines())
                if name.endswith(gid) and found == change]
    with traced("ipoib/ipoib_path") as lines:
        wait_until("the fifth reject", lambda: send(
            1, nobody(number), size=40) or len(at(GIVEN_UP)) >= 5)
        rejected = at(GIVEN_UP)[-1]
        set_sm_sl(1, 1)
        try:
            wait_until("one more query", lambda: send(
                1, nobody(number), size=40) or at(QUERIED)[-1] > rejected)
        finally:
            set_sm_sl(1, 0)
        # in back-off it were 3 s at least
        assert at(QUERIED)[-1] - rejected < 2.5


# --- What the stack believes --------------------------------------------------

def colons(words):
    """A hardware address as `ip` takes it."""
    return bytes.fromhex(words).hex(":")


def believe(host, of, ha, state):
    """Tell a host where an address is."""
    on(host, "ip", "neigh", "replace", of, "lladdr", colons(ha), "dev", "ib0",
       "nud", state)


def believed(host, of):
    """What a host has for an address."""
    return on(host, "ip", "neigh", "show", of).stdout


@contextlib.contextmanager
def quiet_about(host, of):
    """A host has no need to ask for an address, and so to show its own."""
    believe(host, of, address(1), "permanent")
    try:
        yield
    finally:
        on(host, "ip", "neigh", "del", of, "dev", "ib0")


@pytest.mark.core
@pytest.mark.parametrize("family", [ip4, ip6])
def test_a_neighbour_whose_gid_nobody_has_is_asked_where_it_is(family):
    """As after its GID has changed, when word of that was lost."""
    wait_until("it has said where it is", lambda: ethtool_stats(2)[
        "announcements"] >= ANNOUNCEMENTS)
    with credulous(1), quiet_about(2, family(1)):
        believe(1, family(2), nobody(3), "reachable")
        wait_until("it answers", lambda: ping(1, family(2), 1, "-W", 1,
                                              check=False))
        assert colons(address(2)) in believed(1, family(2))


@pytest.mark.core
def test_what_an_administrator_has_written_down_stands():
    with credulous(1):
        believe(1, ip4(2), nobody(4), "permanent")
        growth = Growth(1)
        assert not ping(1, ip4(2), 3, "-W", 1, check=False)
        assert growth["path_refusals"]
        assert colons(nobody(4)) in believed(1, ip4(2))
        on(1, "ip", "neigh", "del", ip4(2), "dev", "ib0")
    ping(1, ip4(2))


# --- Who is a neighbour -------------------------------------------------------

@pytest.mark.core
def test_all_twenty_bytes_make_a_neighbour():
    """To the GID of all of them there is one path."""
    ping(1, ip4(2))
    growth = Growth(1)
    send(1, *(start + address(2)[8:] for start in
              ("000007a1", "800007a1", "000007a2")), size=40, count=2)
    assert growth["neigh_adds"] == 3
    # that there are new ones may be news of the path, too
    assert growth["path_queries"] <= 1


@pytest.mark.core
@pytest.mark.needs("children")
def test_who_is_idle_is_forgotten_and_who_is_used_is_not():
    name = CHILDREN[0]
    with hasty(), children(1, 2, names=[name]):
        for host in (1, 2):
            on(host, "ip", "addr", "add", f"10.77.0.{host}/24", "dev", name)
        wait_until("it answers", lambda: ping(1, "10.77.0.2", 1, check=False))
        with pinging(1, "10.77.0.2", 0.05) as pinger:
            growth = Growth(1, name)
            send(1, address(3), names=[name], size=40)
            wait_until("one is forgotten", lambda: growth["neigh_removes"])
        assert pinger.lost == 0
        assert growth["neigh_adds"] == growth["neigh_removes"] == 1
