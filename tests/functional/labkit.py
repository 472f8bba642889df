# SPDX-License-Identifier: GPL-2.0
"""What the functional tests say to the machine they run in.

Everything here runs inside the lab: hosts are network namespaces, the fabric
is reached by its debugfs files. Nothing sleeps to win a race: wait_until()
polls a condition and fails with what it waited for.
"""

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import umad

FABRIC = pathlib.Path("/sys/kernel/debug/ib_fabric")
DRIVER = os.environ.get("LAB_DRIVER", "none")
KERNEL = os.environ.get("LAB_KERNEL", "uml")
HOSTS = int(os.environ.get("LAB_HOSTS", "2"))
# the options that make this lab unlike the default one, each `name=value`
VARIANT = os.environ.get("LAB_VARIANT", "").split()
# what an interface of the lab carries
MTU = 4092 if "mtu=4092" in VARIANT else 2044

# Emulated and instrumented machines are slow; a bound on a wait is there to
# end a test that has failed, not to measure.
SLOW = 1 if KERNEL == "uml" else 4

SM_GUID = "0x02fab00000000001"
BROADCAST = "ff12:401b:ffff::ffff:ffff"


class LabError(AssertionError):
    """A command or a wait that failed, told in one piece."""


def run(*cmd, check=True, timeout=120):
    """Run a command, return it with its output as text."""
    done = subprocess.run([str(c) for c in cmd], capture_output=True,
                          text=True, timeout=timeout * SLOW,
                          stdin=subprocess.DEVNULL, check=False)
    if check and done.returncode:
        raise LabError(f"{' '.join(map(str, cmd))}: exit {done.returncode}\n"
                       f"{done.stdout}{done.stderr}")
    return done


def on(host, *cmd, **kwargs):
    """Run a command on a host."""
    return run("ip", "netns", "exec", f"host{host}", *cmd, **kwargs)


def start_on(host, *cmd, **kwargs):
    """Start a command on a host and leave it running."""
    return subprocess.Popen(["ip", "netns", "exec", f"host{host}",
                             *map(str, cmd)], text=True,
                            **{"stdin": subprocess.DEVNULL, **kwargs})


def wait_until(what, condition, timeout=30):
    """Poll until condition() is true; its value is returned."""
    end = time.monotonic() + timeout * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise LabError(f"waited {timeout * SLOW} s in vain: {what}")
        time.sleep(0.02)


@contextlib.contextmanager
def within(seconds):
    """So long at most, by the clock on the wall where that says something."""
    start = time.monotonic()
    yield
    took = time.monotonic() - start
    print(f"{took:.1f} s")
    assert took <= seconds * SLOW, took


# --- The fabric -------------------------------------------------------------

def counters(where="."):
    """Counters of the whole fabric, or of one port ("fab1/port1")."""
    text = (FABRIC / where / "counters").read_text()
    return {name: int(value) for name, value in
            (line.split() for line in text.splitlines())}


def port_dir(host):
    """debugfs folder of a host's HCA port; host 0 is the subnet manager's."""
    return FABRIC / f"fab{host}" / "port1"


def set_link(host, state):
    """Pull a host's cable ("down") or plug it again ("up")."""
    (port_dir(host) / "link").write_text(state)


def ib_port(host, name):
    """A file of a host's HCA port in sysfs."""
    path = pathlib.Path(f"/sys/class/infiniband/fab{host}/ports/1/{name}")
    return path.read_text().strip()


def lid(host):
    return int(ib_port(host, "lid"), 16)


def port_is_active(host):
    """Its state is, and it has a LID.

    OpenSM finishes with the LID it has seen, 0, when a port is torn out and
    put back in the middle of a sweep; the next sweep finds that.
    """
    return ib_port(host, "state").endswith("ACTIVE") and lid(host) > 0


def all_active():
    return all(port_is_active(host) for host in range(HOSTS + 1))


@contextlib.contextmanager
def without_opensm():
    """Nobody writes over what is set by hand; afterwards all is as it was."""
    wait_until("all ports ACTIVE", all_active)
    run("lab-sm", "stop")
    try:
        yield
    finally:
        run("lab-sm", "start")
        wait_until("all ports ACTIVE", all_active)


