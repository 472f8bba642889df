# SPDX-License-Identifier: GPL-2.0
"""An HCA writes, checks and cuts what its shape says, and nothing else."""

import errno
import os
from dataclasses import replace

import pytest

from cablekit import Datagram, capture, captured
from labkit import all_active, run, wait_until
from offloadkit import (CHECK, CSUM_OK, CWR, FIN, LAB, LOC_LEN_ERR,
                        LOC_QP_OP_ERR, PSH, SUCCESS, UDP, WC_LSO, WC_SEND, ACK,
                        Packet, checked, checker, growth, pattern, post,
                        post_lso, rx_csum, rx_csum_file, total)

pytestmark = [pytest.mark.fabric, pytest.mark.lab(**LAB)]

# in the encapsulation and the headers of a TCP segment with timestamps
V4_HEADERS, V6_HEADERS = 4 + 20 + 32, 4 + 40 + 32

KINDS = {
    "tcp4": Packet(data=pattern(1001)),
    "udp4": Packet(proto=UDP, data=pattern(1001)),
    "tcp6": Packet(v6=True, data=pattern(1001)),
    "udp6": Packet(v6=True, proto=UDP, data=pattern(1001)),
}
kinds = pytest.mark.parametrize("packet", KINDS.values(), ids=KINDS.keys())


@pytest.fixture(autouse=True, scope="module")
def post_module():
    wait_until("all ports ACTIVE", all_active)
    run("insmod", f"{os.environ['LAB_MODULES']}/fabric_post.ko")
    yield
    run("rmmod", "fabric_post")


@pytest.fixture(autouse=True)
def every_offload_is_checked():
    with checked():
        yield


# --- Checksums that are sent -------------------------------------------------

@pytest.mark.core
@kinds
@pytest.mark.parametrize("sges", [1, 7])
def test_sums_are_written_where_asked_for(packet, sges):
    sender, receiver = growth(1), growth(2)
    packet = replace(packet, blank=0x5aa5)
    outcome = post(1, 2, packet.posted(), "csum", f"sges={sges}")
    assert (outcome.post, outcome.status, outcome.opcode) == (0, SUCCESS,
                                                             WC_SEND)
    assert outcome.packets == [(CSUM_OK, packet.right())]
    assert sender("csum_made") == 1
    assert receiver("csum_vouched") == 1


def test_sums_of_inline_data_are_written():
    packet = Packet(data=pattern(301))
    outcome = post(1, 2, packet.posted(), "csum", "inline")
    assert outcome.data == [packet.right()]


@kinds
def test_nothing_is_written_where_not_asked_for(packet):
    sender = growth(1)
    outcome = post(1, 2, packet.posted())
    assert outcome.packets == [(0, packet.posted())]
    assert sender("csum_made") == 0


@pytest.mark.parametrize("length", [0, 1, 71, 72, 73, 4000])
def test_packets_of_every_length_get_their_sums(length):
    packet = Packet(data=pattern(length))
    assert post(1, 2, packet.posted(), "csum", "sges=3").data == [
        packet.right()]


def test_padding_belongs_to_no_sum():
    packet = Packet(proto=UDP, data=pattern(100), padding=b"\xa5" * 11)
    outcome = post(1, 2, packet.posted(), "csum")
    assert outcome.packets == [(CSUM_OK, packet.right())]


def test_a_udp_sum_of_zero_is_sent_as_ones():
    packet = Packet(proto=UDP, data=b"\0\0")
    packet = replace(packet, data=packet.check().to_bytes(2, "big"))
    assert packet.check() == 0xffff
    outcome = post(1, 2, packet.posted(), "csum")
    assert outcome.packets == [(CSUM_OK, packet.right())]


@pytest.mark.parametrize("fragment", [0x2000, 0x2010, 0x0010])
def test_fragments_get_the_sum_of_ip_alone(fragment):
    packet = Packet(proto=UDP, data=pattern(100), fragment=fragment,
                    blank=0x5aa5)
    outcome = post(1, 2, packet.posted(), "csum")
    assert outcome.packets == [(0, packet.build(True, False))]


@pytest.mark.parametrize("chain, summed", [
    ([(0, bytes(7))], True),
    ([(0, bytes(7)), (60, b"\x01" + bytes(14))], True),
    ([(43, bytes(7))], True),
    # stops are left: the sum is over an address that is not in the header
    ([(43, b"\0\0\1" + bytes(4))], False),
    # a fragment
    ([(44, b"\0\0\1" + bytes(4))], False),
    # more than an HCA looks at
    ([(0, b"\x0b" + bytes(94))], False),
], ids=["hop", "hop-dst", "routed", "routing", "fragment", "deep"])
def test_extension_headers_are_read_as_far_as_sums_go(chain, summed):
    packet = Packet(v6=True, proto=UDP, data=pattern(100),
                    extensions=tuple(chain), blank=0x5aa5)
    outcome = post(1, 2, packet.posted(), "csum")
    assert outcome.packets == [(CSUM_OK, packet.right()) if summed else
                               (0, packet.posted())]


