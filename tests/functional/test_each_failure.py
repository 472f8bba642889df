# SPDX-License-Identifier: GPL-2.0
"""Each allocation and each verb of a deed fails once, in turn.

The deed has succeeded all the same, or it was refused and said why; without
the fault it succeeds, what retries heals by itself, the hosts answer, and
nothing is in use that was not before.
"""

import errno
import itertools
import os
import pathlib
import re
import sys

import pytest

from failkit import LoadMemory, Memory, Verb, handles, note, resources
from groupkit import TOOL
from labkit import (DRIVER, FABRIC, LabError, attr, counters, has_carrier,
                    interface_names, ip4, ip6, kernel_log, on, ping, plug,
                    port_dir, queue_sums, reason, run, set_link, start_on,
                    sums_agree, wait_until, written)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("reason"),
              pytest.mark.instrumented]

# This host's faults; that one it talks to.
HOST, PEER = 2, 1
CHILD = "ib0.8001"
MODULE = pathlib.Path(os.environ.get("LAB_MODULES", ".")) / "ib_ipoib.ko"
# More than any deed has sites: then the count does not end.
ENOUGH = 3000

# req_notify_cq is not among them: management arms by it, too, and has no way
# out; nor detach_mcast, see test_faults_driver.py.
VERBS = ("query_port", "query_pkey", "query_gid", "alloc_pd", "create_ah",
         "create_cq", "modify_cq", "create_qp", "modify_qp", "query_qp",
         "post_send", "post_recv", "attach_mcast")
KINDS = ("failslab", "fail_page_alloc")
EVERYDAY = {("join", "failslab"), ("rings", "fail_page_alloc")}


def ip(*words, check=False, host=HOST):
    """An ip command on the host; what it says, nothing when it succeeded."""
    done = on(host, "ip", *words, check=check, timeout=60)
    return done.stderr.strip() or f"exit {done.returncode}" \
        if done.returncode else ""


def mended():
    """Up, with carrier and addresses, and it answers in both families."""
    ip("link", "set", "ib0", "up", check=True)
    wait_until("carrier", lambda: has_carrier(HOST), timeout=60)
    ip("addr", "replace", f"{ip6(HOST)}/64", "dev", "ib0", "nodad",
       check=True)
    for address in (ip4(HOST), ip6(HOST)):
        wait_until(f"{address} answers", lambda a=address: ping(
            PEER, a, 1, "-W", 1, check=False), timeout=60)


def settled(condition, seconds=5):
    """Wait for what comes by itself, most of the time; no matter if not."""
    try:
        wait_until("it has settled", condition, timeout=seconds)
    except LabError:
        pass


class Deed:
    """Something that is done over and over, from the same start."""

    # of these something must have failed
    verbs = frozenset()
    # what it allocates at least one of
    kinds = {"failslab"}
    memory = Memory

    def begin(self):
        """Once, before the first."""

    def prepare(self):
        """Before each: the deed is still to be done."""

    def act(self):
        """Do it; what a refusal says, nothing when there is none."""
        raise NotImplementedError

    def check(self):
        """It is done, or becomes so by itself."""

    def refused(self):
        """It was refused, and has left nothing half done."""

    def undo(self):
        """As before."""

    def end(self):
        """Once, after the last."""


class Opening(Deed):
    """An interface goes up and joins the broadcast group."""

    verbs = {"query_port", "create_ah", "modify_qp", "post_recv",
             "attach_mcast"}

    def begin(self):
        ip("link", "set", "ib0", "down", check=True)

    def act(self):
        said = ip("link", "set", "ib0", "up")
        if not said:
            settled(lambda: has_carrier(HOST))
        return said

    def refused(self):
        assert attr(HOST, "link_reason") == "admin-down"

    def check(self):
        wait_until("carrier", lambda: has_carrier(HOST), timeout=60)
        wait_until("an answer", lambda: ping(PEER, ip4(HOST), 1, "-W", 1,
                                             check=False), timeout=60)

    def undo(self):
        ip("link", "set", "ib0", "down", check=True)


class Closing(Deed):
    """It goes down, which nothing may refuse."""

    kinds = frozenset()

    def prepare(self):
        mended()

    def act(self):
        return ip("link", "set", "ib0", "down")

    def check(self):
        assert attr(HOST, "link_reason") == "admin-down"


class Rejoining(Deed):
    """The cable is back: everything is asked for anew."""

    verbs = {"query_port", "create_ah", "attach_mcast"}

    def prepare(self):
        mended()
        set_link(HOST, "down")
        wait_until("no carrier", lambda: not has_carrier(HOST))

    def act(self):
        set_link(HOST, "up")
        settled(lambda: has_carrier(HOST), 10)
        return ""

    def check(self):
        """ib_core asks for the way to the manager once, and then no more."""
        settled(lambda: has_carrier(HOST))
        if not has_carrier(HOST):
            assert reason(HOST) in ("bcast-joining", "sm-unreachable")
            set_link(HOST, "down")
            set_link(HOST, "up")
        mended()

    def end(self):
        set_link(HOST, "up")