# Where OpenSM finds what it is told, and what it has of partitions
SM_FOLDER = pathlib.Path(os.environ.get("LAB_SM_CONF", "/run/lab/sm"))
PARTITIONS = SM_FOLDER / "partitions.conf"


def restart_opensm(text, file=PARTITIONS, timeout=30):
    """Have it begin anew with other partitions, or with another file."""
    run("lab-sm", "stop")
    file.write_text(text)
    run("lab-sm", "start")
    wait_until("all ports ACTIVE", all_active, timeout=timeout)


def reread_partitions(text):
    """Have it go on with other partitions; groups that it has stay."""
    PARTITIONS.write_text(text)
    os.kill(int((SM_FOLDER / "pid").read_text()), signal.SIGHUP)


@contextlib.contextmanager
def opensm_held():
    """OpenSM does and answers nothing meanwhile, and then goes on.

    Unlike without_opensm() nobody has to register anew afterwards, so ports
    have nothing to ask on their own.
    """
    wait_until("all ports ACTIVE", all_active)
    process = int(pathlib.Path(os.environ["LAB_SM_CONF"],
                               "pid").read_text())
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def switch_port(host):
    """Number of the switch port that a host's cable leads to."""
    return host + 1


def mft():
    """Multicast forwarding: ports by multicast LID."""
    table = {}
    for line in (FABRIC / "switch0/mft").read_text().splitlines():
        mlid, *ports = line.split()
        table[int(mlid, 16)] = {int(port) for port in ports}
    return table


def set_mft(mlid, verb, port):
    (FABRIC / "switch0/mft").write_text(f"{mlid:#x} {verb} {port}")


def lft():
    """Unicast forwarding: port by LID."""
    lines = (FABRIC / "switch0/lft").read_text().splitlines()
    return {int(a): int(b) for a, b in (line.split() for line in lines)}


def set_lft(dlid, port):
    (FABRIC / "switch0/lft").write_text(f"{dlid} {port}")


def group_mlid(mgid):
    """MLID the subnet administrator gave a group, None without one."""
    text = run("saquery", "-C", "fab0", "-g").stdout
    for record in text.split("MCMemberRecord group dump:")[1:]:
        fields = dict(re.findall(r"^\s*(\w+)\.*(\S+)$", record, re.M))
        if fields.get("MGID", "").lower() == mgid.lower():
            return int(fields["Mlid"], 16)
    return None


LOOP = pathlib.Path("/sys/kernel/debug/fabric_loop")


def loop(source, target, size=64, messages=1000, **more):
    """Send datagrams with bare verbs; the result by name.

    @more is both, chain, inline or usecs.
    """
    words = {"both": 0, "chain": 1, "inline": 0, "usecs": 0} | more
    line = f"fab{source} fab{target} bytes={size} messages={messages} " + \
        " ".join(f"{name}={value}" for name, value in words.items())
    # A buffered file would write once more when the first write fails.
    with LOOP.open("wb", buffering=0) as file:
        file.write(line.encode())
    return loop_result()


def loop_result():
    """What the last loop() that ended found."""
    return {name: int(value) for name, value in
            (line.split() for line in LOOP.read_text().splitlines())}


MISUSE = pathlib.Path("/sys/kernel/debug/fabric_misuse")


def misuse(name, host=1):
    """Have fabric_misuse.ko do something to an HCA; the result by name."""
    MISUSE.write_text(f"fab{host} {name}")
    return {key: int(value) for key, value in
            (line.split() for line in MISUSE.read_text().splitlines())}


def events(where):
    """Events of a port ("fab1/port1") or of an HCA ("fab1"), by name."""
    text = (FABRIC / where / "events").read_text()
    return {name: int(value) for name, value in
            (line.split() for line in text.splitlines())}


class KernelLog:
    """What the kernel says from now on."""

    def __init__(self):
        self.file = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self.file, 0, os.SEEK_END)

    def close(self):
        os.close(self.file)

    def lines(self):
        """Lines since the last call."""
        found = []
        while True:
            try:
                record = os.read(self.file, 8192).decode(errors="replace")
            except BlockingIOError:
                return found
            found.append(record.partition(";")[2].partition("\n")[0])


