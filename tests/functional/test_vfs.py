# SPDX-License-Identifier: GPL-2.0
"""Virtual functions, as who administers them finds them at the interface.

Host 1's HCA has three, host 2's two on each of two ports, host 3's none.
"""

import errno
import pathlib
import re
import sys

import pytest

from containerkit import Container
from labkit import FABRIC, link, on, run, told

pytestmark = [pytest.mark.needs("netdev"),
              pytest.mark.lab(hca=["1:vfs=3", "2:vfs=2", "2:ports=2"])]

TESTS = pathlib.Path(__file__).resolve().parents[1]
NODE, PORT = "02:fa:b0:00:0f:f0:00:01", "02:fa:b0:00:0f:f0:00:02"
NOTHING = "00:00:00:00:00:00:00:00"


def functions(host, name="ib0"):
    """What `ip link` shows of the virtual functions at an interface."""
    return link(host, name).get("vfinfo_list", [])


def known(host, vf, port=1):
    """What the HCA itself knows of a function's port, as words."""
    text = (FABRIC / f"fab{host}/vfs").read_text()
    line = re.search(rf"^vf {vf} port {port} (.*)$", text, re.M).group(1)
    words = line.split()
    return dict(zip(words[::2], words[1::2]))


def number(guid):
    return f"0x{guid.replace(':', '')}"


def set_vf(host, vf, *words, name="ib0", check=True):
    return on(host, "ip", "link", "set", "dev", name, "vf", vf, *words,
              check=check)


@pytest.fixture
def blank():
    """All is as after power on, and is again at the end."""
    yield
    for host, name, count in ((1, "ib0", 3), (2, "ib0", 2), (2, "ib1", 2)):
        for vf in range(count):
            set_vf(host, vf, "state", "auto", name=name)
            for kind in ("node_guid", "port_guid"):
                set_vf(host, vf, kind, NOTHING, name=name)


# --- What is shown ----------------------------------------------------------

def test_each_is_listed_where_there_are_any():
    assert [vf["vf"] for vf in functions(1)] == [0, 1, 2]
    assert [vf["vf"] for vf in functions(2)] == [0, 1]
    assert [vf["vf"] for vf in functions(2, "ib1")] == [0, 1]
    assert functions(3) == []


def test_one_that_nobody_set_follows_the_port_and_has_no_guid():
    own = link(1)["address"]
    for vf in functions(1):
        assert vf["link_state"] == "auto"
        assert vf["node guid"] == vf["port guid"] == NOTHING
        # It has no address of its own to show.
        assert vf["address"] == own


def test_what_came_and_went_is_shown():
    (FABRIC / "fab1/vfs").write_text(
        "1 1 rx_packets=11 rx_bytes=0x1000000000 multicast=3 broadcast=2 "
        "rx_dropped=1 tx_packets=7 tx_bytes=700 tx_dropped=5")
    try:
        out = on(1, "ip", "-s", "link", "show", "dev", "ib0").stdout
        rows = re.findall(r"^ +([\d ]+\d) *$", out.partition("vf 0")[2], re.M)
        assert [row.split() for row in rows] == [
            ["0"] * 5, ["0"] * 3,
            [str(0x1000000000), "11", "3", "2", "1"], ["700", "7", "5"],
            ["0"] * 5, ["0"] * 3]
    finally:
        (FABRIC / "fab1/vfs").write_text(
            "1 1 rx_packets=0 rx_bytes=0 multicast=0 broadcast=0 rx_dropped=0 "
            "tx_packets=0 tx_bytes=0 tx_dropped=0")


# --- What is set ------------------------------------------------------------

@pytest.mark.parametrize("state", ["enable", "disable", "auto"])
def test_a_link_policy_reaches_the_one_it_is_meant_for(blank, state):
    set_vf(1, 0, "state", "enable" if state == "auto" else "auto")
    set_vf(1, 2, "state", "disable")
    set_vf(1, 0, "state", state)
    assert [vf["link_state"] for vf in functions(1)] == \
        [state, "auto", "disable"]
    assert known(1, 0)["state"] == state


def test_guids_reach_the_one_they_are_meant_for(blank):
    set_vf(1, 1, "node_guid", NODE)
    set_vf(1, 1, "port_guid", PORT)
    assert [(vf["node guid"], vf["port guid"]) for vf in functions(1)] == \
        [(NOTHING, NOTHING), (NODE, PORT), (NOTHING, NOTHING)]
    assert known(1, 1)["node_guid"] == number(NODE)
    assert known(1, 1)["port_guid"] == number(PORT)


def test_ports_of_one_function_share_its_node_guid_alone(blank):
    set_vf(2, 0, "node_guid", NODE, name="ib1")
    set_vf(2, 0, "port_guid", PORT, name="ib1")
    set_vf(2, 0, "state", "disable", name="ib1")
    first, second = functions(2)[0], functions(2, "ib1")[0]
    assert (first["node guid"], first["port guid"]) == (NODE, NOTHING)
    assert (second["node guid"], second["port guid"]) == (NODE, PORT)
    assert (first["link_state"], second["link_state"]) == ("auto", "disable")
    assert known(2, 0, 2)["port_guid"] == number(PORT)
    assert known(2, 1, 2)["port_guid"] == number(NOTHING)


