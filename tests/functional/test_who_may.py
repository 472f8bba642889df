# SPDX-License-Identifier: GPL-2.0
"""Who may make and delete children.

By netlink as the core decides: who administers the namespaces concerned, a
container's root, too. By file the administrator of the machine alone.
"""

import errno
import os

import pytest

from containerkit import Container, write
from labkit import (attr, interface_names, link, link_up, on, reaches, run,
                    told, wait_until, write_attr)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("partitions")]

HOST = 3
NAME = "ib0.8001"
REFUSED = "Operation not permitted"

def add_words(name, pkey="0x8001"):
    return ["ip", "link", "add", "link", "ib0", "name", name, "type", "ipoib",
            "pkey", pkey]


@pytest.fixture
def container():
    before = {host: interface_names(host) for host in (1, HOST)}
    with Container() as box:
        yield box
    for host, names in before.items():
        assert interface_names(host) == names


@pytest.fixture
def inside(container):
    """A container that was given a host's interface."""
    on(HOST, "ip", "link", "set", "ib0", "netns", container.pid)
    yield container
    for name in container.names() - {"ib0"}:
        run("nsenter", "-t", container.pid, "-n", "ip", "link", "del", name)
    run("nsenter", "-t", container.pid, "-n", "ip", "link", "set", "ib0",
        "netns", f"host{HOST}")
    on(HOST, "ip", "addr", "replace", f"10.44.0.{HOST}/24", "dev", "ib0")
    link_up(HOST)
    wait_until("it answers", lambda: reaches(HOST, "10.44.0.1"), timeout=60)


@pytest.mark.core
def test_root_of_a_container_makes_children_by_netlink(inside):
    """Of an interface that it was given: made, used, changed, deleted."""
    inside.run("ip", "link", "set", "ib0", "up")
    inside.run(*add_words("kid"))
    inside.run("ip", "link", "set", "kid", "up")
    wait_until("carrier", lambda: "LOWER_UP" in inside.run(
        "ip", "link", "show", "kid").stdout)
    inside.run("ip", "link", "set", "kid", "type", "ipoib", "umcast", "1")
    assert inside.run("cat", "/sys/class/net/kid/umcast").stdout == "1\n"
    inside.run("ip", "link", "del", "kid")
    assert inside.names() == {"ib0"}


@pytest.mark.core
def test_root_of_a_container_writes_no_file(inside):
    """The files belong to it, but it does not administer the machine."""
    owner = inside.run("stat", "-c", "%u", "/sys/class/net/ib0/create_child")
    assert owner.stdout == "0\n"
    assert inside.write("create_child", "0x8001\n") == errno.EPERM
    assert inside.names() == {"ib0"}
    inside.run(*add_words(NAME))
    assert inside.write("delete_child", "0x8001\n") == errno.EPERM
    assert inside.names() == {"ib0", NAME}
    for file, text in (("mode", "datagram\n"), ("mode", "junk\n"),
                       ("umcast", "1\n"), ("umcast", "junk\n")):
        assert inside.write(file, text) == errno.EPERM
    assert inside.run("cat", "/sys/class/net/ib0/umcast").stdout == "0\n"
    # the machine's may, there as anywhere
    machine = ["nsenter", "-t", inside.pid, "-n", "-m"]
    assert write(machine, "/sys/class/net/ib0/mode", "datagram\n") == 0
    for text in ("1", "0"):
        assert write(machine, "/sys/class/net/ib0/umcast", text) == 0
        assert inside.run("cat", "/sys/class/net/ib0/umcast").stdout == \
            f"{text}\n"
    inside.run("ip", "link", "del", NAME)
    for file, names in (("create_child", {"ib0", NAME}),
                        ("delete_child", {"ib0"})):
        assert write(machine, f"/sys/class/net/ib0/{file}", "0x8001\n") == 0
        assert inside.names() == names