@contextlib.contextmanager
def kernel_log():
    """The kernel's log, read as it grows."""
    log = KernelLog()
    try:
        yield log
    finally:
        log.close()


def mentions(lines, text):
    """How many of the lines have a text in them."""
    return sum(text in line for line in lines)


TRACING = pathlib.Path("/sys/kernel/tracing")


@contextlib.contextmanager
def traced(*events):
    """Trace events ("skb/kfree_skb", or all "ipoib"); the lines so far by call."""
    enables = [TRACING / "events" / event / "enable" for event in events]
    # the usual clock of some kernels has ticks of 10 ms, too coarse to sort by
    (TRACING / "trace_clock").write_text("mono")
    (TRACING / "trace").write_text("")
    try:
        for enable in enables:
            enable.write_text("1")
        yield lambda: [line for line in (TRACING / "trace").read_text(
            errors="replace").splitlines() if not line.startswith("#")]
    finally:
        for enable in enables:
            enable.write_text("0")


@contextlib.contextmanager
def told(*texts, times=1):
    """The kernel's log gets so many lines with each text, and not limited."""
    limit = pathlib.Path("/proc/sys/net/core/message_cost")
    before = limit.read_text()
    limit.write_text("0")
    try:
        with kernel_log() as log:
            yield
            lines = log.lines()
    finally:
        limit.write_text(before)
    for text in texts:
        if mentions(lines, text) != times:
            raise LabError(f"not {times} lines say {text!r}: {lines}")


HEALING = "workqueue/workqueue_execute_start"


def healers(lines):
    """Work items, one for each interface, that have looked after its queues."""
    return [found.group(1) for found in (re.search(
        r"work struct (\w+): function ipoib_heal_work", line)
        for line in lines) if found]


def written(path, text):
    """The errno of writing a text to a file in one go, 0 without one."""
    handle = os.open(path, os.O_WRONLY)
    try:
        os.write(handle, text.encode())
    except OSError as error:
        return error.errno
    finally:
        os.close(handle)
    return 0


def is_plugged(host):
    return (FABRIC / f"fab{host}" / "plugged").read_text() == "1\n"


def plug(host, how="1"):
    """Put an HCA in its slot, take it out ("0") or tear it out ("surprise")."""
    (FABRIC / f"fab{host}" / "plugged").write_text(how)


def edit(host, name, text):
    """Change a port's lid, prefix, pkeys, guids or capmask by hand."""
    (port_dir(host) / name).write_text(str(text))


@contextlib.contextmanager
def port_info(host):
    """What is changed in these bytes is told to the port, by management."""
    agent = umad.Agent("fab0", umad.DIRECTED)
    path = (1, switch_port(host))
    try:
        info = bytearray(umad.data(agent.ask(
            umad.smp(umad.GET, umad.PORT_INFO, path=path))))
        # IBA 14.2.5.6: no change of state
        info[32] &= 0xf0
        info[33] &= 0x0f
        yield info
        answer = agent.ask(umad.smp(umad.SET, umad.PORT_INFO, data=info,
                                    path=path))
        if umad.status(answer):
            raise LabError(f"host{host} takes no such PortInfo")
    finally:
        agent.close()


def reregister(host):
    """Ask a port to register anew, as a subnet manager that has restarted."""
    with port_info(host) as info:
        # IBA 14.2.5.6: ClientReregister
        info[51] |= 0x80


def set_master(host, master):
    """Tell a port the LID of its subnet manager; 0: that there is none."""
    with port_info(host) as info:
        # IBA 14.2.5.6: MasterSMLID
        info[18:20] = master.to_bytes(2, "big")


def set_sm_sl(host, level):
    """Tell a port that the subnet manager is reached by a service level."""
    with port_info(host) as info:
        # IBA 14.2.5.6: MasterSMSL
        info[36] = info[36] & 0xf0 | level


def table(host, name):
    """A port's P_Key or GUID table: value by index."""
    lines = (port_dir(host) / name).read_text().splitlines()
    return {int(a): int(b, 16) for a, b in (line.split() for line in lines)}


# --- Faults -----------------------------------------------------------------

