# SPDX-License-Identifier: GPL-2.0
"""What the data path owes the stack: sizes told, packets given back, memory."""

import contextlib
import pathlib
import re
import socket
import subprocess
import sys

import pytest

from labkit import (DRIVER, MTU, PARTITIONS, SLOW, attr, byte_limits,
                    ethtool_stats, fault, generous_limits, ip4, ip6, iperf,
                    link, on, ping, queue_pairs, reread_partitions,
                    restart_opensm, run, snmp, spray, start_on, table,
                    wait_until)

pytestmark = pytest.mark.needs("netdev")


# --- Path MTU ----------------------------------------------------------------

@contextlib.contextmanager
def generous_route(host, address, *lock):
    """A route whose MTU is more than the link's, as one learnt earlier may be.

    IPv6 asks one that it forwards by for its MTU only if that is locked.
    """
    family = "-6" if ":" in address else "-4"
    bits = 128 if ":" in address else 32
    words = (f"{address}/{bits}", "dev", "ib0", "mtu", *lock, 9000)
    on(host, "ip", family, "route", "add", *words)
    try:
        yield
    finally:
        on(host, "ip", family, "route", "del", *words)
        on(host, "ip", family, "route", "flush", "cache", check=False)


def told_mtu(host, address):
    """What the stack has learnt of a destination since."""
    return f"mtu {MTU}" in on(host, "ip", "route", "get", address).stdout


@pytest.mark.core
@pytest.mark.parametrize("address", [ip4(2), ip6(2)])
def test_a_packet_that_is_too_long_tells_the_mtu(address):
    """A later one is cut to pieces; meanwhile nothing is wrong with others."""
    ping(1, address)
    errors = ethtool_stats(1)
    with generous_route(1, address):
        said = on(1, "ping", "-n", "-c", 1, "-W", 1, "-M", "do", "-s", 5000,
                  address, check=False)
        assert said.returncode
        wait_until("the MTU is known", lambda: told_mtu(1, address))
        said = on(1, "ping", "-n", "-c", 1, "-W", 1, "-M", "do", "-s", 5000,
                  address, check=False)
        assert "too long" in (said.stdout + said.stderr).lower()
        ping(1, address, 3, "-s", 5000)
    ping(1, address)
    if DRIVER == "ours":
        assert ethtool_stats(1)["drop_tx_too_big"] > errors["drop_tx_too_big"]


class Behind:
    """A machine behind host 1, which forwards what that sends to host 2."""

    NAME = "behind"
    # it, host 1 towards it, the network of both
    ADDRESSES = {4: ("10.78.0.2", "10.78.0.1", "10.78.0.0/24"),
                 6: ("fd78::2", "fd78::1", "fd78::/64")}
    FORWARD = ("ipv4/ip_forward", "ipv6/conf/all/forwarding")

    def run(self, *cmd, check=True):
        return run("ip", "netns", "exec", self.NAME, *cmd, check=check)

    def set_up(self):
        run("ip", "netns", "add", self.NAME)
        queues = ("numtxqueues", 4, "numrxqueues", 4)
        on(1, "ip", "link", "add", "back", "mtu", 9000, *queues, "type", "veth",
           "peer", "name", "up0", "mtu", 9000, *queues, "netns", self.NAME)
        on(1, "ip", "link", "set", "back", "up")
        self.run("ip", "link", "set", "up0", "up")
        for address, gateway, network in self.ADDRESSES.values():
            bits = network.partition("/")[2]
            on(1, "ip", "addr", "add", f"{gateway}/{bits}", "dev", "back",
               "nodad")
            self.run("ip", "addr", "add", f"{address}/{bits}", "dev", "up0",
                     "nodad")
            self.run("ip", "route", "add", "default", "via", gateway)
        on(2, "ip", "route", "add", self.ADDRESSES[4][2], "via", ip4(1))
        on(2, "ip", "route", "add", self.ADDRESSES[6][2], "via", ip6(1))
        self.forward(1)

    def forward(self, value):
        for name in self.FORWARD:
            on(1, "sh", "-c", f"echo {value} > /proc/sys/net/{name}")

    def tear_down(self):
        self.forward(0)
        on(2, "ip", "route", "del", self.ADDRESSES[4][2], check=False)
        on(2, "ip", "route", "del", self.ADDRESSES[6][2], check=False)
        on(1, "ip", "link", "del", "back", check=False)
        run("ip", "netns", "del", self.NAME, check=False)

    def ping(self, address, size, *options):
        return self.run("ping", "-n", "-c", 1, "-W", 2 * SLOW, "-s", size,
                        *options, address, check=False).returncode == 0

    def learnt(self, address):
        """The MTU it has been told of a destination, None without one."""
        found = re.search(r"\bmtu (\d+)",
                          self.run("ip", "route", "get", address).stdout)
        return int(found.group(1)) if found else None


