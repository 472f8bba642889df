# SPDX-License-Identifier: GPL-2.0
"""Two subnet managers: one is the master, one stands by."""

import contextlib
import os
import pathlib
import re
import signal

import pytest

from groupkit import member, memberships, send
from labkit import (BROADCAST, HOSTS, attr, edit, group_mlid, ib_port, ip4, lid,
                    mft, on, ping, run, set_link, switch_port, wait_until)

pytestmark = pytest.mark.lab(sm=2)

# HCAs of the first and of the second manager
FIRST, SECOND = 0, HOSTS + 1
# the lab's is some seconds; OpenSM's own would be forty
TAKEOVER = 20


def states():
    """What each manager says it is, by its number."""
    lines = run("lab-sm", "status").stdout.splitlines()
    return [line.split()[2] for line in lines]


def sminfo(hca):
    """(priority, state) that the manager on an HCA answers when asked."""
    out = run("sminfo", "-C", f"fab{hca}", "-D", 0).stdout
    found = re.search(r"priority (\d+) state \d SMINFO_(\w+)", out)
    return int(found.group(1)), found.group(2)


def managers_hca():
    """The HCA whose LID every host's port names as the manager's."""
    lids = {int(ib_port(host, "sm_lid"), 16) for host in range(1, HOSTS + 1)}
    for hca in (FIRST, SECOND):
        if lids == {lid(hca)}:
            return hca
    return None


def wait_served_by(hca):
    """Hosts follow the new master, and reach each other through it alone."""
    wait_until(f"hosts name fab{hca}", lambda: managers_hca() == hca,
               timeout=TAKEOVER)
    ports = {switch_port(host) for host in range(1, HOSTS + 1)}
    wait_until("hosts are members again",
               lambda: ports <= mft().get(group_mlid(BROADCAST), set()))
    for host in range(1, HOSTS + 1):
        on(host, "ip", "neigh", "flush", "dev", "ib0")
    run("lab-hosts")


@pytest.fixture
def with_driver():
    """The first manager is the master again when the test is over."""
    yield
    if states()[0] == "stopped":
        run("lab-sm", "start")
    wait_until("back to the start", lambda: states() == ["MASTER", "STANDBY"])
    wait_served_by(FIRST)


@pytest.mark.fabric
def test_the_second_manager_stands_by():
    assert states() == ["MASTER", "STANDBY"]
    first, second = sminfo(FIRST), sminfo(SECOND)
    assert (first[1], second[1]) == ("MASTER", "STANDBY")
    assert first[0] > second[0]
    assert managers_hca() == FIRST


@pytest.mark.fabric
def test_each_manager_has_files_of_its_own():
    first = pathlib.Path(os.environ["LAB_SM_CONF"])
    second = pathlib.Path(os.environ["LAB_SM_CONF"] + "2")
    for number, folder in (("1", first), ("2", second)):
        conf = (folder / "opensm.conf").read_text()
        assert str(folder) + "/opensm.log" in conf
        assert (folder / "opensm.log").read_text().strip() == \
            run("lab-sm", "log", number).stdout.strip()
    assert (first / "partitions.conf").read_text() == \
        (second / "partitions.conf").read_text()


@pytest.mark.fabric
def test_a_standby_does_not_sweep():
    done = run("lab-sm", "resweep", 2, check=False)
    assert done.returncode == 1
    assert "STANDBY" in done.stderr
    run("lab-sm", "resweep", 1)


@pytest.mark.needs("netdev")
def test_a_stopped_master_is_succeeded_and_comes_back(with_driver):
    run("lab-sm", "stop")
    wait_until("the second is master",
               lambda: states() == ["stopped", "MASTER"], timeout=TAKEOVER)
    assert sminfo(SECOND)[1] == "MASTER"
    wait_served_by(SECOND)
    # A higher priority than the master's: it is handed over.
    run("lab-sm", "start", 1)
    assert states() == ["MASTER", "STANDBY"]
    assert sminfo(SECOND)[1] == "STANDBY"
    wait_served_by(FIRST)


@pytest.mark.needs("netdev")
def test_a_killed_master_is_succeeded(with_driver):
    conf = pathlib.Path(os.environ["LAB_SM_CONF"])
    os.kill(int((conf / "pid").read_text()), signal.SIGKILL)
    wait_until("the second is master",
               lambda: states() == ["stopped", "MASTER"], timeout=TAKEOVER)
    wait_served_by(SECOND)


@pytest.mark.needs("netdev")
def test_a_standby_that_stops_is_not_missed(with_driver):
    run("lab-sm", "stop", 2)
    assert states() == ["MASTER", "stopped"]
    run("lab-hosts")
    run("lab-sm", "start", 2)
    assert states() == ["MASTER", "STANDBY"]
    assert managers_hca() == FIRST


@contextlib.contextmanager
def asked_by_nobody():
    """OpenSM takes the hosts for ports that know no client reregistration."""
    hosts = range(1, HOSTS + 1)
    try:
        for host in hosts:
            edit(host, "capmask", "client_reregister off")
        yield
    finally:
        for host in hosts:
            edit(host, "capmask", "client_reregister on")


@contextlib.contextmanager
def first_manager_cut_off():
    """The second is the master of all others meanwhile."""
    set_link(FIRST, "down")
    try:
        wait_until("hosts name the second", lambda: managers_hca() == SECOND,
                   timeout=TAKEOVER)
        yield
    finally:
        set_link(FIRST, "up")


def everybody_answers():
    """Also those who nobody knows: ARP goes by the broadcast group."""
    for host in range(1, HOSTS + 1):
        on(host, "ip", "neigh", "flush", "dev", "ib0")
    for host in range(2, HOSTS + 1):
        wait_until(f"host {host} answers", lambda one=host: ping(
            1, ip4(one), 1, "-W", 1, check=False))
        wait_until(f"host {host} is answered", lambda one=host: ping(
            one, ip4(1), 1, "-W", 1, check=False))


@pytest.mark.needs("netdev")
@pytest.mark.needs("hitless")
def test_memberships_at_a_manager_that_asks_for_none(with_driver):
    """It knows nobody, and its tables say so."""
    before = [attr(host, "carrier_changes") for host in (1, 2)]
    with member(2, "239.8.7.6") as listener, asked_by_nobody():
        def is_heard():
            heard = listener.count()
            wait_until("host 2 hears host 1", lambda: send(
                1, "239.8.7.6") or listener.count() > heard)

        is_heard()
        with first_manager_cut_off():
            everybody_answers()
            is_heard()
        wait_until("hosts name the first", lambda: managers_hca() == FIRST,
                   timeout=60)
        everybody_answers()
        is_heard()
        # one way to be a member is left
        wait_until("all are full members", lambda: all(
            state in (1, 8) for _, _, state in memberships()))
    assert [attr(host, "carrier_changes") for host in (1, 2)] == before