class Fault:
    """A fault that is set, and what it did so far."""

    def __init__(self, path):
        self.path = path

    def _sum(self, name):
        text = self.path.read_text()
        return sum(map(int, re.findall(rf"\b{name}=(\d+)", text)))

    @property
    def seen(self):
        """Chances it had, of all its rules."""
        return self._sum("seen")

    @property
    def hit(self):
        """Times it struck, of all its rules."""
        return self._sum("hit")


@contextlib.contextmanager
def fault(where, name, text):
    """Set a fault of a port ("fab1/port1"), clear it at the end.

    Each line of @text is written by itself.
    """
    path = FABRIC / where / "faults" / name
    try:
        for line in text.splitlines():
            path.write_text(line)
        yield Fault(path)
    finally:
        path.write_text("off")


def inject(host, data, **words):
    """Send a datagram of given bytes from a host's port, as README.md says."""
    line = " ".join([*(f"{name}={value}" for name, value in words.items()),
                     f"data={data.hex()}"])
    (port_dir(host) / "inject").write_text(line)


class Ear:
    """A queue pair of a host that only listens, and what it heard."""

    path = pathlib.Path("/sys/kernel/debug/fabric_ear")

    def __init__(self, host, group=""):
        self._write(f"fab{host} {group}")

    def close(self):
        self._write("off")

    def _write(self, line):
        # A buffered file would write once more when the first write fails.
        with self.path.open("wb", buffering=0) as file:
            file.write(line.encode())

    def hears(self, count):
        """Wait until it has heard so many datagrams."""
        wait_until(f"{count} datagrams", lambda: self.received >= count)
        return self.received == count

    def __getattr__(self, name):
        words = dict(line.split(" ", 1) for line in
                     self.path.read_text().splitlines())
        if name in ("data", "grh"):
            return bytes.fromhex(words[name]) if name in words else None
        return int(words[name])


# --- Hosts ------------------------------------------------------------------

def ip4(host):
    return f"10.44.0.{host}"


def ip6(host):
    return f"fd44::{host}"


def link(host, name="ib0"):
    """`ip link` of an interface as a dict."""
    out = on(host, "ip", "-j", "-d", "link", "show", "dev", name).stdout
    return json.loads(out)[0]


def has_carrier(host, name="ib0"):
    return "LOWER_UP" in link(host, name)["flags"]


def ping(host, address, count=3, *options, check=True):
    """Ping from a host; the number of replies."""
    done = on(host, "ping", "-n", "-c", count, "-i", "0.05", "-W", 2 * SLOW,
              *options, address, check=False)
    found = re.search(r"(\d+) received", done.stdout)
    received = int(found.group(1)) if found else 0
    if check and received != count:
        raise LabError(f"host{host} to {address}: {received} of {count}\n"
                       f"{done.stdout}{done.stderr}")
    return received


def reaches(host, address):
    """One ping, true when it is answered."""
    return on(host, "ping", "-n", "-c", 1, "-W", 1, address,
              check=False).returncode == 0


class Pinger:
    """Pings in the background; what came of them once they have ended.

    ping gives up what is under way when it is told to end, and on a busy
    machine that is several packets. So it is asked how many it has sent by
    then, and goes on until each of those has its answer, or patience ends:
    those that have none then are lost.
    """

    def __init__(self, host, address, interval):
        self.said = tempfile.NamedTemporaryFile()
        self.asked = tempfile.NamedTemporaryFile()
        self.process = start_on(host, "ping", "-n", "-i", interval, address,
                                stdout=self.said, stderr=self.asked)
        self.sent = self.lost = 0
        self.began, self.seconds = time.monotonic(), 0.0
        self.slowest_ms = 0.0

    def _words(self, file, pattern):
        return re.findall(pattern, pathlib.Path(file.name).read_text())

    def _sent(self):
        """How many it has sent, by its own word; it must be running."""
        self.process.send_signal(signal.SIGQUIT)
        return wait_until("ping says how it goes", lambda: [
            int(sent) for sent in self._words(self.asked, r"/(\d+) packets")])[0]

    def _answered(self):
        """The packets that have an answer, the first being number 1."""
        numbers, last = set(), 0
        for word in self._words(self.said, r"icmp_seq=(\d+) ttl"):
            # 16 bits of the number, near the one before
            last += (int(word) - last + 0x8000) % 0x10000 - 0x8000
            numbers.add(last)
        return numbers

    def end(self, patience=5):
        """Let the last ones arrive, stop, and count."""
        wanted = set(range(1, self._sent() + 1))
        self.seconds = time.monotonic() - self.began
        until = time.monotonic() + patience * SLOW
        while wanted - self._answered() and time.monotonic() < until:
            time.sleep(0.05)
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=60 * SLOW)
        self.sent, self.lost = len(wanted), len(wanted - self._answered())
        for slowest in self._words(self.said, r"= [\d.]+/[\d.]+/([\d.]+)/"):
            self.slowest_ms = float(slowest)
        self.said.close()
        self.asked.close()