class Joining(Deed):
    """A program asks for a group."""

    group, port = "239.1.2.4", 5998
    verbs = {"attach_mcast"}

    def __init__(self, folder):
        self.file = folder / "heard"
        self.process = None

    def begin(self):
        mended()

    def attached(self):
        groups = (port_dir(HOST) / "groups").read_text()
        return ":0f01:0204 " in groups

    def act(self):
        self.file.unlink(missing_ok=True)
        self.process = start_on(HOST, sys.executable, TOOL, "recv",
                                self.group, self.port, self.file)
        wait_until("the socket has joined", self.file.exists)
        settled(self.attached)
        return ""

    def check(self):
        wait_until("the group is attached", self.attached)

    def undo(self):
        self.process.terminate()
        self.process.wait()
        wait_until("the group is left", lambda: not self.attached())


class Resolving(Deed):
    """The first packet to a neighbour finds its address and the way to it."""

    verbs = {"create_ah", "post_send"}

    def __init__(self, address):
        self.address = address

    def prepare(self):
        ip("link", "set", "ib0", "down", check=True)
        ip("link", "set", "ib0", "up", check=True)
        wait_until("carrier", lambda: has_carrier(HOST), timeout=60)
        ip("addr", "replace", f"{ip6(HOST)}/64", "dev", "ib0", "nodad",
           check=True)

    def act(self):
        ping(HOST, self.address, 1, "-W", 1, check=False)
        return ""

    def check(self):
        wait_until("an answer", lambda: ping(
            HOST, self.address, 1, "-W", 1, check=False), timeout=60)


class Making(Deed):
    """A child is made by the file of its parent."""

    verbs = {"alloc_pd"}

    def begin(self):
        mended()

    def act(self):
        # this shell tells the errno
        return on(HOST, "bash", "-c", "echo 0x8001 > "
                  "/sys/class/net/ib0/create_child", check=False).stderr

    def refused(self):
        assert ip("link", "show", CHILD)

    def check(self):
        assert attr(HOST, "pkey", CHILD) == "0x8001"

    def undo(self):
        ip("link", "del", CHILD, check=True)


class Adding(Making):
    """A child is made by netlink."""

    def act(self):
        return ip("link", "add", "link", "ib0", "name", CHILD, "type",
                  "ipoib", "pkey", "0x8001")


class OpeningChild(Deed):
    """A child goes up: then it gets its queues."""

    verbs = {"create_cq", "create_qp", "modify_qp", "post_recv", "create_ah",
             "attach_mcast"}

    def begin(self):
        mended()
        for host in (HOST, PEER):
            ip("link", "add", "link", "ib0", "name", CHILD, "type", "ipoib",
               "pkey", "0x8001", check=True, host=host)
            ip("addr", "add", f"10.81.0.{host}/24", "dev", CHILD, check=True,
               host=host)
        ip("link", "set", CHILD, "up", check=True, host=PEER)
        self.anew()

    def prepare(self):
        self.before = resources(HOST)

    def anew(self):
        """One that was never open."""
        ip("link", "del", CHILD, check=True)
        ip("link", "add", "link", "ib0", "name", CHILD, "type", "ipoib",
           "pkey", "0x8001", check=True)
        on(HOST, "ethtool", "-G", CHILD, "rx", 64, "tx", 128)
        ip("addr", "add", f"10.81.0.{HOST}/24", "dev", CHILD, check=True)

    def act(self):
        said = ip("link", "set", CHILD, "up")
        if not said:
            settled(lambda: has_carrier(HOST, CHILD))
        return said

    def check(self):
        wait_until("carrier", lambda: has_carrier(HOST, CHILD), timeout=60)
        wait_until("an answer", lambda: ping(
            PEER, f"10.81.0.{HOST}", 1, "-W", 1, check=False), timeout=60)

    def refused(self):
        assert attr(HOST, "link_reason", CHILD) == "admin-down"
        wait_until("it has given back what it had got",
                   lambda: resources(HOST) == self.before)

    def undo(self):
        self.anew()

    def end(self):
        for host in (HOST, PEER):
            ip("link", "del", CHILD, host=host)


