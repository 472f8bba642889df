# SPDX-License-Identifier: GPL-2.0
"""Completion queues of the fabric: vectors, moderation, what a driver sets."""

import os
import pathlib
import re

import pytest

from labkit import (HOSTS, completion_queues, ip4, on, ping, wait_until)

pytestmark = pytest.mark.needs("netdev")


def test_handlers_run_on_the_processor_of_their_vector():
    ping(1, ip4(2), 20)
    called = [cq for host in range(HOSTS + 1)
              for cq in completion_queues(host) if cq["events"]]
    assert called
    assert [cq for cq in called if cq["on"] != cq["cpu"]] == []


def handled_on(hosts, action):
    """Processors where handlers ran last, of queues an action woke."""
    def all_queues():
        return {(host, cq["cq"]): cq for host in hosts
                for cq in completion_queues(host)}

    before = all_queues()
    action()
    return {cq["on"] for name, cq in all_queues().items()
            if cq["events"] > before[name]["events"]}


def test_handlers_can_be_steered_to_the_sender():
    """When nothing else goes on, a ping stays where it was sent."""
    steer = pathlib.Path("/sys/module/ib_fabric/parameters/steer")
    steer.write_text("sender")
    try:
        for processor in sorted(os.sched_getaffinity(0)):
            wait_until(
                f"all is handled on processor {processor}",
                lambda where=processor: handled_on((1, 2), lambda: on(
                    1, "taskset", "-c", where, "ping", "-c", 1, ip4(2)))
                == {where})
    finally:
        steer.write_text("vector")
    ping(1, ip4(2))


def test_hcas_do_not_all_begin_with_the_same_processor():
    first = {host: next(cq["cpu"] for cq in completion_queues(host)
                        if cq["vector"] == 0) for host in (1, 2)}
    assert os.cpu_count() == 1 or first[1] != first[2]


def test_no_queue_overflowed():
    assert not any(cq["overflowed"] for host in range(HOSTS + 1)
                   for cq in completion_queues(host))


def test_vectors_are_spread():
    used = {cq["vector"] for cq in completion_queues(1)}
    assert len(used) >= 2


def coalesce(host, usecs, frames):
    on(host, "ethtool", "-C", "ib0", "rx-usecs", usecs, "rx-frames", frames)


def round_trip_ms(source, target):
    out = on(source, "ping", "-n", "-c", 10, "-i", "0.1",
             ip4(target)).stdout
    return float(re.search(r"= ([\d.]+)/([\d.]+)/", out).group(1))


@pytest.mark.needs("coalesce")
def test_receive_moderation_holds_events_back():
    """30 ms at both ends is 60 ms there and back.

    A little less when the time of some other packet is running already.
    """
    assert round_trip_ms(1, 2) < 30
    for host in (1, 2):
        coalesce(host, 30000, 1000)
    try:
        assert any(cq["usecs"] == 30000 and cq["frames"] == 1000
                   for cq in completion_queues(1))
        assert round_trip_ms(1, 2) >= 50
    finally:
        for host in (1, 2):
            coalesce(host, 0, 0)
    wait_until("round trips are short again",
               lambda: round_trip_ms(1, 2) < 30)


@pytest.mark.needs("coalesce")
def test_moderation_ends_when_the_frames_are_there():
    """With one frame to wait for, the time does not matter."""
    for host in (1, 2):
        coalesce(host, 60000, 1)
    try:
        assert round_trip_ms(1, 2) < 30
    finally:
        for host in (1, 2):
            coalesce(host, 0, 0)