@contextlib.contextmanager
def pinging(host, address, interval=0.001):
    """Ping a thousand times a second while something happens."""
    pinger = Pinger(host, address, interval)
    try:
        yield pinger
    finally:
        pinger.end()


def link_up(host):
    """Up, with carrier, and with the IPv6 address that going down took."""
    on(host, "ip", "link", "set", "ib0", "up")
    wait_until("carrier", lambda: has_carrier(host), timeout=60)
    on(host, "ip", "addr", "replace", f"{ip6(host)}/64", "dev", "ib0", "nodad")


@contextlib.contextmanager
def credulous(host):
    """What a host has heard of a neighbour it believes for half an hour or more."""
    files = [f"/proc/sys/net/{family}/neigh/ib0/base_reachable_time_ms"
             for family in ("ipv4", "ipv6")]
    before = [on(host, "cat", file).stdout for file in files]
    try:
        for file in files:
            on(host, "sh", "-c", f"echo 3600000 > {file}")
        yield
    finally:
        for file, text in zip(files, before):
            on(host, "sh", "-c", f"echo {text.strip()} > {file}")
        on(host, "ip", "neigh", "flush", "dev", "ib0")


SPRAY = """
import socket, sys
for port in range(300):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(b"x" * 64, (sys.argv[1], 20000 + port))
    s.close()
"""


def spray(host, address):
    """A small datagram from each of many ports: many flows."""
    on(host, sys.executable, "-c", SPRAY, address)


FROM_PORT = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.bind(("", int(sys.argv[2])))
    for _ in range(int(sys.argv[3])):
        one.sendto(b"x", (sys.argv[1], 9))
"""


def send_from(host, port, address, count=1):
    """Small datagrams from one port: one flow, which leaves by one queue."""
    on(host, sys.executable, "-c", FROM_PORT, address, port, count)


def find_flow(host, address, wanted):
    """A source port whose datagrams leave by a wanted queue.

    Flows are spread over the queues, and nothing is under way.
    """
    def sent():
        return packets_by_queue(ethtool_stats(host))

    for port in range(20000, 20200):
        before = sent()
        send_from(host, port, address)
        now = wait_until("it is sent", lambda old=before: (
            lambda new: new != old and new)(sent()))
        moved = [queue for queue in now if now[queue] > before[queue]]
        if len(moved) == 1 and wanted(moved[0]):
            return port, moved[0]
    raise LabError("no flow leaves by such a queue")


def byte_limits(host, file):
    """A number of each queue's byte limit."""
    return [int(word) for word in on(
        host, "sh", "-c", "cat /sys/class/net/ib0/queues/tx-*/"
        f"byte_queue_limits/{file}").stdout.split()]


def _set_least_limit(host, length):
    """So many bytes each queue may have under way, or more."""
    on(host, "sh", "-c", "for file in /sys/class/net/ib0/queues/tx-*/"
       f"byte_queue_limits/limit_min; do echo {length} > $file; done")


@contextlib.contextmanager
def generous_limits(host):
    """No queue is stopped for a few packets; a limit moves when it is used."""
    def in_force():
        spray(host, ip4(2))
        return min(byte_limits(host, "limit")) >= 30_000
    _set_least_limit(host, 30_000)
    try:
        wait_until("the limits are in force", in_force)
        yield
    finally:
        _set_least_limit(host, 0)


GC_INTERVAL = pathlib.Path("/proc/sys/net/ipv4/neigh/default/gc_interval")


