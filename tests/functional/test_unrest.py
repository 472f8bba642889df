# SPDX-License-Identifier: GPL-2.0
"""Many deeds and faults at once, at random, under traffic.

What crosses two at a time is test_matrix.py; this is for what takes three. A
seed says which ones and in which order, though not how they meet. LAB_SEED and
LAB_SECONDS ask for one run, as long as wanted.
"""

import collections
import contextlib
import os
import random
import subprocess
import sys
import threading
import time

import pytest

from groupkit import TOOL
from labkit import (FABRIC, HOSTS, LabError, edit, fabric_balances, fault,
                    has_carrier, interface_names, ip4, ip6, is_plugged, lid,
                    on, ping, plug, queue_pairs, reason, reregister, run,
                    set_link, spray, start_on, sums_agree, table, wait_until)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("reason"),
              pytest.mark.long, pytest.mark.apart("unrest")]

SEEDS = [int(word) for word in os.environ.get("LAB_SEED", "1 2 3").split()]
SECONDS = float(os.environ.get("LAB_SECONDS", "30"))
# nothing that a user asks for may take longer, whatever else goes on
PATIENCE = 60
HOST, HCA = 2, "fab2"


def ask(*cmd):
    """What a user says; it may be refused, but it ends."""
    return on(HOST, *cmd, check=False, timeout=PATIENCE)


def put(path, text):
    """What a user writes to a file, which may not be there now."""
    return ask("sh", "-c", f"echo {text} > /sys/class/net/{path}")


# --- What users do ------------------------------------------------------------

def up_and_down(dice):
    ask("ip", "link", "set", "ib0", dice.choice(["down", "up", "up"]))


def queues(dice):
    ask("ethtool", "-L", "ib0", "tx", dice.randint(1, 8))


def rings(dice):
    ask("ethtool", "-G", "ib0", "tx", dice.choice([128, 256, 512]), "rx",
        dice.choice([64, 128, 512]))


def offloads(dice):
    ask("ethtool", "-K", "ib0", dice.choice(["tx", "tso", "rx", "gro", "sg"]),
        dice.choice(["on", "off"]))


def moderation(dice):
    ask("ethtool", "-C", "ib0", "rx-usecs", dice.choice([0, 16, 200]),
        "rx-frames", dice.choice([1, 16]))


def mtu(dice):
    ask("ip", "link", "set", "ib0", "mtu", dice.choice([68, 1280, 2044, 4092]))


def broadcast(dice):
    scope = dice.choice("25")
    ask("ip", "link", "set", "ib0", "broadcast",
        f"00:ff:ff:ff:ff:1{scope}:40:1b:ff:ff:00:00:00:00:00:00:ff:ff:ff:ff")


def umcast(dice):
    put("ib0/umcast", dice.randint(0, 1))


def kid(dice):
    """A child, in either way, up or down or gone."""
    key = dice.choice(["0x8001", "0x8055", "0x7fff"])
    dice.choice([
        lambda: ask("ip", "link", "add", "link", "ib0", "name",
                    f"kid{dice.randint(0, 3)}", "type", "ipoib", "pkey", key),
        lambda: put("ib0/create_child", key),
        lambda: put("ib0/delete_child", key),
        lambda: ask("ip", "link", "set", f"kid{dice.randint(0, 3)}",
                    dice.choice(["up", "down"])),
        lambda: ask("ip", "link", "del", f"kid{dice.randint(0, 3)}")])()


def neighbours(_):
    ask("ip", "neigh", "flush", "dev", "ib0")


def groups(dice):
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            member = start_on(HOST, sys.executable, TOOL, "recv",
                              f"239.7.0.{dice.randint(1, 20)}", 6100,
                              "/dev/null")
            stack.callback(member.wait)
            stack.callback(member.kill)
        time.sleep(dice.random())


