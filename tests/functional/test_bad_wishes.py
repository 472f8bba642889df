# SPDX-License-Identifier: GPL-2.0
"""Wishes that cannot be: a clear no, and nothing is lost."""

import errno
import sys

import pytest

from labkit import (attr, ethtool_stats, interface_names, ip4, link, on, ping,
                    told, write_attr)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("partitions")]

JUNK = [b"", b"\n", b"junk", b"junk\n", b"-1\n", b"99999999999999999999\n",
        b"0\n", b"0x8000\n", b"65536\n", b"\x00\xff\xfe\x01", b"x" * 4095,
        # of which the lower bits are a P_Key
        b"4294967297\n", b"-4294967295\n", b"0x100008001\n",
        b"18446744073709551617\n", b"0x10000000000008001\n",
        b"1" * 64 + b"\n"]
# They name no partition, so none can be made on them, and none is there.
NO_KEYS = (b"0\n", b"0x8000\n")


@pytest.fixture(autouse=True)
def unharmed():
    before = interface_names(1)
    yield
    assert interface_names(1) == before
    assert attr(1, "mode") == "datagram"
    ping(1, ip4(2), 3)


@pytest.mark.core
@pytest.mark.parametrize("file", ["create_child", "delete_child"])
def test_keys_that_are_none(file):
    for text in JUNK[1:]:
        code = write_attr(1, file, text)
        assert code == (errno.ENODEV if file == "delete_child" and
                        text in NO_KEYS else errno.EINVAL), text


@pytest.mark.core
def test_keys_with_and_without_a_newline_or_a_tail():
    for text in ("0x8002", "0x8002\n", "0x8002 ", "32770\n", "0100002 x\n"):
        assert write_attr(1, "create_child", text) == 0, text
        assert write_attr(1, "delete_child", "2") == 0, text


@pytest.mark.core
def test_modes():
    for text in ("datagram", "datagram\n"):
        assert write_attr(1, "mode", text) == 0
    for text in (b"connected", b"connected\n", b"Datagram\n", *JUNK[1:]):
        assert write_attr(1, "mode", text) == errno.EINVAL, text


def test_umcast():
    for text, value in (("1", "1"), ("0\n", "0"), ("7\n", "1"), ("0", "0")):
        assert write_attr(1, "umcast", text) == 0
        assert attr(1, "umcast") == value
    for text in (b"junk\n", b"-1\n", b"99999999999999999999\n", b"\xff\x00"):
        assert write_attr(1, "umcast", text) in (errno.EINVAL, errno.ERANGE)
        assert attr(1, "umcast") == "0"


NO_ADDRESS = """
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
s.bind(("ib0", 0x0800))
for size in (0, 1, 40, 2000, 3000):
    try:
        s.send(bytes(size))
        print(0)
    except OSError as error:
        print(error.errno)
"""


@pytest.mark.core
def test_a_packet_without_an_address():
    """The kernel lets the driver say no, and has a number of its own for it."""
    before = ethtool_stats(1)["tx_packets"]
    codes = on(1, sys.executable, "-c", NO_ADDRESS).stdout.split()
    print(codes)
    assert codes[:4] == [str(errno.EINVAL)] * 4
    assert codes[4] == str(errno.EMSGSIZE)
    assert ethtool_stats(1)["tx_packets"] == before


@pytest.mark.parametrize("file", ["mode", "umcast", "create_child",
                                  "delete_child"])
def test_nobody_may_write(file):
    assert write_attr(1, file, "1\n", user="65534") in (errno.EACCES,
                                                        errno.EPERM)


@pytest.mark.parametrize("file", ["pkey", "link_reason"])
def test_what_is_read_only(file):
    handle = on(1, "sh", "-c", f"echo 1 > /sys/class/net/ib0/{file}",
                check=False)
    assert handle.returncode