class Following(OpeningChild):
    """The parent goes up, and the child that was up with it."""

    verbs = {"modify_qp", "post_recv", "create_ah", "attach_mcast"}

    def begin(self):
        super().begin()
        ip("link", "set", CHILD, "up", check=True)
        self.undo()

    def act(self):
        with kernel_log() as log:
            said = ip("link", "set", "ib0", "up")
            self.told = any(f"{CHILD}: stays down" in line
                            for line in log.lines())
        if not said and not self.told:
            settled(lambda: has_carrier(HOST, CHILD))
        return said

    def check(self):
        """A child that did not come along is told of, and comes when asked."""
        if self.told:
            assert attr(HOST, "link_reason", CHILD) == "admin-down"
            ip("link", "set", CHILD, "up", check=True)
        wait_until("carrier", lambda: has_carrier(HOST, CHILD), timeout=60)
        # the stack has nobody to tell that it could not keep a route
        if not ping(PEER, f"10.81.0.{HOST}", 3, check=False):
            ip("link", "set", CHILD, "down", check=True)
            ip("link", "set", CHILD, "up", check=True)
        super().check()
        mended()

    def refused(self):
        assert attr(HOST, "link_reason") == "admin-down"

    def undo(self):
        ip("link", "set", "ib0", "down", check=True)
        assert attr(HOST, "link_reason", CHILD) == "admin-down"


class Changing(Deed):
    """Rings or queues of an interface that is up."""

    def __init__(self, option, before, after, kind):
        self.option, self.show = option, option.lower()
        self.before, self.after = before, after
        self.kinds = {kind}

    def change(self, words):
        done = on(HOST, "ethtool", self.option, "ib0", *words, check=False)
        return done.stderr.strip() or f"exit {done.returncode}" \
            if done.returncode else ""

    def begin(self):
        mended()
        self.change(self.before)

    def shown(self):
        """What is in force now, as words."""
        text = on(HOST, "ethtool", self.show, "ib0").stdout.lower()
        return tuple(word for name in self.before[::2] for word in (
            name, int(re.findall(rf"^{name}:\s+(\d+)", text, re.M)[1])))

    def act(self):
        return self.change(self.after)

    def refused(self):
        assert self.shown() == self.before
        mended()

    def check(self):
        assert self.shown() == self.after
        mended()

    def undo(self):
        assert not self.change(self.before)


class Appearing(Deed):
    """An HCA comes, and with it its interface."""

    verbs = {"alloc_pd", "create_cq", "create_qp", "query_port", "query_gid"}

    def __init__(self):
        self.again = False

    def begin(self):
        plug(HOST, "0")

    def prepare(self):
        self.again = False

    def act(self):
        code = written(FABRIC / f"fab{HOST}" / "plugged", "1")
        if code:
            return os.strerror(code)
        return "" if has_interface(HOST) else "no interface"

    def refused(self):
        self.again = True
        plug(HOST, "0")

    def check(self):
        """What came in spite of it works; what came without it is known.

        The port's management may be what had to do without, and asks no more:
        the interface says so, and another HCA in the slot is whole.
        """
        if self.again:
            return
        run("lab-hosts", "adopt", HOST, timeout=90)
        settled(lambda: has_carrier(HOST))
        if not has_carrier(HOST):
            assert reason(HOST) in ("port-down", "lid-0", "bcast-joining",
                                    "sm-unreachable")
            plug(HOST, "0")
            assert not self.act()
            run("lab-hosts", "adopt", HOST, timeout=90)
        mended()

    def undo(self):
        plug(HOST, "0")

    def end(self):
        plug(HOST, "1")
        run("lab-hosts", "adopt", HOST, timeout=90)


def has_interface(host):
    """Whether the driver has just made one for a host's HCA."""
    return any(path.resolve().name == f"fab{host}" for path in
               pathlib.Path("/sys/class/net").glob("*/device"))


def others():
    """HCAs that are not the host's nor the subnet manager's."""
    return [int(one.name[3:]) for one in FABRIC.glob("fab*")
            if one.name not in ("fab0", f"fab{HOST}")]


class Loading(Deed):
    """The module comes, where one HCA waits for it."""

    memory = LoadMemory

    def begin(self):
        for host in others():
            plug(host, "0")
        run("lab-driver", "unload")

    def act(self):
        done = run("sh", "-c", "echo 1 > /proc/self/make-it-fail; "
                   f"exec insmod {MODULE}", check=False)
        if done.returncode:
            return done.stderr.strip()
        return "" if has_interface(HOST) else "no interface"

    def refused(self):
        run("rmmod", "ib_ipoib", check=False)

    def check(self):
        assert has_interface(HOST)

    def undo(self):
        run("rmmod", "ib_ipoib")

    def end(self):
        for host in others():
            plug(host, "1")
        run("rmmod", "ib_ipoib", check=False)
        run("lab-driver", "load", DRIVER)
        run("lab-hosts")