def look(dice):
    """All there is to be read."""
    for command in dice.sample([
            ["ethtool", "-S", "ib0"], ["ip", "-s", "-d", "link"],
            ["sh", "-c", "cat /sys/class/net/ib*/* 2>&1"],
            ["ethtool", "ib0"], ["ethtool", "-i", "ib0"]], 2):
        ask(*command)
    run("sh", "-c", "cat /sys/kernel/debug/ipoib/* 2>&1", check=False)


DEEDS = (up_and_down, queues, rings, offloads, moderation, mtu, broadcast,
         umcast, kid, kid, neighbours, groups, look)


# --- What befalls them --------------------------------------------------------

def cable(dice):
    set_link(HOST, "down")
    time.sleep(dice.random() / 4)
    set_link(HOST, "up")


def other_lid(_):
    edit(HOST, "lid", lid(HOST) + 40)


def keys(dice):
    edit(HOST, "pkeys", f"1 {dice.choice(['0x8001', '0x8055', '0'])}")
    if dice.random() < 0.2:
        first = table(HOST, "pkeys")[0]
        edit(HOST, "pkeys", "0 0")
        time.sleep(dice.random() / 4)
        edit(HOST, "pkeys", f"0 {first:#x}")


def prefix(_):
    edit(HOST, "prefix", "0xfec0000000000000")
    edit(HOST, "prefix", "0xfe80000000000000")


def register_anew(_):
    reregister(HOST)


def manager(dice):
    run("lab-sm", *dice.choice([["resweep"], ["restart"]]))


def pair(dice):
    working = [qpn for qpn, one in queue_pairs(HOST).items()
               if qpn > 1 and one["state"] == "RTS"]
    if working:
        (FABRIC / HCA / "qp_state").write_text(
            f"{dice.choice(working):#x} {dice.choice(['sqe', 'err'])}")


def verbs(dice):
    verb = dice.choice(["create_ah", "modify_qp", "post_send", "post_recv",
                        "create_qp", "create_cq", "query_qp", "query_port",
                        "attach_mcast", "query_gid", "query_pkey"])
    with fault(HCA, "verbs", f"{verb} every={dice.randint(2, 5)}"):
        time.sleep(dice.random())


def completions(dice):
    text = dice.choice(["stall dir=send", "stall dir=recv", "delay_us=20000",
                        "overflow nth=3 dir=send", "overflow nth=3 dir=recv",
                        "status=LOC_PROT_ERR nth=3 dir=send"])
    with fault(HCA, "completions", text):
        time.sleep(dice.random())


def wire(dice):
    name, text = dice.choice([("loss", "every=3"), ("corrupt", "every=4"),
                              ("duplicate", "every=2"), ("reorder", "every=3"),
                              ("delay", "every=1 us=20000")])
    with fault(f"{HCA}/port1", name, text):
        time.sleep(dice.random())


def silence(dice):
    attribute = dice.choice(["0x35", "0x38"])
    with fault("fab0/port1", "mad", f"{dice.choice(['drop', 'delay=300'])} "
               f"class=3 method=0x81 attr={attribute} every=1"):
        time.sleep(dice.random() * 2)


FAULTS = (cable, other_lid, keys, prefix, register_anew, manager, pair, pair,
          verbs, verbs, completions, wire, silence)


# --- Traffic ------------------------------------------------------------------

def traffic(dice):
    one, other = dice.choice([(1, HOST), (HOST, 1), (HOST, 3)])
    if dice.random() < 0.5:
        ping(one, ip4(other), 5, "-W", 1, check=False)
    else:
        with contextlib.suppress(AssertionError):
            spray(one, ip4(other))


# --- Together -----------------------------------------------------------------

def endless(choice, dice):
    """All of them, and again, each time in another order."""
    while True:
        yield from dice.sample(choice, len(choice))


