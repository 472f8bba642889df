# SPDX-License-Identifier: GPL-2.0
"""The measuring itself, inside a lab machine: who is measured, and how?

A contender is something packets go over: a driver, a veth pair, bare verbs. A
row is one way to load it. Each measurement is announced before and told after,
one JSON object a line on stdout, so that the host can take the processor time
of the whole machine in between.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent /
                       "functional"))

from labkit import (HOSTS, LabError, ip4, loop, on, run, start_on,  # noqa: E402 pylint: disable=wrong-import-position
                    wait_until)

PORT = 5201
FLOWS = 4
# Bytes of one write or read: with iperf3's own 128 KiB two fifths of the
# processor time go into User Mode Linux's way into the kernel and back.
BLOCK = "1M"
# what the bulk load of a round trip under load runs longer on each side
MARGIN = 1
OFFLOADS = ("tso", "gso", "gro", "sg", "tx", "rx", "lro")
MTU = 2044
LOOP_MESSAGES = 200000


def tell(**fact):
    """One line for the host."""
    print(json.dumps(fact), flush=True)


# -- contenders --------------------------------------------------------------

class Driver:
    """ib_ipoib, ours or the kernel's own, between host1 and host2."""

    def __init__(self, name, parameters):
        self.name = name
        self.which = name.split("-")[0]
        self.parameters = parameters
        self.device = "ib0"

    @contextlib.contextmanager
    def there(self):
        """The driver is loaded, and unloaded afterwards."""
        run("lab-driver", "load", self.which, *self.parameters)
        try:
            yield self
        finally:
            run("lab-driver", "unload")

    def address(self, end):
        """The address at one end, 1 or 2."""
        return ip4(end)


class Veth:
    """A veth pair between host1 and host2: what the stack alone can do."""

    name = "veth"
    device = "bench0"

    @contextlib.contextmanager
    def there(self):
        """The pair, with an IPoIB interface's MTU."""
        run("ip", "link", "add", self.device, "mtu", MTU, "netns", "host1",
            "type", "veth", "peer", "name", self.device, "mtu", MTU, "netns",
            "host2")
        try:
            for end in (1, 2):
                on(end, "ip", "addr", "add", f"{self.address(end)}/24", "dev",
                   self.device)
                on(end, "ip", "link", "set", self.device, "up")
            yield self
        finally:
            on(1, "ip", "link", "del", self.device)

    @staticmethod
    def address(end):
        """The address at one end, 1 or 2."""
        return f"10.45.0.{end}"


class Verbs:
    """Bare verbs between two HCAs: the floor under every driver."""

    name = "verbs"

    @contextlib.contextmanager
    def there(self):
        """The module that posts and polls in the kernel."""
        run("insmod", f"{os.environ['LAB_MODULES']}/fabric_loop.ko")
        try:
            yield self
        finally:
            run("rmmod", "fabric_loop")


@contextlib.contextmanager
def without_offloads(where):
    """Everything off that ethtool can switch off, at both ends."""
    for end in (1, 2):
        for name in OFFLOADS:
            # what is fixed cannot be switched, and what is off stays so
            on(end, "ethtool", "-K", where.device, name, "off", check=False)
    yield
    for end in (1, 2):
        for name in reversed(OFFLOADS):
            on(end, "ethtool", "-K", where.device, name, "on", check=False)


# -- loads -------------------------------------------------------------------

class Server:
    """iperf3 servers at one end, one process a flow.

    @prefix is what they are started with, as `taskset`.
    """

    def __init__(self, where, end, flows, prefix=()):
        self.ports = range(PORT, PORT + flows)
        self.end = end
        self.prefix = prefix
        self.address = where.address(end)
        self.processes = []

    def __enter__(self):
        for port in self.ports:
            self.processes.append(start_on(
                self.end, *self.prefix, "iperf3", "-s", "-1", "-p", port, "-B",
                self.address, stdout=subprocess.DEVNULL))
        wait_until("iperf3 listens", lambda: on(
            self.end, "ss", "-Hltn", "src", self.address).stdout.count(
                "LISTEN") >= len(self.ports))
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()


