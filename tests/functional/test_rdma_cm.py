# SPDX-License-Identifier: GPL-2.0
"""The RDMA connection manager finds the interface that a request is for."""

import contextlib
import errno
import os
import subprocess

import pytest

from labkit import (SLOW, attr, has_carrier, ip4, ip6, link, link_up, on,
                    reaches, run, start_on, wait_until)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("children")]

FILE = "/sys/kernel/debug/fabric_cm"
PORT = 7471


@pytest.fixture(autouse=True, scope="module")
def manager():
    run("modprobe", "rdma_cm")
    run("insmod", f"{os.environ['LAB_MODULES']}/fabric_cm.ko")
    yield
    run("rmmod", "fabric_cm")
    run("modprobe", "-r", "rdma_cm", check=False)


def order(host, line):
    """Write to the file, in a host's namespace but with the files of here."""
    run("nsenter", f"--net=/run/netns/host{host}", "sh", "-c",
        f"echo {line} > {FILE}")


def state():
    text = run("cat", FILE).stdout
    return {name: int(value) for name, value in
            (line.split() for line in text.splitlines())}


@pytest.fixture(autouse=True)
def listener():
    """Host 2 listens on every address it has."""
    order(2, f"listen {PORT}")
    yield
    order(2, "off")


def index(name):
    return int(attr(2, "ifindex", name))


def found_on(address, name):
    """A request from host 1 is heard, and on this interface."""
    before = state()["heard"]

    def is_heard():
        order(1, f"ask {address} {PORT}")
        return state()["heard"] > before

    wait_until("it is heard", is_heard, timeout=60)
    assert state()["ifindex"] == index(name)


def child(host, name, pkey, address):
    on(host, "ip", "link", "add", "link", "ib0", "name", name, "type",
       "ipoib", "pkey", hex(pkey))
    on(host, "ip", "addr", "add", f"{address}/24", "dev", name)
    on(host, "ip", "link", "set", name, "up")
    wait_until("carrier", lambda: has_carrier(host, name))


@pytest.fixture
def children():
    """Hosts 1 and 2 on one more partition; host 2 with two of one key."""
    child(1, "kid0", 0x8001, "10.84.0.1")
    child(2, "kid0", 0x8001, "10.84.0.2")
    child(2, "kid1", 0x8001, "10.84.0.3")
    yield
    for host, name in ((1, "kid0"), (2, "kid0"), (2, "kid1")):
        on(host, "ip", "link", "del", name, check=False)


@pytest.mark.core
def test_the_interface_of_the_port():
    found_on(ip4(2), "ib0")


def test_by_an_ipv6_address():
    wait_until("it answers", lambda: on(
        1, "ping", "-c", 1, ip6(2), check=False).returncode == 0)
    found_on(ip6(2), "ib0")


@pytest.mark.core
def test_children_by_partition_and_by_address(children):
    """One key names several, and the address decides."""
    wait_until("an answer", lambda: reaches(1, "10.84.0.2"))
    found_on("10.84.0.2", "kid0")
    found_on("10.84.0.3", "kid1")
    found_on(ip4(2), "ib0")


def test_nobody_has_the_address(children):
    """Host 2 is asked for what it does not have: nothing is heard.

    Asked the same way for what it has, it hears. It refuses either, which
    is no silence: that would be ETIMEDOUT.
    """
    wait_until("an answer", lambda: reaches(1, "10.84.0.2"))
    lladdr = link(2, "kid0")["address"]
    for address in ("10.84.0.77", "10.84.0.2"):
        on(1, "ip", "neigh", "replace", address, "lladdr", lladdr, "dev",
           "kid0", "nud", "permanent")
    before = state()["heard"]
    order(1, f"ask 10.84.0.77 {PORT}")
    nobody = state()
    order(1, f"ask 10.84.0.2 {PORT}")
    somebody = state()
    assert (nobody["heard"], somebody["heard"]) == (before, before + 1)
    assert nobody["asked"] == somebody["asked"] == -errno.EHOSTUNREACH


