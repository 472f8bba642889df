# SPDX-License-Identifier: GPL-2.0
"""Interfaces of the hardware type that are not ours: no parents of children."""

import contextlib
import sys

import pytest

from labkit import interface_names, link, link_up, on, ping, run

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("partitions")]

HOST = 3
NAME = "alike"
KID = "kid"

TUN = """
import fcntl, struct, sys
TUNSETIFF, TUNSETPERSIST, TUNSETLINK = 0x400454ca, 0x400454cb, 0x400454cd
IFF_TUN, IFF_NO_PI, ARPHRD_INFINIBAND = 1, 0x1000, 32
with open("/dev/net/tun", "r+b", buffering=0) as tun:
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", sys.argv[1].encode(),
                                            IFF_TUN | IFF_NO_PI))
    fcntl.ioctl(tun, TUNSETLINK, ARPHRD_INFINIBAND)
    fcntl.ioctl(tun, TUNSETPERSIST, 1)
"""


@contextlib.contextmanager
def above(module, *words):
    """A device that takes the type of the interface below it."""
    on(HOST, "ip", "link", "add", NAME, *words)
    try:
        on(HOST, "ip", "link", "set", "ib0", "down")
        on(HOST, "ip", "link", "set", "ib0", "master", NAME)
        yield
    finally:
        on(HOST, "ip", "link", "set", "ib0", "nomaster", check=False)
        on(HOST, "ip", "link", "del", NAME)
        run("rmmod", module, check=False)
        on(HOST, "ip", "addr", "replace", f"10.44.0.{HOST}/24", "dev", "ib0")
        link_up(HOST)


def bond():
    run("modprobe", "bonding", "max_bonds=0")
    return above("bonding", "type", "bond", "mode", "active-backup",
                 "fail_over_mac", "active")


def team():
    run("modprobe", "team")
    return above("team", "type", "team")


@contextlib.contextmanager
def tun():
    run("modprobe", "tun")
    on(HOST, sys.executable, "-c", TUN, NAME)
    try:
        yield
    finally:
        on(HOST, "ip", "link", "del", NAME)


@pytest.fixture(params=[bond, team, tun], ids=lambda make: make.__name__)
def stranger(request):
    with request.param():
        assert link(HOST, NAME)["link_type"] == "infiniband"
        yield NAME
    ping(HOST, "10.44.0.1", 3)


def add(parent, *words):
    return on(HOST, "ip", "link", "add", "link", parent, "name", KID, "type",
              "ipoib", *words, check=False)


@pytest.mark.core
def test_one_of_the_type_is_no_parent(stranger):
    """Refused with a reason, and nothing is left of it."""
    before = interface_names(HOST)
    for words in ((), ("pkey", "0x8001"), ("mode", "datagram", "umcast", "1")):
        done = add(stranger, *words)
        assert done.returncode
        assert "no interface of this driver" in done.stderr
    assert interface_names(HOST) == before
    assert on(HOST, "ls", f"/sys/class/net/{stranger}/create_child",
              check=False).returncode


def test_what_happens_to_one_of_the_type_is_not_ours(stranger):
    """Whatever the stack tells of it, the driver does not take it for its."""
    scope = link(HOST)["broadcast"].replace("12:40:1b", "15:40:1b")
    for name, words in ((stranger, ("broadcast", scope)), (stranger, ("up",)),
                        (stranger, ("mtu", 1400)), (stranger, ("down",)),
                        (stranger, ("name", "other")),
                        ("other", ("name", stranger))):
        on(HOST, "ip", "link", "set", name, *words)
    assert "no interface of this driver" in add(stranger).stderr


def test_a_child_is_no_parent_in_any_namespace():
    """Nor has it the files that would make it one."""
    run("ip", "netns", "add", "aside")
    try:
        on(HOST, "ip", "link", "add", "link", "ib0", "name", KID, "netns",
           "aside", "type", "ipoib", "pkey", "0x8001")
        done = run("ip", "-n", "aside", "link", "add", "link", KID, "name",
                   "grand", "type", "ipoib", "pkey", "0x8002", check=False)
        assert done.returncode
        assert "child itself" in done.stderr
        files = run("ip", "netns", "exec", "aside", "ls",
                    f"/sys/class/net/{KID}").stdout.split()
        assert "parent" in files
        assert not {"create_child", "delete_child"} & set(files)
        names = run("ip", "netns", "exec", "aside", "ls",
                    "/sys/class/net").stdout.split()
        assert sorted(names) == [KID, "lo"]
        run("ip", "-n", "aside", "link", "del", KID)
    finally:
        run("ip", "netns", "del", "aside")
