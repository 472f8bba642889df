# SPDX-License-Identifier: GPL-2.0
"""Hosts whose HCAs differ, and what a driver makes of it.

One lab serves all tests: what a host's HCA lacks, another host's has, so that
each key is seen with and without its effect. All take DMA addresses.
"""

import contextlib
import glob
import os
import pathlib
import re
import sys

import pytest

from groupkit import member, send
from labkit import (DRIVER, FABRIC, HOSTS, KERNEL, PARTITIONS, attr,
                    completion_queues, counters, ethtool_stats, fault,
                    has_carrier, ib_port, ip4, link, link_up, on, ping, reason,
                    reread_partitions, restart_opensm, run, start_on, table,
                    told, wait_until)
from offloadkit import growth

pytestmark = pytest.mark.needs("netdev")

DRIVER_MODULE = f"{os.environ.get('LAB_MODULES', '.')}/" \
    f"{'stock/' * (DRIVER == 'stock')}ib_ipoib.ko"
GROUP = "239.7.7.7"
DMA = pathlib.Path("/sys/kernel/debug/dma-api")


def made_for():
    """HCAs with an interface in the initial namespace."""
    return {pathlib.Path(where).resolve().name
            for where in glob.glob("/sys/class/net/ib*/device")}


def with_hca(*words):
    return pytest.mark.lab(hca=list(words))


# --- Streams ----------------------------------------------------------------

STREAM_BYTES = 2 << 20
STREAM_PORT = 5997
BYTES = f"bytes(range(251)) * ({STREAM_BYTES} // 251 + 1)"
HEAR = f"""
import socket, sys
with socket.create_server((sys.argv[1], {STREAM_PORT})) as listener:
    sock, _ = listener.accept()
    with sock.makefile("rb") as file:
        sys.exit(file.read() != {BYTES})
"""
SAY = f"""
import socket, sys
with socket.create_connection((sys.argv[1], {STREAM_PORT})) as sock:
    sock.sendall({BYTES})
"""


def stream_arrives_whole(source, target):
    """Send a TCP stream; true when every byte came as it was sent."""
    hearer = start_on(target, sys.executable, "-c", HEAR, ip4(target))
    try:
        wait_until("the hearer listens", lambda: str(STREAM_PORT) in on(
            target, "ss", "-Hltn").stdout)
        on(source, sys.executable, "-c", SAY, ip4(target))
        return hearer.wait(60) == 0
    finally:
        hearer.kill()
        hearer.wait()


# --- Scatter-gather ---------------------------------------------------------

def scatters(host):
    out = on(host, "ethtool", "-k", "ib0").stdout
    return "scatter-gather: on" in out


@with_hca("1:sg=1")
def test_one_sge_is_no_scatter_gather_and_carries_a_stream():
    assert not scatters(1) and scatters(3)
    assert stream_arrives_whole(1, 3)
    assert stream_arrives_whole(3, 1)


@with_hca("3:sg=2")
def test_a_packet_of_more_pieces_than_the_hca_takes_is_joined():
    """Headers, and data that lies in two blocks of the sender's memory."""
    assert scatters(3)
    before = ethtool_stats(3) if DRIVER == "ours" else {}
    errors = int(attr(3, "statistics/tx_errors"))
    assert stream_arrives_whole(3, 2)
    assert int(attr(3, "statistics/tx_errors")) == errors
    for name in ("drop_tx_linearize", "drop_tx_post"):
        if DRIVER == "ours":
            assert ethtool_stats(3)[name] == before[name], name


# --- Completion vectors and moderation --------------------------------------

def vectors(host):
    return {cq["vector"] for cq in completion_queues(host)}


@with_hca("1:vectors=1")
def test_one_vector_is_the_only_one_used():
    assert vectors(1) == {0}
    assert len(vectors(3)) > 1


def moderation(host):
    return {cq["usecs"] for cq in completion_queues(host)}