@pytest.fixture
def behind():
    one = Behind()
    try:
        one.set_up()
        yield one
    finally:
        one.tear_down()


@pytest.mark.core
@pytest.mark.parametrize("address", [ip4(2), ip6(2)])
def test_who_sends_by_way_of_another_host_is_told_the_mtu(behind, address):
    """Its own host's stack lets the packet pass, and the driver does not."""
    wait_until("it is forwarded", lambda: behind.ping(address, 56))
    before = ethtool_stats(1)
    with generous_route(1, address, "lock"):
        assert not behind.ping(address, 5000, "-M", "do")
        wait_until("the MTU is known", lambda: behind.learnt(address) == MTU)
        assert behind.ping(address, 5000)
    if DRIVER == "ours":
        assert ethtool_stats(1)["drop_tx_too_big"] > before["drop_tx_too_big"]


@pytest.mark.parametrize("address", [ip4(2), ip6(2)])
def test_pmtu_is_told_from_the_first_byte_too_many(behind, address):
    family, headers = ("-6", 48) if ":" in address else ("-4", 28)
    full = MTU - headers
    wait_until("it is forwarded", lambda: behind.ping(address, 56))
    with generous_route(1, address, "lock"):
        assert behind.ping(address, full, "-M", "do")
        # as many as the header in front of it has
        for more in (1, 4):
            assert not behind.ping(address, full + more, "-M", "do")
            wait_until("the MTU is known",
                       lambda: behind.learnt(address) == MTU)
            behind.run("ip", family, "route", "flush", "cache")
        assert behind.ping(address, full, "-M", "do")


def test_forwarded_flows_use_every_queue_of_the_next_device(behind):
    """Its queue is chosen by flow: none was recorded on receive."""
    wait_until("it is forwarded", lambda: behind.ping(ip4(2), 56))
    on(1, "tc", "qdisc", "add", "dev", "back", "root", "handle", "1:", "mq")

    def packets():
        """What each transmit queue towards the machine behind has sent."""
        text = on(1, "tc", "-s", "class", "show", "dev", "back").stdout
        return [int(count) for count in
                re.findall(r"^ Sent \d+ bytes (\d+) pkt", text, re.M)]

    assert len(packets()) == 4
    # 300 datagrams, each a flow
    spray(2, behind.ADDRESSES[4][0])
    wait_until("they are forwarded", lambda: sum(packets()) >= 300)
    assert min(packets()) >= 30, packets()


# InfiniBand's codes of 4096 and 2048 bytes
GROUP = "lower=0x0004, ipoib, rate=3, mtu=%d, scope=2 : ALL=full, SELF=full ;\n"
WIDE, NARROW = GROUP % 5, GROUP % 4


@pytest.fixture
def wide_child():
    """Children of hosts 1 and 2 on a partition whose group is wide."""
    before = PARTITIONS.read_text()
    reread_partitions(before + WIDE)
    try:
        for host in (1, 2):
            wait_until("the key is there", lambda one=host: 0x8004 in
                       table(one, "pkeys").values(), timeout=60)
            on(host, "ip", "link", "add", "link", "ib0", "name", "wide", "type",
               "ipoib", "pkey", "0x8004")
            on(host, "ip", "addr", "add", f"10.80.0.{host}/24", "dev", "wide")
            on(host, "ip", "link", "set", "wide", "up")
        wait_until("it answers", lambda: ping(1, "10.80.0.2", 1, check=False),
                   timeout=60)
        yield before
    finally:
        for host in (1, 2):
            on(host, "ip", "link", "del", "wide", check=False)
        restart_opensm(before, timeout=60)