class Unrest:
    """Threads that each do one thing after another until they are stopped."""

    def __init__(self):
        self.over = threading.Event()
        self.threads, self.failures = [], []
        self.done = collections.Counter()

    def begin(self, choice, dice):
        thread = threading.Thread(target=self._go_on, args=(choice, dice))
        self.threads.append(thread)
        thread.start()

    def _go_on(self, choice, dice):
        for deed in endless(choice, dice):
            if self.over.is_set():
                return
            try:
                deed(dice)
                self.done[deed.__name__] += 1
            except (AssertionError, OSError, ValueError, LookupError, TypeError):
                # what it talked of went away meanwhile
                pass
            except subprocess.TimeoutExpired as error:
                self.failures.append(f"{deed.__name__}: {error}")
                return

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


def begin_calm(own_lid):
    """Nobody goes on, and the fabric is what it was."""
    if not is_plugged(HOST):
        plug(HOST)
        run("lab-hosts", "adopt", HOST)
    set_link(HOST, "up")
    edit(HOST, "lid", own_lid)
    edit(HOST, "pkeys", "0 0xffff")
    edit(HOST, "pkeys", "1 0")
    run("lab-sm", "resweep")
    for name in interface_names(HOST) - {"lo", "ib0"}:
        ask("ip", "link", "del", name)
    assert interface_names(HOST) == {"lo", "ib0"}


def state():
    """What one would look at."""
    files = " ".join(["/sys/class/net/ib0/link_reason",
                      f"/sys/class/infiniband/{HCA}/ports/1/*"])
    words = [ask("sh", "-c", words).stdout for words in (
        f"grep . {files} 2>&1", "ip -d link show ib0", "ethtool -S ib0")]
    return "\n".join([*words, str(queue_pairs(HOST))])


def set_back():
    """By what users do."""
    ask("ip", "link", "set", "ib0", "broadcast",
        "00:ff:ff:ff:ff:12:40:1b:ff:ff:00:00:00:00:00:00:ff:ff:ff:ff")
    put("ib0/umcast", 0)
    try:
        wait_until("carrier", lambda: has_carrier(HOST) or ask(
            "ip", "link", "set", "ib0", "up") and False, timeout=90)
    except LabError as error:
        raise LabError(f"{error}\n{state()}") from error
    # a ring that is in the middle of healing says so
    for words in (["-L", "ib0", "tx", 2], ["-G", "ib0", "tx", 512, "rx", 512]):
        wait_until(f"ethtool {words}", lambda words=words:
                   ask("ethtool", *words).returncode == 0)
    ask("ethtool", "-C", "ib0", "rx-usecs", 0, "rx-frames", 0)
    ask("ethtool", "-K", "ib0", "gro", "on", "sg", "on")
    ask("ip", "link", "set", "ib0", "mtu", 2044)
    on(HOST, "ip", "addr", "replace", f"{ip6(HOST)}/64", "dev", "ib0", "nodad")


@pytest.fixture
def unrest():
    """It ends in any case, and what is left of it works."""
    own_lid, some = lid(HOST), Unrest()
    yield some
    some.end()
    begin_calm(own_lid)
    set_back()
    for host in range(1, HOSTS + 1):
        if host != HOST:
            wait_until(f"host {host} is answered", lambda host=host: ping(
                host, ip4(HOST), 1, check=False), timeout=60)
            wait_until("by IPv6, too", lambda host=host: ping(
                HOST, ip6(host), 1, check=False), timeout=60)
    wait_until("sent is delivered or dropped", fabric_balances, timeout=60)
    wait_until("counters agree", lambda: sums_agree(HOST))
    assert reason(HOST) == "up"
    assert not some.failures


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("ending", ["calm", "0", "surprise"])
def test_unrest_wears_off(unrest, seed, ending):
    """And nothing that is asked for meanwhile takes a minute."""
    dice = random.Random(seed)
    for choice in (DEEDS, DEEDS, FAULTS, FAULTS, (traffic,)):
        unrest.begin(choice, random.Random(dice.random()))
    time.sleep(SECONDS)
    # or this shows nothing
    wait_until("each thing has been done", lambda: len(unrest.done) == len(
        {*DEEDS, *FAULTS, traffic}), timeout=120)
    if ending != "calm":
        plug(HOST, ending)
    unrest.end()
    print(*unrest.done.items(), sep="\n")
