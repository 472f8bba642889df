# SPDX-License-Identifier: GPL-2.0
"""Hosts' members of IP multicast groups, and what they hear."""

import contextlib
import pathlib
import re
import subprocess
import sys
import tempfile

from labkit import hasty, on, run, start_on, wait_until

TOOL = pathlib.Path(__file__).with_name("mcast_tool.py")
PORT = 5999

# One socket for each group, as a host has a limit for one socket.
JOIN = """
import resource, signal, socket, struct, sys
index = socket.if_nametoindex(sys.argv[2])
def join(number):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    group = bytes([239, 20, number >> 8, number & 255])
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                 group + struct.pack("4si", bytes(4), index))
    return s
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
members = [join(number) for number in range(int(sys.argv[1]))]
print("joined", flush=True)
signal.pause()
"""


class Member:
    """A socket of a host in a group; @group may say where, as "GROUP%NAME"."""

    def __init__(self, host, group):
        self.folder = tempfile.TemporaryDirectory()
        self.file = pathlib.Path(self.folder.name, "heard")
        self.process = start_on(host, sys.executable, TOOL, "recv", group,
                                PORT, self.file)
        try:
            wait_until(f"host{host} joined {group}", self.file.exists)
        except BaseException:
            self.leave()
            raise

    def heard(self):
        """Numbers of the datagrams that have come, in their order."""
        text = self.file.read_text()
        return [int(line) for line in text[:text.rfind("\n") + 1].split()]

    def count(self):
        return len(self.heard())

    def leave(self):
        """Once or more often."""
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


@contextlib.contextmanager
def member(host, group):
    """A socket of a host in a group, until it is closed."""
    one = Member(host, group)
    try:
        yield one
    finally:
        one.leave()


@contextlib.contextmanager
def members(host, count, name="ib0"):
    """Sockets of a host in 239.20.0.0 and the next groups, until it ends."""
    process = start_on(host, sys.executable, "-c", JOIN, count, name,
                       stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == "joined\n"
        yield
    finally:
        process.kill()
        process.wait()


def memberships():
    """What the SA has: MGID, port GID and join state of each, GIDs as text."""
    text = run("saquery", "-C", "fab0", "-m", "--smkey", "1").stdout
    for record in text.split("MCMemberRecord member dump:")[1:]:
        fields = dict(re.findall(r"^\s*(\w+)\.*(\S+)$", record, re.M))
        yield fields["MGID"], fields["PortGid"], \
            int(fields["ScopeState"], 16) & 0xf


def send(host, group, count=1, pause=0.005):
    """Send datagrams 0 to @count - 1 to a group."""
    on(host, sys.executable, TOOL, "send", group, PORT, count, pause)


class Sender:
    """Datagrams to a group in the background; when each left, by number."""

    def __init__(self, host, group, count, pause):
        self.said = tempfile.NamedTemporaryFile()
        self.process = start_on(host, sys.executable, TOOL, "send", group,
                                PORT, count, pause, stdout=self.said)
        self.sent = {}

    def end(self):
        self.process.kill()
        self.process.wait()
        text = pathlib.Path(self.said.name).read_text()
        self.sent = {int(number): float(when) for number, when in
                     map(str.split, text[:text.rfind("\n") + 1].splitlines())}
        self.said.close()


@contextlib.contextmanager
def sending(host, group, count=10 ** 6, pause=0.005):
    """Send to a group while something happens."""
    sender = Sender(host, group, count, pause)
    try:
        yield sender
    finally:
        sender.end()


@contextlib.contextmanager
def groups_left(host, seconds=2):
    """What a host only sends to is left when it has been idle for so long."""
    # another group is why the driver looks at all of them
    with hasty(seconds), member(host, "239.9.9.9"):
        yield