@pytest.mark.needs("coalesce")
@with_hca("2:modify_cq=off")
def test_without_modify_cq_nothing_is_moderated():
    for host in (2, 3):
        on(host, "ethtool", "-C", "ib0", "rx-usecs", 77, "rx-frames", 9,
           check=False)
    try:
        assert moderation(2) == {0}
        assert moderation(3) == {0, 77}
    finally:
        on(3, "ethtool", "-C", "ib0", "rx-usecs", 0, "rx-frames", 0)
    ping(3, ip4(2))


# --- Rings ------------------------------------------------------------------

def receive_ring(host):
    """Entries of the longest receive ring but those of QP0 and QP1."""
    text = (FABRIC / f"fab{host}" / "qps").read_text()
    return max((int(size) for qpn, size in re.findall(
        r"^qpn (0x\w+) .* rq \d+/(\d+)$", text, re.M) if int(qpn, 16) > 1),
        default=0)


# for recv_queue_size=512: ours leaves room for ethtool -G to grow into
DEPTH = 512 if DRIVER == "stock" else 4 * 512


@with_hca("2:max_wr=256")
def test_a_ring_is_no_longer_than_the_queue():
    """Ours makes shorter rings; stock says that it cannot, and does without."""
    run("lab-driver", "unload")
    try:
        run("insmod", DRIVER_MODULE, "recv_queue_size=512")
        wait_until("the others have their ring",
                   lambda: receive_ring(1) == receive_ring(3) == DEPTH)
        if DRIVER == "stock":
            wait_until("it says so", lambda: re.search(
                r"fab2.*fail", run("dmesg").stdout))
            assert receive_ring(2) == 0
        else:
            assert receive_ring(2) == 256
    finally:
        run("rmmod", "ib_ipoib")
        run("lab-driver", "load")


# --- Keys of local memory ---------------------------------------------------

@with_hca("4:local_lkey=off")
def test_a_region_serves_where_the_hca_has_no_key():
    assert stream_arrives_whole(4, 3)
    assert stream_arrives_whole(3, 4)


@with_hca("4:local_lkey=off")
def test_without_a_region_there_is_no_interface():
    """Only an HCA without a key of its own is asked for one."""
    run("lab-driver", "unload")
    try:
        with fault("fab4", "verbs", "get_dma_mr every=1") as refused, \
                fault("fab3", "verbs", "get_dma_mr every=1") as unasked:
            run("insmod", DRIVER_MODULE)
            # loaded, it has met every HCA
            assert made_for() == {"fab0", "fab1", "fab2", "fab3"}
            assert refused.hit and not unasked.seen
    finally:
        run("rmmod", "ib_ipoib")
        run("lab-driver", "load")


# --- Multicast echo ---------------------------------------------------------

def echoes(host):
    """Copies a host's HCA made of 20 packets, and how many of them a listener
    on the host itself heard."""
    with member(host, GROUP) as listener:
        wait_until("the listener listens",
                   lambda: send(host, GROUP) or listener.count())
        wait_until("the group is joined: its packets leave", lambda: (
            left := counters(f"fab{host}/port1")["sent"], send(host, GROUP),
            counters(f"fab{host}/port1")["sent"] > left)[2])
        copies = counters(f"fab{host}/port1")["replicated"]
        before = listener.count()
        send(host, GROUP, 20)
        ping(host, ip4(host % 3 + 1))
        wait_until("all were heard", lambda: listener.count() >= before + 20)
        return (counters(f"fab{host}/port1")["replicated"] - copies,
                listener.count() - before)


@with_hca("3:mcast_loopback=off")
def test_what_the_hca_echoes_the_driver_does_not_deliver_again():
    copies, heard = echoes(3)
    assert (copies >= 20, heard) == (True, 20)


@with_hca("3:mcast_loopback=off")
def test_an_hca_that_blocks_echoes_makes_none():
    assert echoes(1) == (0, 20)


# --- Ports, tables, MTU -----------------------------------------------------

def interfaces(host, file="dev_port"):
    """What a file of each interface of a host says."""
    out = on(host, "sh", "-c", f"grep -H . /sys/class/net/ib*/{file}").stdout
    return dict(re.findall(rf"/(ib\d+)/{file}:(\w+)$", out, re.M))