@pytest.mark.core
@pytest.mark.parametrize("mtu, code, becomes", [
    (0, 1, None), (67, 1, None), (68, 0, 68), (2044, 0, 2044),
    (2045, 0, 2044), (4092, 0, 2044), (4093, 1, None), (65520, 1, None),
    (65521, 1, None)])
def test_mtus(mtu, code, becomes):
    before = link(1)["mtu"]
    try:
        done = on(1, "ip", "link", "set", "ib0", "mtu", mtu, check=False)
        assert bool(done.returncode) == bool(code)
        assert link(1)["mtu"] == (becomes or before)
    finally:
        on(1, "ip", "link", "set", "ib0", "mtu", 2044)
        # IPv6 leaves a link of less than 1280 with its addresses
        on(1, "ip", "addr", "replace", "fd44::1/64", "dev", "ib0", "nodad")


@pytest.mark.parametrize("words, text", [
    (("type", "ipoib", "pkey", "0x8001"), "does not change"),
    (("type", "ipoib", "mode", "connected"), "connected mode"),
    (("address", "02:00:00:00:00:01"), ""),
])
def test_changes_that_are_refused(words, text):
    done = on(1, "ip", "link", "set", "ib0", *words, check=False)
    assert done.returncode
    assert text in done.stderr


@pytest.mark.core
@pytest.mark.parametrize("file, line, code, text", [
    ("create_child", "junk", errno.EINVAL, "a number of 16 bits"),
    ("create_child", "0x10000", errno.EINVAL, "a number of 16 bits"),
    ("create_child", "0x8000", errno.EINVAL, "0x8000 names no partition"),
    ("create_child", "0xffff", errno.ENOTUNIQ, "0xffff is this interface's"),
    ("delete_child", "junk", errno.EINVAL, "a number of 16 bits"),
    ("delete_child", "0x8077", errno.ENODEV, "no child has P_Key 0x8077"),
    ("mode", "junk", errno.EINVAL, "mode refused: "),
    ("mode", "connected", errno.EINVAL, "mode refused: "),
    ("umcast", "junk", errno.EINVAL, "umcast refused: "),
])
def test_what_a_file_refuses_the_log_explains(file, line, code, text):
    with told(f"ib0: {text}" if ":" in text else text):
        assert write_attr(1, file, line) == code


def test_a_name_that_is_taken_the_log_tells():
    on(1, "ip", "link", "add", "ib0.8001", "type", "dummy")
    try:
        with told("no child ib0.8001: -"):
            assert write_attr(1, "create_child", "0x8001") == errno.EEXIST
    finally:
        on(1, "ip", "link", "del", "ib0.8001")


def test_what_umcast_does_is_told():
    with told("left to it"):
        assert write_attr(1, "umcast", "1") == 0
    assert write_attr(1, "umcast", "0") == 0


@pytest.mark.core
def test_mtus_the_log_explains():
    with told("MTU 4093 refused: the port can carry 68 to 4092"):
        assert on(1, "ip", "link", "set", "ib0", "mtu", 4093,
                  check=False).returncode
    with told("MTU 4092 is more than the broadcast group's 2044"):
        on(1, "ip", "link", "set", "ib0", "mtu", 4092)
    with told():
        on(1, "ip", "link", "set", "ib0", "mtu", 2044)


def test_addresses_the_log_explains():
    old = link(1)["address"]
    with told("does not change while the interface is up"):
        assert on(1, "ip", "link", "set", "ib0", "address",
                  old[:-2] + "77", check=False).returncode
    on(1, "ip", "link", "add", "link", "ib0", "name", "kid", "type", "ipoib")
    try:
        for wrong in ("02" + old[2:], old[:36] + ":".join(["00"] * 8)):
            with told("only the GUID, its last 8 bytes, may change"):
                assert on(1, "ip", "link", "set", "kid", "address", wrong,
                          check=False).returncode
    finally:
        on(1, "ip", "link", "del", "kid")
