# SPDX-License-Identifier: GPL-2.0
"""Groups and paths in debugfs, in the form that scripts read."""

import pathlib
import re
import sys
import threading

import pytest

from labkit import (HOSTS, KernelLog, ip4, on, ping, run, start_on, wait_until)

pytestmark = [pytest.mark.needs("netdev"), pytest.mark.needs("reason")]

DEBUG = pathlib.Path("/sys/kernel/debug/ipoib")
PARAMETERS = pathlib.Path("/sys/module/ib_ipoib/parameters")
TOOL = pathlib.Path(__file__).with_name("mcast_tool.py")

GROUP = re.compile(
    r"GID: ((?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4})\n"
    r"  created: [ \d]{10}\n  queuelen: [ \d]{9}\n"
    r"  complete: {7,8}(yes|no)\n  send_only: {6,7}(yes|no)\n\n")
PATH = re.compile(
    r"GID: ((?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4})\n"
    r"  complete: {4,5}(yes|no)\n"
    r"(?:  DLID:     0x[0-9a-f]{4}\n  SL: [ \d]{12}\n"
    r"  rate: [ \d]{8}\.\d{1,3} Gb/sec\n)?\n")


def files_of(host):
    """The files of a host's ib0: four hosts have one of that name."""
    index = on(host, "cat", "/sys/class/net/ib0/ifindex").stdout.strip()
    names = {path.name for path in DEBUG.iterdir()}
    if f"ib0@{index}_mcg" in names:
        return DEBUG / f"ib0@{index}_mcg", DEBUG / f"ib0@{index}_path"
    return DEBUG / "ib0_mcg", DEBUG / "ib0_path"


def whole(form, text):
    """Every record, and nothing else."""
    assert form.sub("", text) == ""
    return form.findall(text)


@pytest.mark.core
def test_groups_as_they_are():
    found = whole(GROUP, files_of(1)[0].read_text())
    gids = [one[0] for one in found]
    assert "ff12:401b:ffff:0:0:0:ffff:ffff" in gids
    order = [[int(part, 16) for part in gid.split(":")] for gid in gids]
    assert order == sorted(order)
    assert {one[1] for one in found} == {"yes"}


@pytest.mark.core
def test_paths_as_they_are():
    ping(1, ip4(2))
    found = whole(PATH, files_of(1)[1].read_text())
    assert ("fe80:0:0:0:2fa:b000:0:201", "yes") in found
    assert "  rate:       40.0 Gb/sec\n" in files_of(1)[1].read_text()


@pytest.mark.core
def test_names_are_told_apart_over_namespaces():
    names = {path.name for path in DEBUG.iterdir()}
    # the subnet manager's HCA has one, too
    for kind in ("mcg", "path"):
        assert len([name for name in names if re.fullmatch(
            rf"ib0(@\d+)?_{kind}", name)]) == HOSTS + 1


def test_equal_names_and_numbers_are_told_apart():
    """Each namespace counts its own, so a third may have both in common."""
    def files():
        return {path.name for path in DEBUG.glob("twin*")}

    try:
        for host in (1, 2, 3):
            on(host, "ip", "link", "add", "link", "ib0", "name", "twin",
               "index", 777, "type", "ipoib")
        assert files() == {f"twin{more}_{kind}" for kind in ("mcg", "path")
                           for more in ("", "@777", "@777.2")}
        for name in files():
            (DEBUG / name).read_text()
    finally:
        for host in (1, 2, 3):
            on(host, "ip", "link", "del", "twin", check=False)
    assert not files()


def test_files_follow_a_new_name():
    on(4, "ip", "link", "set", "ib0", "down")
    on(4, "ip", "link", "set", "ib0", "name", "left0")
    try:
        whole(GROUP, (DEBUG / "left0_mcg").read_text())
        assert (DEBUG / "left0_path").exists()
    finally:
        on(4, "ip", "link", "set", "left0", "name", "ib0")
        on(4, "ip", "link", "set", "ib0", "up")
    on(4, "ip", "addr", "replace", "fd44::4/64", "dev", "ib0", "nodad")
    assert not (DEBUG / "left0_mcg").exists()
    wait_until("it answers", lambda: ping(1, ip4(4), 1, check=False))


def test_reading_while_everything_changes(tmp_path):
    """A reader gets whole records, and harms nobody."""
    stop = threading.Event()

    def churn():
        number = 0
        while not stop.is_set():
            number = (number + 1) % 200
            member = start_on(1, sys.executable, TOOL, "recv",
                              f"239.9.0.{number}", 6001, tmp_path / "heard")
            on(1, "ip", "neigh", "flush", "dev", "ib0")
            ping(1, ip4(2), 1, check=False)
            member.terminate()
            member.wait()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(300):
            mcg, path = files_of(1)
            whole(GROUP, mcg.read_text())
            whole(PATH, path.read_text())
    finally:
        stop.set()
        thread.join()
    ping(1, ip4(2))


@pytest.mark.core
@pytest.mark.parametrize("name, deed", [
    ("debug_level", ("ip", "link", "set", "ib0", "down")),
    ("mcast_debug_level", None)])
def test_debug_levels_are_switched_while_running(name, deed):
    log = KernelLog()
    try:
        (PARAMETERS / name).write_text("1")
        assert (PARAMETERS / name).read_text() == "1\n"
        if deed:
            on(3, *deed)
            wait_until("it is told", lambda: any(
                "ib0" in line for line in log.lines()))
            on(3, "ip", "link", "set", "ib0", "up")
            on(3, "ip", "addr", "replace", "fd44::3/64", "dev", "ib0",
               "nodad")
    finally:
        (PARAMETERS / name).write_text("0")
        log.close()
    wait_until("it answers", lambda: ping(1, ip4(3), 1, check=False))


def test_tracepoints_are_there():
    names = {path.name for path in pathlib.Path(
        "/sys/kernel/tracing/events/ipoib").iterdir() if path.is_dir()}
    assert names >= {"ipoib_link", "ipoib_reason", "ipoib_mcast",
                     "ipoib_path", "ipoib_neigh", "ipoib_queue", "ipoib_heal",
                     "ipoib_child", "ipoib_drop"}
    assert run("ls", "/sys/kernel/tracing/events/ipoib").returncode == 0
