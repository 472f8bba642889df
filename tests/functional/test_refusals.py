# SPDX-License-Identifier: GPL-2.0
"""A subnet administrator that is slow, starts up or says no, and a link that
works meanwhile: what is in use is kept until it is clear that it is lost."""

import contextlib
import errno
import re

import pytest

from groupkit import member, send
from labkit import (attr, ethtool_stats, fault, ib_port, ip4, link, mentions,
                    on, opensm_held, ping, pinging, port_dir, reregister,
                    set_master, switch_port, traced, wait_until)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("hitless")]

# Subnet administration: the answer to a Get or Set of these attributes
PATH_RECORD = "class=3 method=0x81 attr=0x35"
MEMBER_RECORD = "class=3 method=0x81 attr=0x38"
# Each answer is of a status that ib_sa takes for a no
NO = "every=1 qp=gsi at=4 xor=0200"


@pytest.fixture(autouse=True)
def acquainted():
    """Hosts 1 and 2 know each other."""
    for host, other in ((1, 2), (2, 1)):
        wait_until("an answer", lambda a=host, b=other:
                   ping(a, ip4(b), 1, check=False), timeout=60)


def answers_to(host):
    """Where what the subnet administrator tells a host passes by."""
    return f"switch0/port{switch_port(host)}"


def carrier_changes(host):
    return int(attr(host, "carrier_changes"))


def groups(host):
    """Groups that a host's queue pairs receive."""
    return set(re.findall(r"^mgid (\S+)",
                          (port_dir(host) / "groups").read_text(), re.M))


class BroadcastJoins:
    """How joins of the broadcast group end."""

    name = "mgid=ff12:401b:ffff:0000:0000:0000:ffff:ffff"

    def __init__(self, lines):
        self.lines = lines

    # as the driver numbers what can happen to a group

    def granted(self):
        return mentions(self.lines(), f"{self.name} event=1 ")

    def failed(self):
        return mentions(self.lines(), f"{self.name} event=2 ")

    def attached(self):
        return mentions(self.lines(), f"{self.name} event=3 ")

    def without_handle(self):
        """Seconds at which what was granted could not be sent to."""
        return [float(re.search(r" (\d+\.\d+): ", line).group(1))
                for line in self.lines() if f"{self.name} event=9 " in line]


class PathQueries:
    """How queries for the path to a host end."""

    def __init__(self, lines, host):
        self.lines = lines
        self.name = f"gid=fe80:0000:0000:0000:02fa:b000:0000:{host:02x}01"

    # as the driver numbers the states of a path

    def _ended(self, code):
        wanted = f"{self.name} state=1->2 status={-code}"
        return [line for line in self.lines() if f"{wanted} " in f"{line} "]

    def ended(self, code):
        return len(self._ended(code))

    def times(self, code):
        """Seconds at which they ended so."""
        return [float(re.search(r" (\d+\.\d+): ", line).group(1))
                for line in self._ended(code)]

    def given_up(self):
        return mentions(self.lines(), f"{self.name} state=2->5 ")


@contextlib.contextmanager
def path_queries(host):
    """How queries for the path to a host end from now on."""
    with traced("ipoib/ipoib_path") as lines:
        yield PathQueries(lines, host)


@contextlib.contextmanager
def silent(host, record):
    """Nothing of a kind is answered to a host, until it is closed."""
    with contextlib.ExitStack() as silence:
        silence.enter_context(fault(answers_to(host), "mad",
                                    f"drop {record} every=1"))
        yield silence


@pytest.mark.long
def test_a_refusal_after_time_outs_leaves_the_carrier():
    """Two joins without an answer, one that is refused: a no is not three."""
    changes = carrier_changes(2)
    with pinging(1, ip4(2)) as pinger, \
            traced("ipoib/ipoib_mcast") as lines:
        joins = BroadcastJoins(lines)
        with silent(2, MEMBER_RECORD) as silence:
            reregister(2)
            wait_until("two joins had no answer",
                       lambda: joins.failed() >= 2, timeout=60)
            with fault(answers_to(2), "corrupt", NO):
                silence.close()
                wait_until("one was refused", lambda: joins.failed() >= 3,
                           timeout=60)
        wait_until("it is granted", lambda: joins.granted(), timeout=60)
    assert pinger.sent > 100
    assert pinger.lost == 0
    assert carrier_changes(2) == changes


def test_a_refusal_after_time_outs_leaves_the_path():
    with pinging(1, ip4(2)) as pinger, path_queries(2) as queries:
        with silent(1, PATH_RECORD) as silence:
            reregister(1)
            wait_until("two queries had no answer",
                       lambda: queries.ended(errno.ETIMEDOUT) >= 2, timeout=60)
            with fault(answers_to(1), "corrupt", NO):
                silence.close()
                wait_until("one was refused",
                           lambda: queries.ended(errno.EINVAL), timeout=60)
        wait_until("it is found", lambda: queries.ended(0), timeout=60)
    assert pinger.sent > 100
    assert pinger.lost == queries.given_up() == 0


