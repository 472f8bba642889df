# SPDX-License-Identifier: GPL-2.0
"""What rtnetlink may say of an interface, byte by byte: taken or refused.

A refusal tells why, and nothing has changed.
"""

import errno
import json
import pathlib
import re

import pytest

from labkit import interface_names, link, on
from rtnlkit import (IFLA_ADDRESS, IFLA_LINK, IFLA_MTU, MODE, PKEY, UMCAST,
                     info_data, link_request, u16, u32)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("partitions")]

HOST, NAME = 1, "kid"
LENGTH = "invalid attribute length"
MODES = "mode is 0, datagram, or 1, connected"
CONNECTED = "does not offer connected mode"
PARTITION = "name no partition"
NONE_OF_OURS = "no interface of this driver"
# of an attribute of two bytes, 0 the value that all three take
LENGTHS = (b"", bytes(1), bytes(3), bytes(4), bytes(8))


def shown(name):
    """P_Key, mode, umcast and MTU, as rtnetlink tells them."""
    one = link(HOST, name)
    data = one["linkinfo"]["info_data"]
    return int(str(data["key"]), 0), data["mode"], data["umcast"], one["mtu"]


@pytest.fixture(autouse=True)
def clean():
    before = interface_names(HOST), shown("ib0")
    yield
    on(HOST, "ip", "link", "del", NAME, check=False)
    assert (interface_names(HOST), shown("ib0")) == before


def make(*data, attrs=(), parent=None):
    """Make a child; the errno and the text."""
    index = link(HOST)["ifindex"] if parent is None else parent
    above = [(IFLA_LINK, u32(index))] if index else []
    return link_request(HOST, NAME, new=True, attrs=[*above, *attrs],
                        data=data)


def refused(answer, code, text):
    assert answer[0] == code, answer
    assert text in answer[1], answer


def refused_to_make(code, text, *data, **how):
    refused(make(*data, **how), code, text)
    assert NAME not in interface_names(HOST)


@pytest.mark.core
def test_a_child_of_no_attribute():
    assert make() == (0, "")
    assert shown(NAME) == (0xffff, "datagram", "0000", 4092)


@pytest.mark.core
@pytest.mark.parametrize("kind", [PKEY, MODE, UMCAST])
def test_attributes_of_another_length(kind):
    """Neither cut nor filled up."""
    for value in LENGTHS:
        refused_to_make(errno.EINVAL, LENGTH, (kind, value))
        refused(link_request(HOST, "ib0", data=[(kind, value)]),
                errno.EINVAL, LENGTH)


@pytest.mark.parametrize("kind, value, text", [
    (PKEY, 0, PARTITION), (PKEY, 0x8000, PARTITION), (MODE, 1, CONNECTED),
    (MODE, 2, MODES), (MODE, 65535, MODES)])
def test_values_that_no_child_is_made_with(kind, value, text):
    refused_to_make(errno.EINVAL, text, (kind, u16(value)))


@pytest.mark.core
@pytest.mark.parametrize("kind, value, code, text", [
    (PKEY, 0, errno.EOPNOTSUPP, "does not change"),
    (PKEY, 0x8000, errno.EOPNOTSUPP, "does not change"),
    (PKEY, 0x8001, errno.EOPNOTSUPP, "does not change"),
    (MODE, 1, errno.EINVAL, CONNECTED), (MODE, 2, errno.EINVAL, MODES),
    (MODE, 65535, errno.EINVAL, MODES)])
def test_values_that_nothing_changes_to(kind, value, code, text):
    """Nor is what stands beside them taken."""
    refused(link_request(HOST, "ib0", data=[
        (kind, u16(value)), (UMCAST, u16(1))]), code, text)


@pytest.mark.parametrize("kind, value, after", [
    (PKEY, 0x8001, (0x8001, "datagram", "0000")),
    (PKEY, 1, (0x8001, "datagram", "0000")),
    (PKEY, 0xffff, (0xffff, "datagram", "0000")),
    (MODE, 0, (0xffff, "datagram", "0000")),
    (UMCAST, 0, (0xffff, "datagram", "0000")),
    (UMCAST, 1, (0xffff, "datagram", "0001")),
    (UMCAST, 65535, (0xffff, "datagram", "0001"))])
def test_values_that_are_taken(kind, value, after):
    """And by a change to the same again, which is none."""
    assert make((kind, u16(value))) == (0, "")
    assert shown(NAME)[:3] == after
    assert link_request(HOST, NAME, data=[(kind, u16(value))]) == (0, "")
    assert shown(NAME)[:3] == after


def test_a_change_of_nothing():
    assert link_request(HOST, "ib0") == (0, "")


def test_parents_that_are_none():
    refused_to_make(errno.EINVAL, "needs a parent", parent=0)
    refused_to_make(errno.ENODEV, NONE_OF_OURS, parent=0x7ffffff0)
    loopback = json.loads(on(HOST, "ip", "-j", "link", "show",
                             "lo").stdout)[0]["ifindex"]
    refused_to_make(errno.ENODEV, NONE_OF_OURS, parent=loopback)


def test_addresses_of_another_length():
    """Too short ones the core has refused before, and does not say why."""
    address = bytes.fromhex(link(HOST)["address"].replace(":", ""))
    for size, text in ((6, ""), (19, ""), (24, "has 20 bytes"),
                       (32, "has 20 bytes")):
        refused_to_make(errno.EINVAL, text, attrs=[
            (IFLA_ADDRESS, (address + bytes(12))[:size])])


@pytest.mark.parametrize("mtu, text", [
    (0, "mtu less than device minimum"), (67, "mtu less than device minimum"),
    (4093, "more than the port can ever carry"),
    (65521, "mtu greater than device maximum")])
def test_mtus_that_no_child_is_made_with(mtu, text):
    refused_to_make(errno.EINVAL, text, attrs=[(IFLA_MTU, u32(mtu))])


@pytest.mark.parametrize("mtu", [68, 2044, 2045, 4092])
def test_mtus_that_children_are_made_with(mtu):
    """What the group carries is known once it is joined."""
    assert make(attrs=[(IFLA_MTU, u32(mtu))]) == (0, "")
    assert shown(NAME)[3] == mtu


SPEC = pathlib.Path(__file__).resolve().parents[2] / \
    "Documentation/rt-link-ipoib.yaml"


def test_specification_describes_what_is_dumped():
    """Attributes of a set count from 1, in their order."""
    text = SPEC.read_text(encoding="utf-8")
    attributes = text.split("attribute-sets:")[1].split("sub-messages:")[0]
    described = re.findall(r"name: (\w+)\n +type: u(\d+)", attributes)
    assert [name for name, _ in described] == ["pkey", "mode", "umcast"]
    dumped = info_data(HOST, "ib0")
    assert {kind: len(data) * 8 for kind, data in dumped.items()} == \
        {kind: int(bits) for kind, (_, bits) in enumerate(described, start=1)}
    assert (dumped[PKEY], dumped[MODE], dumped[UMCAST]) == \
        (u16(0xffff), u16(0), u16(0))