@pytest.mark.needs("hitless")
def test_who_knew_a_larger_mtu_is_told_of_the_lower_one(behind, wide_child):
    """A route holds on to the MTU that the group had."""
    on(2, "ip", "route", "add", behind.ADDRESSES[4][2], "via", "10.80.0.1",
       "metric", 1)
    assert link(1, "wide")["mtu"] == 4092
    on(1, "ip", "route", "add", "10.80.0.2/32", "dev", "wide", "mtu", "lock",
       4092)
    wait_until("it is forwarded", lambda: behind.ping("10.80.0.2", 56))
    assert behind.ping("10.80.0.2", 4000, "-M", "do")
    before = ethtool_stats(1, "wide")["drop_tx_too_big"]
    restart_opensm(wide_child + NARROW)
    for host in (1, 2):
        wait_until("the MTU is lower",
                   lambda one=host: link(one, "wide")["mtu"] == 2044, timeout=60)
    wait_until("it answers", lambda: behind.ping("10.80.0.2", 56), timeout=60)
    assert not behind.ping("10.80.0.2", 4000, "-M", "do")
    wait_until("the MTU is known", lambda: behind.learnt("10.80.0.2") == 2044)
    assert behind.ping("10.80.0.2", 4000)
    assert ethtool_stats(1, "wide")["drop_tx_too_big"] > before


# --- Completion --------------------------------------------------------------

BURSTS = """
import fcntl, socket, struct, sys, termios, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
s.connect((sys.argv[1], 9))
for _ in range(100):
    for _ in range(int(sys.argv[2])):
        try:
            s.send(bytes(200))
        except ConnectionRefusedError:
            pass
    last = time.monotonic()
    while struct.unpack("i", fcntl.ioctl(s, termios.TIOCOUTQ, bytes(4)))[0]:
        assert time.monotonic() < last + 5, "packets are not given back"
    print(round((time.monotonic() - last) * 1e6))
"""


@pytest.mark.needs("queues")
@pytest.mark.parametrize("burst", [1, 7, 45])
def test_packets_are_given_back_within_a_millisecond(burst):
    """Of the last of a burst, whatever its length."""
    ping(1, ip4(2))
    waits = [int(line) for line in on(
        1, sys.executable, "-c", BURSTS, ip4(2), burst).stdout.split()]
    assert len(waits) == 100
    # a machine that is busy with something else may take longer now and then
    assert sorted(waits)[94] < 1000 * SLOW


# What its socket still has under way, by each line that is read.
TEN = """
import fcntl, socket, struct, sys, termios
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(10):
    s.sendto(bytes(200), (sys.argv[1], 9))
while True:
    print(*struct.unpack("i", fcntl.ioctl(s, termios.TIOCOUTQ, bytes(4))),
          flush=True)
    if not sys.stdin.readline():
        break
"""


@pytest.mark.core
@pytest.mark.needs("queues")
def test_packets_are_their_senders_until_they_are_completed():
    """A socket's buffer, and the queue's limit, bound what the HCA has."""
    ping(1, ip4(2))
    with generous_limits(1), \
            fault("fab1", "completions", "stall dir=send") as stalled, \
            start_on(1, sys.executable, "-c", TEN, ip4(2),
                     stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sender:
        try:
            def left():
                sender.stdin.write("\n")
                sender.stdin.flush()
                return int(sender.stdout.readline())

            # the socket accounts for more than what is in a packet
            assert int(sender.stdout.readline()) > 10 * 228
            wait_until("the HCA has them all", lambda: sum(
                int(pair["sq"].split("/")[0])
                for qpn, pair in queue_pairs(1).items() if qpn > 1) >= 10)
            assert left() > 10 * 228
            # with the header in front of each
            assert sum(byte_limits(1, "inflight")) >= 10 * 232
            stalled.path.write_text("release")
            wait_until("they are given back", lambda: left() == 0)
            wait_until("nothing is under way",
                       lambda: sum(byte_limits(1, "inflight")) == 0)
        finally:
            sender.kill()


# --- What goes up ------------------------------------------------------------

# Protocol 253 is for experiments.
SNIFF = """
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x800))
s.bind(("ib0", 0x800))
print("ready", flush=True)
while True:
    data, (_, _, kind, _, _) = s.recvfrom(4096)
    if data[9] == 253:
        print(kind, flush=True)
        break
"""

SHOUT = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 253)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"ib0")
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.sendto(b"hear", (sys.argv[1], 0))
"""


@pytest.mark.core
@pytest.mark.parametrize("target, kind", [
    (ip4(2), socket.PACKET_HOST), ("10.44.0.255", socket.PACKET_BROADCAST),
    ("224.0.0.1", socket.PACKET_MULTICAST)])
def test_a_packet_says_for_whom_it_was(target, kind):
    hearer = start_on(2, sys.executable, "-c", SNIFF, stdout=subprocess.PIPE)
    try:
        assert hearer.stdout.readline() == "ready\n"
        on(1, sys.executable, "-c", SHOUT, target)
        assert int(hearer.stdout.readline()) == kind
    finally:
        hearer.kill()
        hearer.wait()


SEND_TO = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"ib0")
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
for _ in range(100):
    s.sendto(b"x", (sys.argv[1], 9))
"""


