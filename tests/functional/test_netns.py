# SPDX-License-Identifier: GPL-2.0
"""Network namespaces: who sees an HCA, and where its interface lives."""

import glob
import json
import os
import re

import pytest

from labkit import (HOSTS, KERNEL, VARIANT, has_carrier, ip4, ip6, on, ping,
                    reaches, run, wait_until)

shared = pytest.mark.lab()
exclusive = pytest.mark.lab(rdma_netns="exclusive")
two_ports = pytest.mark.lab(rdma_netns="exclusive", hca="4:ports=2")

# the host whose HCA has two ports in such a lab
WIDE = 4
# ib_core of older kernels makes every interface in the initial namespace.
FOLLOWS = KERNEL not in ("6.1", "6.12")
# a namespace that is nobody's at first
GUEST = 99


def devices(host):
    """HCAs that a host sees."""
    lines = on(host, "rdma", "dev").stdout.splitlines()
    return {line.split()[1].rstrip(":") for line in lines}


def interfaces(host):
    """Names of a host's interfaces but for the loopback."""
    names = on(host, "ls", "/sys/class/net").stdout.split()
    return set(names) - {"lo"}


def made_at_home():
    """Host 1's interface in the initial namespace, None when there is none."""
    for where in glob.glob("/sys/class/net/*/device"):
        if os.path.realpath(where).endswith("/fab1"):
            return where.split("/")[-2]
    return None


def take_over(host):
    """Where no driver is told of an HCA's namespace, move the new interface."""
    if FOLLOWS:
        return
    name = wait_until("an interface for fab1", made_at_home)
    run("ip", "link", "set", name, "netns", f"host{host}", "name", "ib0")


def give(source, target):
    """Move host 1's HCA from one namespace to another."""
    on(source, "rdma", "dev", "set", "fab1", "netns", f"host{target}")
    take_over(target)


def set_up(host):
    """Give a namespace the interface that host 1 had."""
    on(host, "ip", "addr", "add", f"{ip4(1)}/24", "dev", "ib0")
    on(host, "ip", "addr", "add", f"{ip6(1)}/64", "dev", "ib0", "nodad")
    on(host, "ip", "link", "set", "ib0", "up")
    wait_until("carrier", lambda: has_carrier(host))
    wait_until("host 2 answers", lambda: reaches(host, ip4(2)))


@pytest.fixture
def guest():
    run("ip", "netns", "add", f"host{GUEST}")
    yield GUEST
    run("ip", "netns", "del", f"host{GUEST}", check=False)
    # With the namespace gone the kernel takes the HCA to the initial one.
    wait_until("fab1 is back", lambda: "fab1" in run("rdma", "dev").stdout
               or "fab1" in devices(1))
    if "fab1" not in devices(1):
        run("rdma", "dev", "set", "fab1", "netns", "host1")
        take_over(1)
    set_up(1)


@shared
@pytest.mark.fabric
def test_every_host_sees_all_hcas_when_they_are_shared():
    assert "netns shared" in run("rdma", "system").stdout
    everything = {f"fab{hca}" for hca in range(HOSTS + 1)}
    for host in range(1, HOSTS + 1):
        assert devices(host) == everything


@exclusive
@pytest.mark.fabric
def test_each_host_sees_its_own_hca_alone():
    assert "netns exclusive" in run("rdma", "system").stdout
    for host in range(1, HOSTS + 1):
        assert devices(host) == {f"fab{host}"}
        assert on(host, "ls", "/sys/class/infiniband").stdout.split() == \
            [f"fab{host}"]
    assert run("ls", "/sys/class/infiniband").stdout.split() == ["fab0"]


@exclusive
@pytest.mark.fabric
def test_the_subnet_manager_reaches_all_namespaces():
    out = run("ibnetdiscover", "-C", "fab0").stdout
    for host in range(HOSTS + 1):
        assert f'"H-02fab0000000{host:02x}00"' in out
    for host in range(1, HOSTS + 1):
        assert "state ACTIVE" in on(host, "rdma", "link").stdout


@shared
@exclusive
@pytest.mark.needs("netdev")
def test_each_host_has_the_interface_of_its_own_hca():
    for host in range(1, HOSTS + 1):
        wide = host == WIDE and "hca=4:ports=2" in VARIANT
        assert interfaces(host) == ({"ib0", "ib1"} if wide else {"ib0"})
        path = on(host, "readlink", "-f", "/sys/class/net/ib0/device").stdout
        assert path.strip().endswith(f"/fab{host}")
    ping(1, ip4(2), 5)
    ping(2, ip6(1), 5)


@two_ports
@pytest.mark.fabric
def test_both_ports_of_an_hca_are_its_hosts_alone():
    text = on(WIDE, "rdma", "link").stdout
    assert re.findall(r"^link (\S+) .* state ACTIVE", text, re.M) == \
        ["fab4/1", "fab4/2"]
    assert "fab4" not in on(1, "rdma", "link").stdout