def start_clients(where, end, ports, *options, prefix=()):
    """One iperf3 client process for each port, from @end to the other."""
    other = where.address(3 - end)
    return [start_on(end, *prefix, "iperf3", "-J", "-p", port, "-B",
                     where.address(end), "-c", other, "-l", BLOCK, *options,
                     stdout=subprocess.PIPE) for port in ports]


def reports(processes):
    """What iperf3 clients say at their end."""
    found = []
    for process in processes:
        report = json.loads(process.communicate()[0] or
                            '{"error": "iperf3 said nothing"}')
        if "error" in report:
            raise LabError(report["error"])
        found.append(report["end"])
    return found


def received(ends):
    """(bits per second, bytes) that arrived, of TCP reports."""
    sums = [end["sum_received"] for end in ends]
    return (sum(one["bits_per_second"] for one in sums),
            sum(one["bytes"] for one in sums))


def tcp(where, seconds, flows):
    """TCP streams from host1 to host2."""
    with Server(where, 2, flows) as server:
        bits, size = received(reports(start_clients(
            where, 1, server.ports, "-t", seconds)))
    return {"value": bits, "bytes": size}


STEER = pathlib.Path("/sys/module/ib_fabric/parameters/steer")


def tcp_opposite(where, seconds, prefixes):
    """A TCP stream each way in turn, one for each of @prefixes, at once."""
    with contextlib.ExitStack() as stack:
        flows = [(end, stack.enter_context(Server(where, 3 - end, 1, prefix)),
                  prefix) for end, prefix in enumerate(prefixes, 1)]
        clients = [client for end, server, prefix in flows for client in
                   start_clients(where, end, server.ports, "-t", seconds,
                                 prefix=prefix)]
        bits, size = received(reports(clients))
    return {"value": bits, "bytes": size}


def tcp_kept(where, seconds, flows):
    """TCP streams of opposite directions, each on a processor of its own.

    Both ends and all that the kernel does for them stay there, as they do by
    themselves over a veth pair.
    """
    STEER.write_text("sender")
    try:
        return tcp_opposite(where, seconds, [["taskset", "-c", processor]
                                             for processor in range(flows)])
    finally:
        STEER.write_text("vector")


def udp(where, seconds):
    """Datagrams of 64 bytes as fast as they go: those that arrive."""
    tool, address = os.environ["BENCH_DATAGRAMS"], where.address(2)
    server = start_on(2, tool, "recv", address, PORT, stdout=subprocess.PIPE)
    try:
        wait_until("the receiver listens", lambda: f":{PORT}" in on(
            2, "ss", "-Hlun").stdout)
        on(1, tool, "send", address, PORT, seconds)
        arrived, nanoseconds = map(int, server.communicate(timeout=60)[0]
                                   .split())
    finally:
        server.kill()
        server.wait()
    return {"value": arrived * 1e9 / nanoseconds, "bytes": arrived * 64}


def gid(host, device):
    """The GID in a host's link address."""
    address = json.loads(on(host, "ip", "-j", "link", "show", "dev",
                            device).stdout)[0]["address"]
    digits = address.replace(":", "")[8:]
    return ":".join(digits[at:at + 4] for at in range(0, 32, 4))


def neighbours(count):
    """Packets a second to so many neighbours that are all known.

    They are queue pairs of all other hosts' GIDs.
    """
    def measure(where, seconds):
        gids = [gid(host, where.device) for host in range(2, HOSTS + 1)]
        for host in range(2, HOSTS + 1):
            # so that each path is known before many share it
            on(1, "ping", "-q", "-c", 1, ip4(host))
        with start_on(1, os.environ["BENCH_DATAGRAMS"], "spread",
                      where.device, count, seconds, *gids,
                      stdin=subprocess.PIPE,
                      stdout=subprocess.PIPE) as sender:
            sender.stdout.readline()
            # what waited for its path has left when the last has
            time.sleep(MARGIN)
            tell(event="work")
            sender.stdin.write("\n")
            sender.stdin.flush()
            sent = int(sender.stdout.readline())
        return {"value": sent / seconds, "packets": sent}
    return measure