@pytest.mark.parametrize("host, v6", [(3, True), (4, False)])
def test_families_are_switched_separately_on_send(host, v6):
    other = Packet(v6=v6, data=pattern(100))
    own = replace(other, v6=not v6)
    assert post(host, 2, other.posted(), "csum").data == [other.posted()]
    assert post(host, 2, own.posted(), "csum").data == [own.right()]


def test_an_hca_without_checksums_sends_none_and_says_so():
    packet = Packet(data=pattern(100))
    assert post(0, 2, packet.posted(), "csum").data == [packet.posted()]
    assert "checksums, which this HCA does not make" in run("dmesg").stdout


# --- Verdicts on what arrives ------------------------------------------------

@kinds
def test_right_sums_are_vouched_for_whoever_wrote_them(packet):
    assert post(1, 2, packet.right()).flags == [CSUM_OK]


@pytest.mark.core
@kinds
def test_wrong_sums_are_not_vouched_for(packet):
    data = bytearray(packet.right())
    data[-1] ^= 1
    assert post(1, 2, bytes(data)).packets == [(0, bytes(data))]


def test_a_wrong_ip_header_is_not_vouched_for():
    data = bytearray(Packet(data=pattern(100)).right())
    # the time to live is no part of TCP's sum
    data[12] -= 1
    assert post(1, 2, bytes(data)).flags == [0]


@pytest.mark.parametrize("host, v6", [(3, True), (4, False)])
def test_families_are_switched_separately_on_receive(host, v6):
    other = Packet(v6=v6, data=pattern(100))
    assert post(1, host, other.right()).flags == [0]
    assert post(1, host, replace(other, v6=not v6).right()).flags == [CSUM_OK]


def test_an_hca_without_checksums_vouches_for_nothing():
    assert post(1, 0, Packet(data=pattern(100)).right()).flags == [0]


# --- Faults of what arrives --------------------------------------------------

def test_a_verdict_is_withheld():
    packet = Packet(data=pattern(100)).right()
    with rx_csum(2, "none nth=2") as hits:
        verdicts = [post(1, 2, packet).packets for _ in range(3)]
        assert hits() == 1
    assert verdicts == [[(CSUM_OK, packet)], [(0, packet)],
                        [(CSUM_OK, packet)]]


@pytest.mark.core
@kinds
def test_a_sum_is_damaged(packet):
    right = packet.right()
    with rx_csum(2, "bad count=1") as hits:
        (flags, data), = post(1, 2, right).packets
        assert hits() == 1
        assert post(1, 2, right).packets == [(CSUM_OK, right)]
    assert flags == 0
    differ = [i for i, (a, b) in enumerate(zip(data, right)) if a != b]
    at = (44 if packet.v6 else 24) + (6 if packet.proto == UDP else 16)
    assert len(data) == len(right)
    assert len(differ) == 1 and differ[0] in (at, at + 1)
    assert total(data[at:at + 2]) != total(right[at:at + 2])


def test_sums_can_be_damaged_before_an_hca_that_checks_none():
    packet = Packet(data=pattern(100)).right()
    with rx_csum(0, "bad count=1"):
        assert post(1, 0, packet).data != [packet]
        assert post(1, 0, packet).data == [packet]


def test_what_has_no_sum_is_not_damaged():
    fragment = Packet(proto=UDP, data=pattern(100), fragment=0x2000).right()
    with rx_csum(2, "bad every=1") as hits:
        assert post(1, 2, fragment).data == [fragment]
        assert hits() == 0


@pytest.mark.parametrize("line", ["worse every=1", "bad", "bad every=0",
                                  "off off", "none prob=2"])
def test_rules_that_make_no_sense_are_refused(line):
    before = rx_csum_file(2).read_text()
    with pytest.raises(OSError) as caught:
        rx_csum_file(2).write_text(line)
    assert caught.value.errno == errno.EINVAL
    assert rx_csum_file(2).read_text() == before == "none off\nbad off\n"


# --- Segments ----------------------------------------------------------------