# --- What is refused --------------------------------------------------------

SETTINGS = [("state", "enable"), ("node_guid", NODE), ("port_guid", PORT)]


@pytest.mark.parametrize("words", SETTINGS)
def test_one_there_is_not_is_an_invalid_argument(words):
    before = (FABRIC / "fab1/vfs").read_text()
    for vf in (3, 2 ** 31 - 2):
        done = set_vf(1, vf, *words, check=False)
        assert done.returncode
        assert "Invalid argument" in done.stderr
    assert (FABRIC / "fab1/vfs").read_text() == before


@pytest.mark.parametrize("words", SETTINGS)
def test_an_hca_without_any_does_not_support_them(words):
    done = set_vf(3, 0, *words, check=False)
    assert done.returncode
    assert "Operation not supported" in done.stderr


SET_POLICY = """
import socket, struct, sys
sys.path.insert(0, sys.argv[1])
from vm.guest.netlink import Route, attribute
VFINFO_LIST, VF_INFO, LINK_STATE = 22, 1, 5
with Route() as route:
    try:
        route.set_link(socket.if_nametoindex("ib0"), attribute(
            VFINFO_LIST, attribute(VF_INFO, attribute(
                LINK_STATE, struct.pack("=II", 0, int(sys.argv[2]))))))
        print(0)
    except OSError as error:
        print(error.errno)
"""


def set_policy(value):
    """The errno of setting a link policy by its number."""
    return int(on(1, sys.executable, "-B", "-c", SET_POLICY, TESTS,
                  value).stdout)


def test_a_policy_there_is_not_is_an_invalid_argument(blank):
    assert set_policy(1) == 0
    for value in (3, 2 ** 32 - 1):
        assert set_policy(value) == errno.EINVAL
    assert known(1, 0)["state"] == "enable"


# --- Children ---------------------------------------------------------------

def add_child(host, parent):
    on(host, "ip", "link", "add", "link", parent, "name", "kid", "type",
       "ipoib", "pkey", "0xffff")


@pytest.fixture(params=[(1, "ib0", 1), (2, "ib1", 2)],
                ids=["port1", "port2"])
def child(request, blank):
    """A host and its port that has a child."""
    host, parent, port = request.param
    add_child(host, parent)
    yield host, port
    on(host, "ip", "link", "del", "kid")


@pytest.mark.needs("children")
def test_a_child_lists_none(child):
    """They are the parent's to show, who is the HCA's."""
    host, _ = child
    assert functions(host, "kid") == []
    assert len(functions(host)) > 1
    assert "vf 0" not in on(host, "ip", "-s", "link", "show", "kid").stdout


@pytest.mark.needs("children")
def test_what_is_set_at_a_child_reaches_the_hca(child):
    host, port = child
    for words in (("state", "disable"), ("node_guid", NODE),
                  ("port_guid", PORT)):
        set_vf(host, 1, *words, name="kid")
    found = known(host, 1, port)
    assert [found[name] for name in ("state", "node_guid", "port_guid")] == [
        "disable", number(NODE), number(PORT)]
    assert known(host, 0, port)["state"] == "auto"
    for words in SETTINGS:
        done = set_vf(host, 3, *words, name="kid", check=False)
        assert "Invalid argument" in done.stderr


@pytest.mark.needs("children")
@pytest.mark.parametrize("words", SETTINGS)
def test_a_child_of_an_hca_without_any_does_not_support_them(words):
    add_child(3, "ib0")
    try:
        done = set_vf(3, 0, *words, name="kid", check=False)
        assert done.returncode
        assert "Operation not supported" in done.stderr
    finally:
        on(3, "ip", "link", "del", "kid")


@pytest.mark.needs("partitions")
def test_who_was_given_a_child_does_not_administer_the_hca(blank):
    """A container's root has a link, not the virtual functions of others."""
    before = (FABRIC / "fab1/vfs").read_text()
    with Container() as box:
        add_child(1, "ib0")
        on(1, "ip", "link", "set", "kid", "netns", box.pid)
        for words in SETTINGS:
            with told("kid: virtual functions not set"):
                done = box.run("ip", "link", "set", "kid", "vf", 0, *words,
                               check=False)
            assert done.returncode
            assert "Operation not permitted" in done.stderr
        assert (FABRIC / "fab1/vfs").read_text() == before
        # the machine's may
        run("nsenter", "-t", box.pid, "-n", "ip", "link", "set", "kid", "vf",
            0, "state", "enable")
        assert known(1, 0)["state"] == "enable"
        box.run("ip", "link", "del", "kid")