def round_trips(where, seconds):
    """Percentiles of TCP round trips of 64 bytes, in microseconds."""
    server = start_on(2, "sockperf", "sr", "--tcp", "-i", where.address(2),
                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until("sockperf listens", lambda: "11111" in on(
            2, "ss", "-Hltn").stdout)
        out = on(1, "sockperf", "pp", "--tcp", "-i", where.address(2), "-m",
                 "64", "-t", seconds, "--full-rtt").stdout
    finally:
        server.kill()
        server.wait()
    found = {float(share): float(usecs) for share, usecs in
             re.findall(r"percentile ([\d.]+) =\s+([\d.]+)", out)}
    return {"value": found[50.0], "p99": found[99.0]}


def round_trips_loaded(where, seconds):
    """The same while one TCP stream fills the link."""
    with Server(where, 2, 1) as server:
        bulk = start_clients(where, 1, server.ports, "-t",
                             seconds + 2 * MARGIN)
        wait_until("the stream flows", lambda: on(
            1, "ss", "-Htn", "state", "established", "dport", "=",
            f":{PORT}").stdout.count("\n") >= 2)
        time.sleep(MARGIN)
        found = round_trips(where, seconds)
        reports(bulk)
    return found


def verbs(size, both):
    """Messages a second over bare verbs."""
    def measure(_where, _seconds):
        result = loop(1, 2, size=size, messages=LOOP_MESSAGES, both=both)
        rate = result["received"] * 1e9 / result["ns"]
        return {"value": rate, "bytes": result["received"] * size,
                "messages": result["received"]}
    return measure


def bare(measure):
    """A load with every offload switched off."""
    def wrapped(where, seconds):
        with without_offloads(where):
            return measure(where, seconds)
    return wrapped


LOADS = {
    "tcp1": lambda where, seconds: tcp(where, seconds, 1),
    "tcp4": lambda where, seconds: tcp(where, seconds, FLOWS),
    "udp64": udp,
    "neigh1": neighbours(1),
    "neigh10k": neighbours(10000),
    "rr": round_trips,
    "rr-loaded": round_trips_loaded,
    "tcp1-bare": bare(lambda where, seconds: tcp(where, seconds, 1)),
    "tcp2-bare": bare(lambda where, seconds: tcp_opposite(where, seconds,
                                                          [(), ()])),
    "tcp1-kept": bare(lambda where, seconds: tcp_kept(where, seconds, 1)),
    "tcp2-kept": bare(lambda where, seconds: tcp_kept(where, seconds, 2)),
    "loop64": verbs(64, 0),
    "loop64-both": verbs(64, 1),
    "loop2k": verbs(2048, 0),
    "loop2k-both": verbs(2048, 1),
}


# -- the run -----------------------------------------------------------------

def contender(word):
    """NAME or NAME:PARAMETER,PARAMETER of a driver."""
    name, _, parameters = word.partition(":")
    if name == "veth":
        return Veth()
    if name == "verbs":
        return Verbs()
    return Driver(name, parameters.split(",") if parameters else [])


def keep_symbols():
    """For whoever profiles the machine from outside: what is where now."""
    pathlib.Path(os.environ["LAB_OUT"], "kallsyms").write_text(
        pathlib.Path("/proc/kallsyms").read_text(encoding="ascii"),
        encoding="ascii")


def measure_all(where, rows, args):
    """Each row once over one contender."""
    with where.there():
        keep_symbols()
        for row in rows:
            tell(event="begin", contender=where.name, row=row)
            if args.awaited:
                file = pathlib.Path(os.environ["LAB_OUT"], args.awaited)
                wait_until(f"the host made {file}", file.exists)
            found = LOADS[row](where, args.seconds)
            tell(event="end", contender=where.name, row=row, **found)


def main():
    """Take turns: each contender once in each round."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--turn", action="append", required=True,
                        metavar="CONTENDER=ROW,ROW...")
    parser.add_argument("--await", dest="awaited", metavar="FILE",
                        help="load when FILE is in the run's folder")
    args = parser.parse_args()
    turns = [(contender(name), rows.split(",")) for name, _, rows in
             (turn.rpartition("=") for turn in args.turn)]
    if os.environ.get("LAB_DRIVER") != "none":
        run("lab-driver", "unload")
    for number in range(args.rounds):
        tell(event="round", number=number)
        for where, rows in turns:
            measure_all(where, rows, args)


if __name__ == "__main__":
    main()