def test_broadcasts_are_not_counted_as_multicast():
    def counts():
        return [int(attr(2, f"statistics/{name}"))
                for name in ("rx_packets", "multicast")]

    for target, is_multicast in (("224.0.0.1", True), ("10.44.0.255", False)):
        packets, before = counts()
        on(1, sys.executable, "-c", SEND_TO, target)
        wait_until("all are there", lambda n=packets: counts()[0] >= n + 100)
        # beside what hosts say to each other by themselves
        assert (counts()[1] - before >= 100) == is_multicast


def taken(host):
    """(packets of the interface, packets IP made of them)"""
    return (int(attr(host, "statistics/rx_packets")),
            snmp(host, "Ip", "InReceives"))


@contextlib.contextmanager
def without_gro(host):
    on(host, "ethtool", "-K", "ib0", "gro", "off")
    try:
        yield
    finally:
        on(host, "ethtool", "-K", "ib0", "gro", "on")


def share_of_packets():
    """How many packets of a stream go up as one, on average."""
    before = taken(2)
    iperf(1, 2, "-n", "4M")
    packets, made = (after - first for after, first in zip(taken(2), before))
    assert packets > 1000
    return packets / made


def test_packets_of_a_stream_go_up_as_one():
    assert share_of_packets() > 2
    with without_gro(2):
        assert share_of_packets() < 1.1


# --- Memory ------------------------------------------------------------------

FAILURES = pathlib.Path("/sys/kernel/debug/fail_page_alloc")


@contextlib.contextmanager
def no_pages():
    """Whoever may not sleep for memory gets none."""
    try:
        for name, value in (("min-order", 0), ("ignore-gfp-wait", "Y"),
                            ("verbose", 0), ("interval", 1), ("times", -1),
                            ("probability", 100)):
            (FAILURES / name).write_text(str(value))
        yield
    finally:
        (FAILURES / "probability").write_text("0")


def posted(host):
    """Receive buffers the HCA has of a host's first datagram queue pair."""
    pairs = queue_pairs(host)
    return int(pairs[min(qpn for qpn in pairs if qpn > 1)]["rq"].split("/")[0])


# Takes what comes and reads none of it.
HOARD = """
import signal, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)   # SO_RCVBUFFORCE
s.bind(("", 9999))
open(sys.argv[1], "w").close()
signal.pause()
"""


@pytest.mark.instrumented
@pytest.mark.needs("rings")
def test_a_ring_recovers_from_a_lack_of_memory(tmp_path):
    """Even one that has run dry, into which nothing comes any more."""
    # buffers are posted sixteen at a time
    full = posted(1) - 16
    assert full > 400
    ready = tmp_path / "ready"
    hoard = start_on(1, sys.executable, "-c", HOARD, ready)
    flood = None
    try:
        wait_until("it listens", ready.exists)
        with no_pages():
            flood = start_on(2, sys.executable, "-c", (
                "import socket\n"
                "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                f"while True: s.sendto(bytes(1900), ('{ip4(1)}', 9999))"))
            wait_until("the ring runs dry", lambda: posted(1) == 0,
                       timeout=60)
        flood.kill()
        wait_until("the ring is full again", lambda: posted(1) > full)
    finally:
        for process in filter(None, (hoard, flood)):
            process.kill()
            process.wait()
    wait_until("it answers", lambda: ping(2, ip4(1), 1, "-W", 1, check=False))
    ping(2, ip4(1), 20, "-s", 1900)
    assert posted(1) > full


@pytest.mark.core
@pytest.mark.needs("heals")
@pytest.mark.parametrize("name, rule", [
    ("completions", "status=LOC_LEN_ERR every=20 dir=recv"),
    ("verbs", "post_recv every=3")])
def test_no_place_in_the_ring_is_lost_for_good(name, rule):
    """Neither of a receive that fails, nor of a buffer that is not taken."""
    full = posted(1) - 16
    assert full > 400
    with fault("fab1", name, rule) as failure:
        def often():
            on(2, "ping", "-q", "-f", "-c", 200, "-W", 1, ip4(1), check=False)
            return failure.hit >= 40

        wait_until("it struck often", often, timeout=60)
    wait_until("the ring is full again", lambda: on(
        2, "ping", "-q", "-f", "-c", 50, "-W", 1, ip4(1), check=False) and
        posted(1) > full)
    ping(2, ip4(1), 20, "-s", 1900)