@two_ports
@pytest.mark.needs("netdev")
def test_a_host_has_the_interfaces_of_both_its_ports():
    text = on(WIDE, "sh", "-c", "grep -H . /sys/class/net/ib*/dev_port").stdout
    assert dict(re.findall(r"/(ib\d+)/dev_port:(\d+)$", text, re.M)) == \
        {"ib0": "0", "ib1": "1"}
    for host, name in ((WIDE, "ib1"), (1, "ib0")):
        on(host, "ip", "addr", "add", f"10.45.0.{host}/24", "dev", name)
    try:
        wait_until("the second port is reached",
                   lambda: reaches(1, f"10.45.0.{WIDE}"))
        ping(1, f"10.45.0.{WIDE}", 5)
        ping(1, ip4(WIDE), 5)
    finally:
        for host, name in ((WIDE, "ib1"), (1, "ib0")):
            on(host, "ip", "addr", "del", f"10.45.0.{host}/24", "dev", name)


@two_ports
@pytest.mark.needs("netdev")
def test_both_interfaces_are_there_again_with_the_driver():
    run("lab-driver", "unload")
    assert not interfaces(WIDE)
    run("lab-driver", "load")
    assert interfaces(WIDE) == {"ib0", "ib1"}
    wait_until("both have carrier", lambda: all(
        has_carrier(WIDE, name) for name in ("ib0", "ib1")))


@shared
@pytest.mark.needs("netdev")
def test_a_shared_hca_does_not_move():
    done = on(1, "rdma", "dev", "set", "fab1", "netns", "host2", check=False)
    assert done.returncode
    # 6.1 gives no reason.
    assert re.search("shared|not supported", done.stdout + done.stderr)
    ping(1, ip4(2))


@exclusive
@pytest.mark.needs("netdev")
def test_an_interface_goes_where_its_hca_goes(guest):
    """The old one goes, with all that hung on it; a new one comes there."""
    give(1, guest)
    assert not interfaces(1)
    assert interfaces(guest) == {"ib0"}
    assert not reaches(2, ip4(1))
    set_up(guest)
    ping(2, ip4(1), 5)
    ping(guest, ip6(2), 5)
    give(guest, 1)
    assert not interfaces(guest)
    assert interfaces(1) == {"ib0"}


@exclusive
@pytest.mark.needs("netdev")
def test_an_hca_outlives_its_namespace(guest):
    give(1, guest)
    set_up(guest)
    run("ip", "netns", "del", f"host{guest}")
    wait_until("fab1 is in the initial namespace",
               lambda: "fab1" in run("rdma", "dev").stdout)
    wait_until("its interface is, too", lambda: "/fab1\n" in run(
        "sh", "-c", "readlink -f /sys/class/net/*/device").stdout)


@pytest.fixture
def mortal():
    """A namespace that does not outlive the test, nor maybe half of it."""
    run("ip", "netns", "add", f"host{GUEST}")
    yield GUEST
    run("ip", "netns", "del", f"host{GUEST}", check=False)


def refugees():
    """What the initial namespace has of host 1, whose GUID tells it."""
    return {one["ifname"] for one in json.loads(run(
        "ip", "-j", "link").stdout)
            if one["address"].endswith(":02:fa:b0:00:00:00:01:01")}


@shared
@pytest.mark.needs("children")
def test_an_interface_outlives_its_namespace(mortal):
    """With its child, and both work on."""
    on(1, "ip", "link", "set", "ib0", "netns", f"host{mortal}")
    try:
        set_up(mortal)
        on(mortal, "ip", "link", "add", "link", "ib0", "name", "kid", "type",
           "ipoib", "pkey", "0x8001")
        on(mortal, "ip", "link", "set", "kid", "up")
        wait_until("carrier", lambda: has_carrier(mortal, "kid"))
        run("ip", "netns", "del", f"host{mortal}")
        wait_until("both are in the initial namespace",
                   lambda: len(refugees()) == 2)
        assert "kid" in refugees()
        # the old name is taken by the subnet manager's own
        name = (refugees() - {"kid"}).pop()
        run("ip", "link", "set", name, "up")
        run("ip", "link", "set", "kid", "up")
        wait_until("carrier", lambda: "LOWER_UP" in run(
            "ip", "link", "show", "kid").stdout)
        run("ip", "link", "del", "kid")
    finally:
        wait_until("it is at home", refugees)
        name = refugees().pop()
        run("ip", "link", "set", name, "netns", "host1", "name", "ib0")
        set_up(1)
    ping(1, ip4(2), 5)


@shared
@pytest.mark.needs("children")
def test_a_child_outlives_its_namespace(mortal):
    """Its parent is elsewhere, and stays there."""
    on(1, "ip", "link", "add", "link", "ib0", "name", "kid", "type", "ipoib",
       "pkey", "0x8001")
    on(1, "ip", "link", "set", "kid", "netns", f"host{mortal}")
    on(mortal, "ip", "link", "set", "kid", "up")
    wait_until("carrier", lambda: has_carrier(mortal, "kid"))
    run("ip", "netns", "del", f"host{mortal}")
    wait_until("it is in the initial namespace",
               lambda: refugees() == {"kid"})
    run("ip", "link", "del", "kid")
    assert interfaces(1) == {"ib0"}
    ping(1, ip4(2), 5)