def test_a_bond_answers_for_what_it_is_made_of():
    run("modprobe", "bonding", "max_bonds=0")
    on(2, "ip", "link", "add", "bond7", "type", "bond", "mode",
       "active-backup", "fail_over_mac", "active", "miimon", 50)
    try:
        on(2, "ip", "link", "set", "ib0", "down")
        on(2, "ip", "link", "set", "ib0", "master", "bond7")
        on(2, "ip", "addr", "flush", "dev", "ib0")
        on(2, "ip", "addr", "add", f"{ip4(2)}/24", "dev", "bond7")
        on(2, "ip", "link", "set", "bond7", "up")
        wait_until("it answers", lambda: reaches(1, ip4(2)), timeout=60)
        found_on(ip4(2), "bond7")
    finally:
        on(2, "ip", "link", "set", "ib0", "nomaster", check=False)
        on(2, "ip", "link", "del", "bond7")
        run("rmmod", "bonding", check=False)
        on(2, "ip", "addr", "replace", f"{ip4(2)}/24", "dev", "ib0")
        link_up(2)


@contextlib.contextmanager
def asking(address):
    """Host 1 asks there again and again, whatever comes of it."""
    process = start_on(1, "nsenter", "-t", os.getpid(), "-m", "sh", "-c",
                       f"while echo ask {address} {PORT} > {FILE} || :; "
                       "do :; done", stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=60 * SLOW)


def test_who_is_found_may_be_deleted_meanwhile():
    """A request finds a child that comes and goes, or finds none."""
    child(1, "kid0", 0x8001, "10.84.0.1")
    on(1, "ip", "neigh", "replace", "10.84.0.2", "lladdr", link(2)["address"],
       "dev", "kid0", "nud", "permanent")
    before = state()["heard"]
    try:
        with asking("10.84.0.2"):
            for _ in range(5):
                heard = state()["heard"]
                child(2, "kid0", 0x8001, "10.84.0.2")
                wait_until("it is found", lambda n=heard: state()["heard"] > n)
                on(2, "ip", "link", "del", "kid0")
    finally:
        on(1, "ip", "link", "del", "kid0")
    assert state()["heard"] >= before + 5


@contextlib.contextmanager
def vrf(name):
    """An interface of host 2 in a routing domain of its own."""
    run("modprobe", "vrf")
    on(2, "ip", "link", "add", "vrf7", "type", "vrf", "table", 10)
    on(2, "ip", "link", "set", "vrf7", "up")
    try:
        on(2, "ip", "link", "set", name, "master", "vrf7")
        wait_until("carrier", lambda: has_carrier(2, name), timeout=60)
        yield
    finally:
        on(2, "ip", "link", "del", "vrf7")
        run("rmmod", "vrf", check=False)


@pytest.mark.core
def test_a_routing_domain_does_not_answer_for_what_is_in_it():
    """A VRF is a table of routes and no link: the interface itself is found."""
    try:
        with vrf("ib0"):
            wait_until("it answers", lambda: reaches(1, ip4(2)), timeout=60)
            found_on(ip4(2), "ib0")
    finally:
        link_up(2)
    wait_until("it answers", lambda: reaches(1, ip4(2)), timeout=60)
    found_on(ip4(2), "ib0")


def test_children_in_a_routing_domain(children):
    """The address decides between two of one key, in the domain or not."""
    with vrf("kid1"):
        wait_until("an answer", lambda: reaches(1, "10.84.0.3"), timeout=60)
        found_on("10.84.0.3", "kid1")
        found_on("10.84.0.2", "kid0")
        found_on(ip4(2), "ib0")


@pytest.mark.needs("partitions")
def test_an_address_of_the_routing_domain_itself(children):
    """It is not the interface's own, but of what is above it.

    Of two of one key the kernel's own driver finds neither by it.
    """
    with vrf("kid1"):
        on(2, "ip", "addr", "add", "10.84.0.9/32", "dev", "vrf7")
        wait_until("an answer", lambda: reaches(1, "10.84.0.9"), timeout=60)
        found_on("10.84.0.9", "kid1")