@with_hca("2:ports=2", "4:ports=2")
def test_each_port_has_an_interface():
    assert interfaces(1) == {"ib0": "0"}
    assert interfaces(2) == interfaces(4) == {"ib0": "0", "ib1": "1"}
    assert interfaces(2, "dev_id") == {"ib0": "0x0", "ib1": "0x1"}
    sent = counters("fab2/port2")["sent"]
    for host in (2, 4):
        on(host, "ip", "addr", "add", f"10.45.0.{host}/24", "dev", "ib1")
    try:
        wait_until("the second ports reach each other", lambda: ping(
            2, "10.45.0.4", 1, check=False))
        ping(2, "10.45.0.4", 5, "-s", 4000)
        assert counters("fab2/port2")["sent"] > sent + 5
    finally:
        for host in (2, 4):
            on(host, "ip", "addr", "flush", "dev", "ib1", "scope", "global")


@with_hca("3:pkeys=64", "4:pkeys=1")
def test_a_full_table_still_has_the_default_partition():
    """One entry holds the default partition alone, and carries traffic."""
    tables = {host: os.listdir(
        f"/sys/class/infiniband/fab{host}/ports/1/pkeys")
        for host in (1, 3, 4)}
    assert [len(tables[host]) for host in (1, 3, 4)] == [32, 64, 1]
    keys = {host: {ib_port(host, f"pkeys/{index}") for index in tables[host]}
            for host in tables}
    assert keys[4] == {"0xffff"}
    assert {"0xffff", "0x8001", "0x8002"} <= keys[1] & keys[3]
    ping(3, ip4(4))


@with_hca("4:mtu=2048", "4:guids=1")
def test_a_smaller_mtu_and_one_guid_suffice():
    for host, mtu, guids in ((3, 4096, 8), (4, 2048, 1)):
        out = run("smpquery", "-C", f"fab{host}", "-D", "portinfo", "0").stdout
        assert re.search(rf"^MtuCap:\.*{mtu}$", out, re.M)
        assert re.search(rf"^NeighborMTU:\.*{mtu}$", out, re.M)
        assert re.search(rf"^GuidCap:\.*{guids}$", out, re.M)
    ping(4, ip4(3), 3, "-s", 2016)


# --- Inline data ------------------------------------------------------------

def inlined(host, size):
    """How many of ten echo requests of so many bytes went within requests."""
    sent = growth(host)
    ping(host, ip4(3), 10, "-i", 0.01, "-s", size)
    return sent("inline")


@pytest.mark.needs("rings")
@with_hca("4:inline=0")
def test_small_packets_go_within_the_request_where_that_is_offered():
    """An HCA fetches nothing then; what is longer is fetched as ever."""
    assert inlined(2, 56) >= 10
    assert inlined(2, 1000) < 5
    assert inlined(4, 56) == 0


# --- A netdev of the HCA's own ----------------------------------------------

def receive_queues(host, name="ib0"):
    """For how many there is room, and how many there are."""
    there = on(host, "ls", f"/sys/class/net/{name}/queues").stdout.split()
    return (link(host, name).get("num_rx_queues"),
            sum(queue.startswith("rx-") for queue in there))


# A kernel for one processor shows neither.
ONE_OF_FOUR = (None, 0) if KERNEL == "debug" else (4, 1)


@pytest.mark.needs("rings")
@with_hca("3:rxqs=4")
def test_there_is_one_receive_queue_wherever_more_could_be():
    """A netlink child is made before it is known of which HCA."""
    on(1, "ip", "link", "add", "link", "ib0", "name", "kid", "type", "ipoib")
    try:
        assert receive_queues(1, "kid") == ONE_OF_FOUR
    finally:
        on(1, "ip", "link", "del", "kid")
    assert receive_queues(3) == ONE_OF_FOUR


# What an HCA's own netdev counts in the fabric, see fab_netdev.c.
OWN_COUNTERS = {"rx_packets": 1000, "rx_bytes": 64000}