def test_root_of_a_container_deletes_what_it_was_given(container):
    """And makes nothing on the parent, which is not in its namespace."""
    on(1, *add_words("kid"))
    on(1, "ip", "link", "set", "kid", "netns", container.pid)
    container.run("ip", "link", "set", "kid", "up")
    wait_until("carrier", lambda: "LOWER_UP" in container.run(
        "ip", "link", "show", "kid").stdout)
    # which also gives the parent's namespace a number here, the first
    assert "link-netns" in container.run("ip", "-d", "link", "show",
                                         "kid").stdout
    words = ["ip", "link", "add", "link", f"if{link(1)['ifindex']}",
             "link-netnsid", 0, "name", "more", "type", "ipoib"]
    done = container.run(*words, check=False)
    assert done.returncode
    assert REFUSED in done.stderr
    assert container.names() == {"kid"}
    # the machine's root may in both
    run("nsenter", "-t", container.pid, "-n", *words)
    assert container.names() == {"kid", "more"}
    for name in ("kid", "more"):
        container.run("ip", "link", "del", name)
    assert not container.names()


def test_root_of_a_container_makes_none_for_others(inside):
    """Where a child would be is not its namespace."""
    own = os.getpid()
    machine = interface_names(1)
    done = inside.run("ip", "link", "add", "link", "ib0", "name", "kid",
                      "netns", own, "type", "ipoib", check=False)
    assert done.returncode
    assert inside.names() == {"ib0"}
    assert interface_names(1) == machine
    assert " kid" not in run("ip", "link").stdout


def test_a_child_made_into_a_container_in_one_step(container):
    """By who may in both: the administrator of the machine."""
    on(1, "ip", "link", "add", "link", "ib0", "name", "kid", "netns",
       container.pid, "type", "ipoib", "pkey", "0x8001")
    assert container.names() == {"kid"}
    container.run("ip", "link", "del", "kid")
    assert not container.names()


def test_a_user_namespace_alone_is_no_right():
    """The namespace of the network is the machine's."""
    root = ["ip", "netns", "exec", "host1", "unshare", "--user",
            "--map-root-user"]
    before = interface_names(1)
    assert REFUSED in run(*root, *add_words("kid"), check=False).stderr
    path = "/sys/class/net/ib0"
    assert write(root, f"{path}/create_child", "0x8001\n") == errno.EPERM
    on(1, *add_words("kid"))
    try:
        assert write(root, f"{path}/delete_child", "0x8001\n") == errno.EPERM
        done = run(*root, "ip", "link", "del", "kid", check=False)
        assert REFUSED in done.stderr
        assert interface_names(1) == before | {"kid"}
    finally:
        on(1, "ip", "link", "del", "kid")


@pytest.mark.core
def test_nobody_may():
    before = interface_names(1)
    assert write_attr(1, "create_child", "0x8001\n", user="65534") in (
        errno.EACCES, errno.EPERM)
    done = on(1, "setpriv", "--reuid", "65534", "--clear-groups",
              *add_words("kid"), check=False)
    assert done.returncode
    assert REFUSED in done.stderr
    assert interface_names(1) == before


def test_the_capability_counts_and_not_the_user():
    """Root without it may not; another with it may, by netlink."""
    before = interface_names(1)
    root = ["ip", "netns", "exec", "host1", "setpriv", "--bounding-set",
            "-net_admin"]
    assert REFUSED in run(*root, *add_words("kid"), check=False).stderr
    for file, text in (("create_child", "0x8001\n"),
                       ("delete_child", "0x8001\n"), ("mode", "datagram\n"),
                       ("umcast", "1\n")):
        with told("takes the administrator of the machine"):
            assert write(root, f"/sys/class/net/ib0/{file}",
                         text) == errno.EPERM
    assert interface_names(1) == before
    assert attr(1, "umcast") == "0"
    other = ["setpriv", "--reuid", "65534", "--clear-groups", "--inh-caps",
             "+net_admin", "--ambient-caps", "+net_admin"]
    on(1, *other, *add_words("kid"))
    on(1, *other, "ip", "link", "del", "kid")
    assert interface_names(1) == before