@contextlib.contextmanager
def hasty(seconds=2):
    """Who is idle for so long is forgotten, when he is looked at."""
    before = GC_INTERVAL.read_text()
    # the driver waits twice as long as the kernel's table of neighbours
    GC_INTERVAL.write_text(str(seconds // 2))
    try:
        yield
    finally:
        GC_INTERVAL.write_text(before)


PARAMETERS = pathlib.Path("/sys/module/ib_ipoib/parameters")


@contextlib.contextmanager
def parameters(**values):
    """Parameters of the module have other values meanwhile."""
    before = {name: (PARAMETERS / name).read_text() for name in values}
    try:
        for name, value in values.items():
            (PARAMETERS / name).write_text(str(value))
        yield
    finally:
        for name, text in before.items():
            (PARAMETERS / name).write_text(text)


def debug_files(host):
    """debugfs files of a host's ib0, groups and paths: many have that name."""
    folder = pathlib.Path("/sys/kernel/debug/ipoib")
    index = on(host, "cat", "/sys/class/net/ib0/ifindex").stdout.strip()
    names = {path.name for path in folder.iterdir()}
    name = f"ib0@{index}" if f"ib0@{index}_mcg" in names else "ib0"
    return folder / f"{name}_mcg", folder / f"{name}_path"


def attr(host, file, name="ib0"):
    """A file of an interface in sysfs, without its newline."""
    return on(host, "cat", f"/sys/class/net/{name}/{file}").stdout.rstrip("\n")


def reason(host, name="ib0"):
    """Why an interface has no carrier: the word, without what follows."""
    return attr(host, "link_reason", name).split()[0]


WRITE_EACH = """
import os, sys
for data in sys.argv[2:]:
    handle = os.open(sys.argv[1], os.O_WRONLY)
    try:
        os.write(handle, bytes.fromhex(data))
    except OSError as error:
        print(error.errno)
    else:
        print(0)
    os.close(handle)
"""


def write_each(host, file, texts, name="ib0", user=None):
    """The errno of writing each text to a file of an interface, 0 without one.

    Each by one write(2); EACCES when the file does not even open.
    """
    data = [text if isinstance(text, bytes) else text.encode()
            for text in texts]
    prefix = ["setpriv", "--reuid", user, "--clear-groups"] if user else []
    done = on(host, *prefix, sys.executable, "-c", WRITE_EACH,
              f"/sys/class/net/{name}/{file}", *(one.hex() for one in data),
              check=False)
    if done.returncode:
        return [errno.EACCES] * len(data)
    return [int(code) for code in done.stdout.split()]


def write_attr(host, file, text, name="ib0", user=None):
    """The errno of writing to a file of an interface, 0 without one."""
    return write_each(host, file, [text], name, user)[0]


def interface_names(host):
    """Names of a host's interfaces."""
    return {one["ifname"] for one in
            json.loads(on(host, "ip", "-j", "link").stdout)}


def numbers(text, *names):
    """(maximum, current) of each name in what `ethtool -g` or `-l` shows."""
    return {name: tuple(int(one) for one in re.findall(
        rf"^{name}:\s+(\d+)", text, re.M)) for name in names}


def spread_flows(host, name="ib0"):
    """Have flows of one processor go by all queues."""
    on(host, "sh", "-c",
       f"for file in /sys/class/net/{name}/queues/tx-*/xps_cpus; do "
       "echo 0 > $file; done", check=False)


def ethtool_stats(host, name="ib0"):
    text = on(host, "ethtool", "-S", name).stdout
    return {key: int(value) for key, value in
            re.findall(r"^\s*([^:\s]+):\s*(\d+)$", text, re.M)}


def queue_sums(host, name="ib0"):
    """What the queues counted, those that are gone too, by way and unit."""
    stats = ethtool_stats(host, name)
    return {f"{way}_{unit}": sum(value for key, value in stats.items()
                                 if re.fullmatch(rf"{way}(\d+|_gone)_{unit}",
                                                 key))
            for way in ("rx", "tx") for unit in ("packets", "bytes")}


def shown_sums(host, name="ib0"):
    """The same as `ip -s link` shows it."""
    out = on(host, "ip", "-j", "-s", "link", "show", "dev", name).stdout
    stats = json.loads(out)[0]["stats64"]
    return {f"{way}_{unit}": stats[way][unit]
            for way in ("rx", "tx") for unit in ("packets", "bytes")}


def sums_agree(host, name="ib0"):
    """Do the queues, ethtool and ip tell of the same packets?"""
    sums, stats = queue_sums(host, name), ethtool_stats(host, name)
    return sums == shown_sums(host, name) == {key: stats[key] for key in sums}


def fabric_balances():
    """Whatever was sent was delivered or dropped, and nothing is under way."""
    now = counters()
    return not now["in_flight"] and now["sent"] + now["replicated"] == \
        now["delivered"] + now["dropped"]


def snmp(host, proto, name):
    """A counter of the host's stack, as `snmp(1, "Icmp", "InErrors")`."""
    lines = on(host, "cat", "/proc/net/snmp").stdout.splitlines()
    names, values = (line.split()[1:] for line in lines
                     if line.startswith(proto + ":"))
    return int(dict(zip(names, values))[name])


def iperf(client, server, *options, v6=False, address=None):
    """One iperf3 run between two hosts; what the client reports.

    @address is the server's on another interface than ib0.
    """
    address = address or (ip6(server) if v6 else ip4(server))
    daemon = start_on(server, "iperf3", "-s", "-1", "-B", address,
                      stdout=subprocess.DEVNULL)
    try:
        wait_until("iperf3 listens", lambda: "5201" in on(
            server, "ss", "-Hltn", "sport", "=", ":5201").stdout)
        out = on(client, "iperf3", "-J", "-c", address, *options,
                 check=False).stdout
        report = json.loads(out)
        if "error" in report:
            raise LabError(report["error"])
        return report["end"]
    finally:
        daemon.kill()
        daemon.wait()


CARRIER = """
import hashlib, os, socket, sys
how, address, path = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
if how == "take":
    with socket.create_server((address, 5203), family=family) as one:
        print("ready", flush=True)
        taker, _ = one.accept()
    digest = hashlib.sha256()
    while data := taker.recv(1 << 16):
        digest.update(data)
    print(digest.hexdigest(), flush=True)
else:
    with socket.create_connection((address, 5203)) as giver, \
            open(path, "rb") as file:
        giver.sendfile(file)
        giver.shutdown(socket.SHUT_WR)
        assert giver.recv(1) == b""
"""


def carry(source, target, size, v6=False):
    """Send so many bytes by TCP, in pieces of memory pages, and compare."""
    address = ip6(target) if v6 else ip4(target)
    with tempfile.NamedTemporaryFile() as file:
        # no two packets are alike
        data = b"".join(number.to_bytes(8, "big")
                        for number in range(size // 8))
        file.write(data)
        file.flush()
        with start_on(target, sys.executable, "-c", CARRIER, "take", address,
                      "-", stdout=subprocess.PIPE) as taker:
            try:
                assert taker.stdout.readline() == "ready\n"
                on(source, sys.executable, "-c", CARRIER, "give", address,
                   file.name)
                digest = taker.stdout.readline().strip()
            finally:
                taker.kill()
    assert digest == hashlib.sha256(data).hexdigest(), "it arrived changed"


def completion_queues(host):
    """A host's completion queues: a dict of numbers each."""
    queues = []
    for line in (FABRIC / f"fab{host}" / "cqs").read_text().splitlines():
        words = line.split()
        queues.append({name: int(value) for name, value in
                       zip(words[::2], words[1::2])})
    return queues


def packets_by_queue(stats):
    """What each transmit queue sent, of `ethtool -S`."""
    return {int(m.group(1)): value for name, value in stats.items()
            if (m := re.fullmatch(r"tx(\d+)_packets", name))}


@contextlib.contextmanager
def tx_queues(host, count):
    """A host's ib0 has so many transmit queues meanwhile."""
    before = len(packets_by_queue(ethtool_stats(host)))
    on(host, "ethtool", "-L", "ib0", "tx", count)
    try:
        yield
    finally:
        on(host, "ethtool", "-L", "ib0", "tx", before)


def queue_pairs(host):
    """A host's queue pairs by number, each a dict of words."""
    pairs = {}
    for line in (FABRIC / f"fab{host}" / "qps").read_text().splitlines():
        words = line.split()
        pair = dict(zip(words[::2], words[1::2]))
        pairs[int(pair["qpn"], 16)] = pair
    return pairs