@pytest.mark.needs("rings")
@with_hca("3:rxqs=4")
def test_what_an_hcas_own_netdev_counts_is_added():
    ping(1, ip4(3), 5)

    def added():
        stats = ethtool_stats(3)
        return all(stats[name] - stats[name.replace("rx_", "rx0_")] == count
                   for name, count in OWN_COUNTERS.items())

    wait_until("the two are added", added)
    assert ethtool_stats(3)["rx0_packets"] > 0


@contextlib.contextmanager
def netlink_child(host):
    on(host, "ip", "link", "add", "link", "ib0", "name", "kid", "type",
       "ipoib")
    try:
        on(host, "ip", "link", "set", "kid", "up")
        wait_until("carrier", lambda: has_carrier(host, "kid"), timeout=60)
        yield "kid"
    finally:
        on(host, "ip", "link", "del", "kid")


@pytest.mark.needs("rings")
@with_hca("3:rxqs=4")
@pytest.mark.parametrize("made", [lambda host: contextlib.nullcontext("ib0"),
                                  netlink_child], ids=["parent", "child"])
def test_an_hcas_own_netdev_is_asked_for_an_mtu(made):
    """It may refuse: then all is as before. No carrier meanwhile."""
    def asked_for(mtu):
        done = on(3, "ip", "link", "set", name, "mtu", mtu, check=False)
        return done.stderr

    with made(3) as name:
        wait_until("carrier", lambda: has_carrier(3, name))
        begun = link(3, name)["mtu"]
        changes = int(attr(3, "carrier_changes", name))
        assert "out of range" in asked_for(1501)
        assert link(3, name)["mtu"] == begun
        # off and on again
        assert int(attr(3, "carrier_changes", name)) == changes + 2
        try:
            assert asked_for(1500) == ""
            assert link(3, name)["mtu"] == 1500
            assert int(attr(3, "carrier_changes", name)) == changes + 4
            assert has_carrier(3, name)
            ping(1, ip4(3), 3)
        finally:
            on(3, "ip", "link", "set", name, "mtu", begun)
        assert link(3, name)["mtu"] == begun


@pytest.mark.needs("hitless")
@with_hca("3:rxqs=4")
def test_an_mtu_that_was_refused_is_not_remembered():
    """The interface follows its group, as one that nobody gave an MTU."""
    before = PARTITIONS.read_text()
    assert on(3, "ip", "link", "set", "ib0", "mtu", 1501,
              check=False).returncode
    try:
        restart_opensm(before.replace("mtu=4", "mtu=5"))
        # other hosts' ports may be too narrow for that
        wait_until("the MTU follows", lambda: link(3)["mtu"] == 4092,
                   timeout=60)
    finally:
        restart_opensm(before)
        wait_until("the MTU is as before", lambda: link(3)["mtu"] == 2044,
                   timeout=60)
        for host in range(1, HOSTS + 1):
            wait_until("carrier", lambda h=host: has_carrier(h), timeout=60)


# --- Virtual functions ------------------------------------------------------

OTHER_GUID = "02:fa:b0:00:0a:00:00:77"


def set_guid(host, guid, name="ib0"):
    """Give an interface another GUID; what `ip` says, nothing when it did."""
    address = link(host, name)["address"][:36] + guid
    return on(host, "ip", "link", "set", name, "address", address,
              check=False).stderr


@with_hca("4:vf=on")
@pytest.mark.parametrize("state", ["up", "down"])
def test_a_virtual_function_keeps_its_address(state):
    """And its children theirs, in whatever state."""
    reasons = ["address refused: that of a virtual function"] if \
        DRIVER == "ours" else []
    on(4, "ip", "link", "add", "link", "ib0", "name", "kid", "type", "ipoib")
    try:
        for name in ("ib0", "kid"):
            on(4, "ip", "link", "set", name, state)
            before = link(4, name)["address"]
            with told(*reasons):
                assert "Operation not supported" in set_guid(4, OTHER_GUID,
                                                             name)
            assert link(4, name)["address"] == before
    finally:
        on(4, "ip", "link", "del", "kid")
        link_up(4)
    wait_until("it answers", lambda: ping(1, ip4(4), 1, check=False))