DEEDS = {
    "open": lambda _: Opening(),
    "close": lambda _: Closing(),
    "rejoin": lambda _: Rejoining(),
    "join": Joining,
    "path4": lambda _: Resolving(ip4(PEER)),
    "path6": lambda _: Resolving(ip6(PEER)),
    "create_child": lambda _: Making(),
    "link_add": lambda _: Adding(),
    "open_child": lambda _: OpeningChild(),
    "follow": lambda _: Following(),
    "rings": lambda _: Changing("-G", ("rx", 64, "tx", 128),
                                ("rx", 128, "tx", 256), "fail_page_alloc"),
    "queues": lambda _: Changing("-L", ("tx", 2), ("tx", 4), "failslab"),
    "appear": lambda _: Appearing(),
    "load": lambda _: Loading(),
}


@pytest.fixture(autouse=True)
def small():
    """Rings with few buffers, for each of them is an allocation."""
    mended()
    shown = on(HOST, "ethtool", "-l", "ib0").stdout
    queues = re.findall(r"^TX:\s+(\d+)", shown, re.M)[1]
    ip("link", "set", "ib0", "down", check=True)
    before = resources(HOST)
    on(HOST, "ethtool", "-G", "ib0", "rx", 64, "tx", 128)
    mended()
    yield
    mended()
    balanced()
    for name in interface_names(HOST) - {"lo", "ib0"}:
        ip("link", "del", name)
    for words in (("-G", "ib0", "rx", 512, "tx", 512),
                  ("-L", "ib0", "tx", queues)):
        on(HOST, "ethtool", *words, check=False)
    ip("link", "set", "ib0", "down", check=True)
    wait_until("the children's are gone", lambda: resources(HOST) == before)
    wait_until("address handles are gone", only_management)
    mended()


def only_management():
    """Its handle for the subnet manager is the only one."""
    return handles(HOST) == 1


def balanced():
    """Nothing is under way, and every packet was counted in the same way.

    What the port counts goes by management's queue pair, too: a while without
    that comes.
    """
    def counted():
        port, sums = counters(f"fab{HOST}/port1"), queue_sums(HOST)
        return (port["xmit_packets"] - sums["tx_packets"],
                port["rcv_packets"] - sums["rx_packets"])

    def port_counts_the_same():
        before = counted()
        ping(HOST, ip4(PEER), 10)
        return counted() == before

    wait_until("nothing is in flight", lambda: not counters()["in_flight"])
    wait_until("its counters agree", lambda: sums_agree(HOST))
    wait_until("the port counts what its queues do", port_counts_the_same)


def each(deed, source):
    """Fail the first, the second and so on; how many there were."""
    deed.begin()
    deed.prepare()
    before = resources(HOST)
    try:
        for nth in itertools.count(1):
            note(f"{type(deed).__name__}: {source.name} {nth}")
            try:
                struck = one(deed, source, nth)
            except (AssertionError, OSError) as error:
                raise AssertionError(f"{source.name} {nth}: {error}") \
                    from error
            if not struck:
                return nth - 1
            deed.prepare()
            wait_until("nothing is left in use",
                       lambda: resources(HOST) == before)
            assert nth < ENOUGH
    finally:
        note(f"{type(deed).__name__}: {source.name} ends")
        deed.end()


def one(deed, source, nth):
    """One failure of a deed; whether there was one."""
    with source.armed(nth) as struck:
        said = deed.act()
    if said:
        assert struck.hit, said
        says_why(said)
        deed.refused()
        assert not deed.act()
    deed.check()
    deed.undo()
    return struck.hit


def says_why(said):
    assert any(os.strerror(code).lower() in said.lower() for code in (
        errno.ENOMEM, errno.EIO, errno.ENOBUFS,
        # the core, of a device that it could not give a name
        errno.EINVAL)) or said == "no interface", said


# All but a few take their time.
RARE = pytest.mark.long, pytest.mark.apart("failures")


def crossed(sources):
    """Each deed with each source."""
    return [pytest.param(name, source, id=f"{name}-{source}", marks=() if (
        name, source) in EVERYDAY else RARE)
            for name in DEEDS for source in sources]


@pytest.mark.parametrize("name, kind", crossed(KINDS))
def test_each_allocation_fails(name, kind, tmp_path):
    deed = DEEDS[name](tmp_path)
    sites = each(deed, deed.memory(kind))
    print(f"{name}: {sites} of {kind}")
    assert sites or kind not in deed.kinds


def test_each_address_handle_of_an_open_fails(tmp_path):
    assert each(DEEDS["open"](tmp_path), Verb(HOST, "create_ah"))


@pytest.mark.parametrize("name", [pytest.param(name, marks=RARE)
                                  for name in DEEDS])
def test_each_verb_fails(name, tmp_path):
    deed = DEEDS[name](tmp_path)
    sites = {verb: each(deed, Verb(HOST, verb)) for verb in VERBS}
    print(f"{name}:", *(f"{verb} {count}" for verb, count in sites.items()))
    assert all(sites[verb] for verb in deed.verbs)