def test_a_path_is_kept_where_no_address_handle_can_be_made():
    """That is no word of the subnet administrator's, however often it is."""
    grants = ethtool_stats(1)["join_grants"] + len(groups(1))
    with pinging(1, ip4(2)) as pinger, path_queries(2) as queries:
        with silent(1, PATH_RECORD) as silence:
            reregister(1)
            # groups have address handles of their own
            wait_until("groups are joined anew", lambda: ethtool_stats(1)[
                "join_grants"] >= grants, timeout=60)
            with fault("fab1", "verbs", "create_ah every=1 errno=EINVAL"):
                silence.close()
                wait_until("it was tried thrice", lambda: queries.ended(0) >= 3,
                           timeout=60)
        wait_until("it is found", lambda: queries.ended(0) >= 4, timeout=60)
    assert pinger.sent > 100
    assert pinger.lost == queries.given_up() == 0


@contextlib.contextmanager
def masterless(host):
    """A port does not know of a subnet manager, until it is closed."""
    master = int(ib_port(host, "sm_lid"), 16)
    with opensm_held():
        set_master(host, 0)
        try:
            yield
        finally:
            set_master(host, master)


def is_at_leisure(times, least):
    """After many attempts, did the last two take so long, and twice as long?"""
    return len(times) > 50 and times[-2] - times[-3] > least and \
        times[-1] - times[-2] > 2 * least


def test_a_path_is_not_asked_for_ever_while_no_subnet_manager_is_known():
    """It serves on; asked for often at first, and then at leisure."""
    with pinging(1, ip4(2)) as pinger, path_queries(2) as queries:
        with masterless(1):
            # IPOIB_PATH_FIRST_MS, and up to a quarter less
            wait_until("it is asked for at leisure", lambda: is_at_leisure(
                queries.times(errno.EAGAIN), 0.15))
        wait_until("it is found", lambda: queries.ended(0))
    assert pinger.sent > 100
    assert pinger.lost == queries.given_up() == 0


@pytest.fixture
def stranger():
    """Number of a host that is none, whose address host 1 has all the same."""
    number = 0x99
    address = link(2)["address"].split(":")[:18] + [f"{number:02x}", "01"]
    on(1, "ip", "neigh", "replace", ip4(number), "lladdr", ":".join(address),
       "dev", "ib0", "nud", "permanent")
    yield number
    on(1, "ip", "neigh", "del", ip4(number), "dev", "ib0")


def test_packets_do_not_wait_for_ever_while_no_subnet_manager_is_known(stranger):
    with path_queries(stranger) as queries, masterless(1):
        before = ethtool_stats(1)["drop_tx_no_path"]
        assert not ping(1, ip4(stranger), 1, check=False)
        wait_until("it is given up", lambda: ethtool_stats(1)[
            "drop_tx_no_path"] > before)
        assert queries.ended(errno.EAGAIN) > 50
    wait_until("an answer", lambda: ping(1, ip4(2), 1, check=False))


@contextlib.contextmanager
def renewed_without_handles(host, errno_name):
    """A host's groups are granted anew, but it cannot make address handles."""
    with contextlib.ExitStack() as silence:
        unheard = silence.enter_context(fault(
            answers_to(host), "mad", f"drop {MEMBER_RECORD} every=1"))
        reregister(host)
        # ib_sa has its own handle by then
        wait_until("a group is granted", lambda: unheard.hit)
        with fault(f"fab{host}", "verbs",
                   f"create_ah every=1 errno={errno_name}"):
            silence.close()
            yield


def hears(listener, source):
    """Does a member hear all that a host sends now?"""
    before = listener.count()
    send(source, HEARD, 20)
    wait_until("all is heard", lambda: listener.count() == before + 20)


HEARD = "239.6.4.110"


@pytest.mark.core
def test_groups_are_kept_where_no_address_handle_can_be_made():
    """What is granted is not given up, and what served before serves on."""
    with member(1, HEARD) as one, member(2, HEARD) as two:
        for host, listener in ((1, two), (2, one)):
            wait_until("the other hears", lambda h=host, m=listener:
                       send(h, HEARD) or m.count())
        changes, received = carrier_changes(1), groups(1)
        with pinging(1, ip4(2)) as pinger, \
                traced("ipoib/ipoib_mcast") as lines:
            joins = BroadcastJoins(lines)
            with renewed_without_handles(1, "ENOMEM"):
                wait_until("it was tried thrice",
                           lambda: len(joins.without_handle()) >= 3)
                hears(two, 1)
                hears(one, 2)
                assert groups(1) == received
            wait_until("it is in force", joins.attached)
        hears(two, 1)
        hears(one, 2)
        assert groups(1) == received
    assert pinger.sent > 100
    assert pinger.lost == 0
    assert carrier_changes(1) == changes


@pytest.mark.long
def test_an_hca_that_is_busy_is_not_asked_for_ever():
    """Soon again at first, as where a subnet manager's address is not known;
    then at leisure."""
    changes = carrier_changes(1)
    with traced("ipoib/ipoib_mcast") as lines:
        joins = BroadcastJoins(lines)
        with renewed_without_handles(1, "EAGAIN"):
            # IPOIB_JOIN_FIRST_MS, and up to a quarter less
            wait_until("it is tried at leisure", lambda: is_at_leisure(
                joins.without_handle(), 0.3))
        wait_until("it is in force", joins.attached)
    assert carrier_changes(1) == changes