@with_hca("4:vf=on")
def test_any_other_port_may_have_another_address():
    own = link(3)["address"]
    on(3, "ip", "link", "set", "ib0", "down")
    try:
        assert not set_guid(3, OTHER_GUID)
        assert link(3)["address"][36:] == OTHER_GUID
    finally:
        assert not set_guid(3, own[36:])
        link_up(3)
    assert link(3)["address"][36:] == own[36:]
    wait_until("it answers", lambda: ping(1, ip4(3), 1, check=False))


# --- A group's width --------------------------------------------------------

WIDE = "wide=0x0004, ipoib, rate=3, mtu=5, scope=2 : ALL=full, SELF=full ;\n"


@contextlib.contextmanager
def partition(line):
    """One more that the subnet manager knows of."""
    before = PARTITIONS.read_text()
    reread_partitions(before + line)
    try:
        yield
    finally:
        reread_partitions(before)


@pytest.mark.needs("reason")
@with_hca("1:mtu=2048")
def test_a_group_too_wide_for_a_port_is_named():
    """The subnet administrator refuses to let it in without a word of why."""
    with partition(WIDE):
        for host in (1, 3):
            wait_until("the key is there", lambda one=host: 0x8004 in
                       table(one, "pkeys").values(), timeout=60)
            on(host, "ip", "link", "add", "link", "ib0", "name", "wide",
               "up", "type", "ipoib", "pkey", "0x8004")
        try:
            wait_until("who can joins", lambda: has_carrier(3, "wide"))
            assert link(3, "wide")["mtu"] == 4092
            wait_until("the reason is told", lambda: reason(
                1, "wide") == "mtu-mismatch", timeout=60)
            assert not has_carrier(1, "wide")
            log = run("dmesg").stdout
            assert "group has an MTU of 4096, the port can 2048" in log
        finally:
            for host in (1, 3):
                on(host, "ip", "link", "del", "wide")


# --- DMA addresses ----------------------------------------------------------

def dma_devices():
    return sorted(name for name in os.listdir("/sys/bus/platform/devices")
                  if name.startswith("ib_fabric_dma."))


@pytest.mark.lab()
def test_virtual_dma_has_no_device():
    assert dma_devices() == []


@with_hca("dma=platform")
def test_traffic_by_dma_addresses_arrives_whole():
    assert dma_devices()[:2] == ["ib_fabric_dma.0", "ib_fabric_dma.1"]
    before = counters()
    ping(3, ip4(1), 5, "-s", 6000, "-p", "5a")
    assert stream_arrives_whole(3, 2)
    after = counters()
    assert after["dropped_recv_error"] == before["dropped_recv_error"]


def mappings():
    """DMA mappings there are, by HCA; none where the kernel does not count."""
    found = {}
    if not (DMA / "dump").exists():
        return found
    for line in (DMA / "dump").read_text().splitlines():
        hca = re.search(r"ib_fabric_dma\.(\d+) ", line)
        if hca:
            found[int(hca.group(1))] = found.get(int(hca.group(1)), 0) + 1
    return found


def idle_mappings():
    """Mappings when no MAD is under way: those of two equal readings."""
    return wait_until("mappings rest", lambda: (
        now := mappings()) == mappings() and (now,))[0]


@with_hca("dma=platform")
def test_every_mapping_is_undone():
    """The kernel reports one undone twice; one left over is counted here."""
    ping(1, ip4(2), 5, "-s", 6000)
    loaded = idle_mappings()
    run("lab-driver", "unload")
    try:
        run("lab-sm", "stop")
        rest = idle_mappings()
        run("lab-sm", "start")
    finally:
        run("lab-driver", "load")
    if not (DMA / "dump").exists():
        return
    # ib_mad keeps 512 receives on each of QP0 and QP1 of a port.
    assert rest == {0: 1024, 1: 1024, 2: 2048, 3: 1024, 4: 2048}
    # HCA 0 has an interface that nobody brought up
    assert all(loaded[host] > rest[host] for host in range(1, 5))
    assert int((DMA / "error_count").read_text()) == 0
