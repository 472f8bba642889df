# SPDX-License-Identifier: GPL-2.0
"""Wishes that cannot be: a clear no, and nothing is lost."""

import contextlib
import errno
import pathlib
import re
import sys
import tempfile

import pytest

from labkit import (MTU, attr, ethtool_stats, has_carrier, interface_names,
                    ip4, kernel_log, link, on, ping, start_on, told,
                    wait_until, write_attr, write_each)
from rtnlkit import IFLA_BROADCAST, link_request

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("partitions")]

JUNK = [b"\n", b"junk", b"junk\n", b"-1\n", b"99999999999999999999\n",
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


@pytest.fixture(params=["ib0", "minor"], scope="module")
def name(request):
    """An interface of host 1: its port's, and a child."""
    if request.param == "ib0":
        yield "ib0"
        return
    on(1, "ip", "link", "add", "link", "ib0", "name", request.param, "type",
       "ipoib", "pkey", "0x8003")
    on(1, "ip", "link", "set", request.param, "up")
    try:
        wait_until("carrier", lambda: has_carrier(1, request.param))
        yield request.param
    finally:
        on(1, "ip", "link", "del", request.param)


@pytest.mark.core
@pytest.mark.parametrize("file", ["create_child", "delete_child"])
def test_keys_that_are_none(file):
    codes = write_each(1, file, JUNK)
    assert codes == [errno.ENODEV if file == "delete_child" and text in NO_KEYS
                     else errno.EINVAL for text in JUNK]


@pytest.mark.core
def test_keys_with_and_without_a_newline_or_a_tail():
    for text in ("0x8002", "0x8002\n", "0x8002 ", "32770\n", "0100002 x\n"):
        assert write_attr(1, "create_child", text) == 0, text
        assert write_attr(1, "delete_child", "2") == 0, text


@pytest.mark.core
def test_modes(name):
    assert write_each(1, "mode", ("datagram", "datagram\n"), name) == [0, 0]
    wrong = (b"connected", b"connected\n", b"Datagram\n", *JUNK, *BLANKS)
    with told(f"{name}: mode refused: ", times=len(wrong)):
        codes = write_each(1, "mode", wrong, name)
    assert dict(zip(wrong, codes)) == dict.fromkeys(wrong, errno.EINVAL)
    assert attr(1, "mode", name) == "datagram"


# Behind it, before it, and more than one newline.
BLANKS = (b"datagram ", b"datagram \n", b"datagram\t\n", b" datagram\n",
          b"datagram\n\n", b"datagram\r\n", b" ", b"\t\n", b"\0",
          b"datagram" * 1024)
NO_NUMBERS = (b"\n", b" ", b"\t\n", b"junk", b"junk\n", b"-1\n", b"-0\n",
              b"1 ", b"1 \n", b"0\t\n", b" 1\n", b"0\n\n", b"0\r\n",
              b"1 0\n", b"0.5\n", b"0x\n", b"\xff\x00", b"\0", b"0\xff",
              b"x" * 4096, b"0x" * 4000)
TOO_LARGE = (b"18446744073709551616\n", b"0x10000000000000000\n",
             b"99999999999999999999\n", b"1" * 64, b"9" * 8000)


def test_umcast(name):
    for text, value in (("1", "1"), ("0\n", "0"), ("7\n", "1"), ("0", "0"),
                        ("0x10", "1"), ("00\n", "0"),
                        ("18446744073709551615\n", "1")):
        assert write_attr(1, "umcast", text, name) == 0
        assert attr(1, "umcast", name) == value
    wrong = NO_NUMBERS + TOO_LARGE
    for value in ("1", "0"):
        assert write_attr(1, "umcast", value, name) == 0
        with told(f"{name}: umcast refused: ", times=len(wrong)):
            codes = write_each(1, "umcast", wrong, name)
        assert dict(zip(wrong, codes)) == \
            dict.fromkeys(NO_NUMBERS, errno.EINVAL) | \
            dict.fromkeys(TOO_LARGE, errno.ERANGE)
        assert attr(1, "umcast", name) == value


def test_what_is_empty_reaches_nobody(name):
    """write(2) of no bytes: of a file in sysfs the kernel makes nothing of it."""
    files = ["mode", "umcast"]
    if name == "ib0":
        files += ["create_child", "delete_child"]
    assert write_attr(1, "umcast", "1", name) == 0
    with kernel_log() as log:
        for file in files:
            assert write_each(1, file, [b"", b""], name) == [0, 0]
        assert not [line for line in log.lines() if "ib_ipoib" in line or
                    f"{name}: " in line]
    assert attr(1, "umcast", name) == "1"
    assert write_attr(1, "umcast", "0", name) == 0


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
    def none_left():
        before = ethtool_stats(1)["tx_packets"]
        codes = on(1, sys.executable, "-c", NO_ADDRESS).stdout.split()
        print(codes)
        assert codes[:4] == [str(errno.EINVAL)] * 4
        assert codes[4] == str(errno.EMSGSIZE)
        return ethtool_stats(1)["tx_packets"] == before

    # the stack's own may leave meanwhile, but not each time
    wait_until("none has left", none_left)


@pytest.mark.parametrize("file", ["create_child", "delete_child"])
def test_nobody_may_make_children(file):
    assert write_attr(1, file, "1\n", user="65534") in (errno.EACCES,
                                                        errno.EPERM)


@pytest.mark.parametrize("file, text", [("mode", "datagram\n"),
                                        ("umcast", "1\n")])
def test_nobody_may_write(name, file, text):
    """Neither what is right nor what is not."""
    before = attr(1, file, name)
    codes = write_each(1, file, (text, b"", b"junk", b"\xff\0", b"-1\n"), name,
                       user="65534")
    assert set(codes) <= {errno.EACCES, errno.EPERM}
    assert attr(1, file, name) == before


@pytest.mark.parametrize("file", ["pkey", "link_reason", "address",
                                  "broadcast", "parent"])
def test_what_is_read_only(name, file):
    if file == "parent" and name == "ib0":
        assert file not in on(1, "ls", "/sys/class/net/ib0").stdout.split()
        return
    before = attr(1, file, name)
    # the right value is refused like any other
    texts = (before, before + "\n", b"", b"1\n", b"junk", b"\xff\0",
             b"x" * 4096)
    for user in (None, "65534"):
        assert set(write_each(1, file, texts, name, user)) == {errno.EACCES}
    assert attr(1, file, name) == before


# As large as a group's own MTU at most; what the port can carry is 4092.
@pytest.mark.lab()
@pytest.mark.lab(mtu=4092)
@pytest.mark.parametrize("mtu, becomes", [
    (0, None), (67, None), (68, 68), (2044, 2044), (2045, min(2045, MTU)),
    (4092, MTU), (4093, None), (65520, None), (65521, None)])
def test_mtus(name, mtu, becomes):
    # it is the group's once that is joined
    assert link(1, name)["mtu"] == MTU
    try:
        done = on(1, "ip", "link", "set", name, "mtu", mtu, check=False)
        assert bool(done.returncode) == (becomes is None)
        assert link(1, name)["mtu"] == (becomes or MTU)
    finally:
        on(1, "ip", "link", "set", name, "mtu", MTU)
        # IPv6 leaves a link of less than 1280 with its addresses
        if name == "ib0":
            on(1, "ip", "addr", "replace", "fd44::1/64", "dev", "ib0", "nodad")


# --- Broadcast addresses ------------------------------------------------------

# One for each thing that RFC 4391 section 4 lays down, by the byte it is in:
# flags, queue pair, multicast, permanence, signature of IPv4, group.
STRANGE = [(0, "80"), (3, "fe"), (4, "fe"), (5, "02"), (7, "1a"), (6, "60"),
           (10, "01"), (19, "fe"), (12, "ff")]


def set_broadcast(name, changed):
    """Write bytes of a broadcast address anew, by their place."""
    words = link(1, name)["broadcast"].split(":")
    for place, word in changed:
        words[place] = word
    on(1, "ip", "link", "set", name, "broadcast", ":".join(words))


def test_broadcast_addresses_that_are_none(name):
    before = link(1, name)
    changes = attr(1, "carrier_changes", name)
    for change in [*([one] for one in STRANGE), STRANGE]:
        with told(f"{name}: broadcast address refused: only its scope"):
            set_broadcast(name, change)
        assert link(1, name)["broadcast"] == before["broadcast"]
    ping(1, ip4(2), 3)
    assert has_carrier(1, name)
    assert attr(1, "carrier_changes", name) == changes


@contextlib.contextmanager
def broadcasts_heard():
    """Host 1's ib0 is watched; its broadcast addresses so far by call."""
    with tempfile.NamedTemporaryFile("r") as said:
        watcher = start_on(1, "ip", "-o", "monitor", "link",
                           stdout=said.fileno())

        def heard():
            text = pathlib.Path(said.name).read_text(encoding="ascii")
            # not what is told anyway, as when peers are told of a link
            return re.findall(r"ib0: (?!.* event ).* brd ([0-9a-f:]{59})\b",
                              text)

        try:
            wait_until("it listens", lambda: set_broadcast("ib0", []) or
                       heard())
            yield heard
        finally:
            watcher.kill()
            watcher.wait()


# linux/sockios.h; a name, a type of hardware, and as much as fits
SIOCSIFHWBROADCAST = """
import fcntl, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    fcntl.ioctl(one, 0x8937, struct.pack("16sH14s", b"ib0", 32,
                                         bytes.fromhex(sys.argv[1])))
"""


def test_who_watches_hears_last_of_the_address_that_is_in_force():
    """First of the one that was asked for, which the core has taken.

    By the old way nothing else comes behind that.
    """
    own = link(1)["broadcast"]
    with broadcasts_heard() as heard:
        with told("ib0: broadcast address refused: only its scope"):
            on(1, sys.executable, "-c", SIOCSIFHWBROADCAST, "77" * 14)
        assert link(1)["broadcast"] == own
        wait_until("both are told of", lambda: heard()[-1] == own and
                   set(heard()) > {own})


def test_the_partition_of_a_broadcast_address_is_the_links(name):
    own = link(1, name)["broadcast"]
    with told(f"{name}: broadcast address: its P_Key stays 0x"):
        set_broadcast(name, [(8, "80"), (9, "77")])
    assert link(1, name)["broadcast"] == own
    with kernel_log() as log:
        for same in ([(8, "00"), (9, "00")], []):
            set_broadcast(name, same)
            assert link(1, name)["broadcast"] == own
        assert not [line for line in log.lines() if "broadcast" in line]
    assert has_carrier(1, name)


def test_broadcast_addresses_of_another_length():
    """Shorter ones the core refuses, of longer ones it takes the beginning."""
    own = link(1)["broadcast"]
    data = bytes.fromhex(own.replace(":", ""))
    for size in (0, 6, 19):
        assert link_request(1, "ib0", attrs=[
            (IFLA_BROADCAST, bytes(size))])[0] == errno.EINVAL
    with told(times=0):
        assert link_request(1, "ib0", attrs=[
            (IFLA_BROADCAST, data + bytes(4))]) == (0, "")
    assert link(1)["broadcast"] == own


# --- What is said of it -------------------------------------------------------

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
    ("create_child", "0xffff", errno.ENOTUNIQ, "0xffff is in use by ib0"),
    ("delete_child", "junk", errno.EINVAL, "a number of 16 bits"),
    ("delete_child", "0x8077", errno.ENODEV, "has P_Key 0x8077"),
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
