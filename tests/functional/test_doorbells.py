# SPDX-License-Identifier: GPL-2.0
"""How often does a driver ring the HCA, and how often is it called back?"""

import collections
import sys

import pytest

from labkit import (SLOW, carry, fault, generous_limits, ip4, on, ping,
                    queue_pairs, wait_until)
from offloadkit import LAB

pytestmark = pytest.mark.needs("netdev")

NAMES = ("send_posts", "send_requests", "signalled", "recv_posts",
         "recv_requests")


def datagram_pairs(host):
    return [pair for qpn, pair in queue_pairs(host).items() if qpn > 1]


def calls(host):
    """What all of a host's datagram queue pairs count, added up."""
    total = collections.Counter()
    for pair in datagram_pairs(host):
        total.update({name: int(pair[name]) for name in NAMES})
    return total


def all_complete(host):
    """No send request waits for a completion that tells of it."""
    return all(pair["sq"].startswith("0/") for pair in datagram_pairs(host))


def grown_by_a_stream():
    ping(1, ip4(2))
    before = {host: calls(host) for host in (1, 2)}
    carry(1, 2, 4 << 20)
    return [calls(host) - before[host] for host in (1, 2)]


@pytest.mark.core
@pytest.mark.needs("queues")
def test_a_stream_rings_for_several_packets_at_once():
    """And what is unsignalled within does not wait for what comes next."""
    sender, receiver = grown_by_a_stream()
    # the end of a stream, and whatever else is sent, goes by itself
    assert sender["send_requests"] > 2000
    assert sender["send_posts"] < sender["send_requests"] / 2
    assert sender["signalled"] < sender["send_requests"] / 2
    assert receiver["recv_requests"] > 1500
    assert receiver["recv_posts"] < receiver["recv_requests"] / 2
    wait_until("every packet is given back", lambda: all_complete(1),
               timeout=1)


# One call to the kernel, which makes twenty packets of it: UDP_SEGMENT.
SEGMENTS = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_UDP, 103, 1000)
s.sendto(bytes(20000), (sys.argv[1], 9))
"""


@pytest.mark.needs("queues")
@pytest.mark.lab(**LAB)
def test_a_chain_that_nothing_follows_is_completed():
    """Its last packet tells of all of them."""
    with generous_limits(1):
        wait_until("every packet is given back", lambda: all_complete(1))
        before = calls(1)
        on(1, sys.executable, "-c", SEGMENTS, ip4(2))
        wait_until("they are sent", lambda: (
            calls(1) - before)["send_requests"] >= 20)
        wait_until("every packet is given back", lambda: all_complete(1),
                   timeout=1)
    grown = calls(1) - before
    # some other packet may have come between
    assert grown["send_posts"] < 10
    assert grown["signalled"] < 10


# The same, and waits until the socket has all of its memory back.
SEGMENTS_BACK = SEGMENTS + """
import fcntl, struct, termios, time
end = time.monotonic() + float(sys.argv[2])
while struct.unpack("i", fcntl.ioctl(s, termios.TIOCOUTQ, bytes(4)))[0]:
    assert time.monotonic() < end, "packets are not given back"
    time.sleep(0.01)
"""


@pytest.mark.needs("queues")
@pytest.mark.lab(**LAB)
@pytest.mark.parametrize("nth", [2, 20])
def test_memory_returns_after_rejected_request_in_chain(nth):
    """Those before it are unsignalled, and behind the last one comes nothing.

    The driver's own periodic check finds that out after 5 s; this is sooner.
    """
    ping(1, ip4(2))
    with generous_limits(1):
        wait_until("every packet is given back", lambda: all_complete(1))
        with fault("fab1", "verbs",
                   f"post_send nth={nth} errno=EINVAL") as reject:
            on(1, sys.executable, "-c", SEGMENTS_BACK, ip4(2), 3 * SLOW)
            assert reject.hit == 1
    ping(1, ip4(2), 5)


def test_single_packets_are_posted_and_completed_one_by_one():
    """Nobody waits until there is company."""
    ping(1, ip4(2))
    before = calls(1)
    ping(1, ip4(2), 20)
    wait_until("every packet is given back", lambda: all_complete(1),
               timeout=1)
    grown = calls(1) - before
    assert grown["send_requests"] >= 20
    assert grown["send_posts"] == grown["signalled"] == grown["send_requests"]