@pytest.mark.parametrize("v6", [False, True], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("mss, length, count", [
    (1000, 3000, 3),
    (777, 3001, 4),
    (1, 9, 9),
    (1460, 100, 1),
    (1460, 0, 1),
    (1988, 65483, 33),
])
@pytest.mark.parametrize("sges", [1, 13])
def test_a_large_send_is_cut(v6, mss, length, count, sges):
    packet = Packet(v6=v6, data=pattern(length), flags=CWR | ACK | PSH | FIN)
    sender, receiver = growth(1), growth(2)
    outcome = post_lso(1, 2, packet, mss, "csum", f"sges={sges}")
    assert (outcome.post, outcome.status, outcome.opcode) == (0, SUCCESS,
                                                             WC_LSO)
    assert outcome.packets == [(CSUM_OK, segment.right())
                               for segment in packet.segments(mss)]
    assert len(outcome.packets) == count
    assert sender("lso_requests") == 1
    assert sender("lso_segments") == sender("sent") == count
    assert receiver("delivered") == receiver("csum_vouched") == count


@pytest.mark.core
def test_numbers_wrap_in_a_series():
    packet = Packet(data=pattern(500), ident=0xfffe, seq=0xffffff00)
    outcome = post_lso(1, 2, packet, 100, "csum")
    assert outcome.data == [segment.right() for segment in packet.segments(100)]
    assert outcome.data[3][8:10] == b"\0\1"
    assert outcome.data[3][28:32] == b"\0\0\0\x2c"


def test_psn_of_each_segment(tmp_path):
    """Each packet has its own, and the next request goes on behind them."""
    path = tmp_path / "cable.pcap"
    with capture("fab1/port1", path):
        post_lso(1, 2, Packet(data=pattern(500)), 100, "csum")
        found = captured(path, 5, lambda one: Datagram(one).source_qpn > 1)
    first = Datagram(found[0]).psn
    assert [Datagram(one).psn for one in found] == list(range(first, first + 5))


def test_extension_headers_are_in_every_segment():
    packet = Packet(v6=True, data=pattern(500),
                    extensions=((60, bytes(7)), (43, bytes(7))))
    outcome = post_lso(1, 2, packet, 100, "csum")
    assert outcome.data == [segment.right() for segment in packet.segments(100)]


def test_a_series_has_sums_only_where_asked_for():
    packet = Packet(data=pattern(300), blank=0x5aa5)
    outcome = post_lso(1, 2, packet, 100)
    assert outcome.packets == [(0, segment.posted())
                               for segment in packet.segments(100)]


def test_a_segment_fills_the_mtu_and_no_more():
    packet = Packet(data=pattern(9000))
    room = 4096 - V4_HEADERS
    assert len(post_lso(1, 2, packet, room, "csum").packets) == 3
    outcome = post_lso(1, 2, packet, room + 1, "csum")
    assert (outcome.post, outcome.status) == (0, LOC_LEN_ERR)
    assert outcome.packets == []
    # what is short of the MSS is no longer than it is
    short = replace(packet, data=pattern(room))
    assert post_lso(1, 2, short, 9000, "csum").data == [short.right()]


@pytest.mark.parametrize("words", [
    ["mss=1000"],
    ["mss=0", "header=" + "00" * V4_HEADERS],
    ["mss=-1", "header=" + "00" * V4_HEADERS],
    ["mss=65536", "header=" + "00" * V4_HEADERS],
    ["mss=1000", "header=" + "00" * 129],
    ["mss=1000", "header=" + "00" * V4_HEADERS, "plain"],
], ids=["no-headers", "no-mss", "negative", "mss", "headers", "plain-qp"])
def test_requests_out_of_bounds_are_refused_when_posted(words):
    outcome = post(1, 2, pattern(3000), *words)
    assert (outcome.post, outcome.status) == (-errno.EINVAL, None)
    assert outcome.packets == []


@pytest.mark.parametrize("packet", [
    Packet(proto=UDP, data=pattern(3000)),
    Packet(data=pattern(3000), fragment=0x2000),
    Packet(v6=True, data=pattern(3000),
           extensions=((44, b"\0\0\1" + bytes(4)),)),
], ids=["udp", "fragment", "fragment6"])
def test_headers_of_anything_but_tcp_fail_the_request(packet):
    outcome = post_lso(1, 2, packet, 1000, "csum")
    assert (outcome.post, outcome.status) == (0, LOC_QP_OP_ERR)
    assert outcome.packets == []


@pytest.mark.parametrize("host, v6", [(3, True), (4, False)])
def test_families_are_switched_separately_for_segments(host, v6):
    other = Packet(v6=v6, data=pattern(3000))
    assert post_lso(host, 2, other, 1000, "csum").status == LOC_QP_OP_ERR
    assert len(post_lso(host, 2, replace(other, v6=not v6), 1000,
                        "csum").packets) == 3


def test_an_hca_that_does_not_cut_makes_no_such_queue_pair():
    with pytest.raises(OSError) as caught:
        post_lso(0, 2, Packet(data=pattern(3000)), 1000)
    assert caught.value.errno == errno.EOPNOTSUPP


# --- The checker -------------------------------------------------------------

def test_the_checker_sees_everything_once():
    with checked() as seen:
        post(1, 2, Packet(data=pattern(100)).posted(), "csum")
        # as it was sent, as it arrived
        assert seen()["checked"] == 2
        post_lso(1, 2, Packet(data=pattern(3000)), 1000, "csum")
        # three segments and their end, three that arrived
        assert seen()["checked"] == 2 + 3 + 1 + 3


def test_the_checker_sees_nothing_while_it_is_off():
    CHECK.write_text("on")
    CHECK.write_text("off")
    post(1, 2, Packet(data=pattern(100)).posted(), "csum")
    post_lso(1, 2, Packet(data=pattern(3000)), 1000, "csum")
    assert checker()[0]["checked"] == 0
