# SPDX-License-Identifier: GPL-2.0
"""ib_fabric.ko in other shapes: back to back, chained, loaded and unloaded.

Each test has the fabric to itself; the lab's own is put back afterwards.
"""

import os
import pathlib
import re
import time

import pytest

from endurance import AGAIN, assert_not_grown, memory_kib
import umad
from labkit import (FABRIC, HOSTS, KERNEL, SM_GUID, all_active, counters,
                    fabric_balances, inject, lid, loop, run, wait_until)

pytestmark = pytest.mark.fabric

MODULE = f"{os.environ.get('LAB_MODULES', '.')}/ib_fabric.ko"
PAGE = os.sysconf("SC_PAGE_SIZE")


def free_kib():
    """Memory that nobody uses, caches aside.

    It is either free, or on a processor's list of pages to hand out next.
    """
    run("sync")
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
    free = re.search(r"^MemFree: +(\d+)",
                     pathlib.Path("/proc/meminfo").read_text(), re.M).group(1)
    listed = re.findall(r"^ +count: +(\d+)",
                        pathlib.Path("/proc/zoneinfo").read_text(), re.M)
    return int(free) + sum(map(int, listed)) * PAGE // 1024


def softirqs(name):
    """Times that softirqs of a kind ran, on all processors."""
    text = pathlib.Path("/proc/softirqs").read_text()
    row, = re.findall(rf"^ *{name}: (.*)$", text, re.M)
    return sum(map(int, row.split()))


def opensm_once(tmp_path):
    """One sweep by an OpenSM of our own; true when it says SUBNET UP."""
    log = tmp_path / "osm.log"
    env = ["env", f"OSM_CACHE_DIR={tmp_path}", f"OSM_TMP_DIR={tmp_path}"]
    run(*env, "opensm", "-g", SM_GUID, "-o", "-t", "1000", "-f", log)
    return "SUBNET UP" in log.read_text(errors="replace")


@pytest.fixture
def bare():
    """No fabric and no subnet manager; the lab's come back at the end."""
    run("lab-sm", "stop")
    run("rmmod", "ib_fabric")
    yield
    run("rmmod", "ib_fabric", check=False)
    run("insmod", MODULE, f"hcas={HOSTS + 1}")
    run("lab-sm", "start")
    wait_until("all ports ACTIVE", all_active)


@pytest.mark.core
def test_two_hcas_back_to_back(bare, tmp_path):
    run("insmod", MODULE, "hcas=2", "switches=0")
    assert opensm_once(tmp_path)
    out = run("smpquery", "-C", "fab0", "-D", "portinfo", "0,1").stdout
    assert re.search(r"^LinkState:\.+Active$", out, re.M)


def test_two_ports_of_one_hca_back_to_back(bare, tmp_path):
    run("insmod", MODULE, "hcas=1", "ports=2", "switches=0")
    assert opensm_once(tmp_path)
    assert run("ibstat").stdout.count("State: Active") == 2


def test_three_switches_in_a_line(bare, tmp_path):
    run("insmod", MODULE, "hcas=5", "switches=3")
    assert opensm_once(tmp_path)
    assert run("ibstat").stdout.count("State: Active") == 5
    run("insmod", f"{os.environ['LAB_MODULES']}/fabric_loop.ko")
    try:
        result = loop(0, 2, size=2048, messages=500)
        assert (result["received"], result["corrupt"]) == (500, 0)
    finally:
        run("rmmod", "fabric_loop")
    assert run("ibnetdiscover", "-C", "fab0").stdout.count("\nSwitch") == 3


def test_lid_routed_smp_between_switches_that_point_at_each_other(
        bare, tmp_path):
    """It is dropped where it would turn back, as data are."""
    run("insmod", MODULE, "hcas=5", "switches=3")
    assert opensm_once(tmp_path)
    # HCA 2 is at switch 2, which switch 1 looks for at switch 0.
    table, dropped = FABRIC / "switch1/lft", "switch1/port3"
    before = counters(dropped)["dropped_looping"]
    table.write_text(f"{lid(2)} 3")
    try:
        inject(0, umad.smp(umad.GET, umad.PORT_INFO, cls=umad.LID_ROUTED),
               dlid=lid(2), qpn=0, qkey=0)
        wait_until("it is dropped", fabric_balances)
    finally:
        table.write_text(f"{lid(2)} 255")
    assert counters(dropped)["dropped_looping"] - before == 1


@pytest.mark.parametrize("params, said", [
    (["hcas=0"], "hcas=0 is out of range, 1 to 250"),
    (["hcas=251"], "hcas=251 is out of range, 1 to 250"),
    (["ports=3"], "ports=3 is out of range, 1 to 2"),
    (["switches=17"], "switches=17 is out of range, 0 to 16"),
    (["hcas=3", "switches=0"], "switches=0 takes two ports in all, not 3"),
    (["hcas=250", "ports=2"], "500 ports do not fit on 1 switches"),
])
def test_parameters_out_of_range_name_the_limit(bare, params, said):
    done = run("insmod", MODULE, *params, check=False)
    assert done.returncode
    assert said in run("dmesg").stdout


@AGAIN
def test_loads_and_unloads_again_and_again(bare, tmp_path, rounds):
    before = None
    for done in range(rounds + 1):
        run("insmod", MODULE, "hcas=4")
        run("rmmod", "ib_fabric")
        if not done:
            before = memory_kib()
    assert_not_grown(before, rounds)
    run("insmod", MODULE, "hcas=2", "switches=0")
    assert opensm_once(tmp_path)


def test_unload_while_umad_is_open(bare, tmp_path):
    run("insmod", MODULE, "hcas=2", "switches=0")
    with open("/dev/infiniband/umad0", "rb"):
        done = run("rmmod", "ib_fabric", check=False)
    if done.returncode:
        assert "in use" in done.stderr
    else:
        run("insmod", MODULE, "hcas=2", "switches=0")
    assert opensm_once(tmp_path)


def test_unload_under_a_running_subnet_manager():
    """Refused or clean, with its file open and its packets on the way."""
    done = run("rmmod", "ib_fabric", check=False)
    # One that has lost its HCA may wait for answers for ever.
    run("pkill", "-KILL", "-x", "opensm")
    run("lab-sm", "stop")
    if done.returncode:
        assert "in use" in done.stderr
        run("rmmod", "ib_fabric")
    run("insmod", MODULE, f"hcas={HOSTS + 1}")
    run("lab-sm", "start")
    wait_until("all ports ACTIVE", all_active)


def test_idle_fabric_does_nothing_and_is_small(bare):
    """16 HCAs without a subnet manager: no tasklet runs, 32 MiB at most."""
    run("insmod", MODULE, "hcas=16")
    run("rmmod", "ib_fabric")
    before = free_kib()
    run("insmod", MODULE, "hcas=16")
    if KERNEL not in ("kasan", "debug"):
        # The sanitizers add more than there is.
        assert before - free_kib() <= 32 * 1024
    wait_until("ib_mad is done", lambda: softirqs("TASKLET") ==
               (time.sleep(0.5), softirqs("TASKLET"))[1])
    ran = softirqs("TASKLET")
    time.sleep(3)
    assert softirqs("TASKLET") == ran


def test_many_hcas(bare, tmp_path):
    run("insmod", MODULE, "hcas=60")
    assert opensm_once(tmp_path)
    assert run("ibstat").stdout.count("State: Active") == 60
    assert counters()["dropped_vl15"] == 0
