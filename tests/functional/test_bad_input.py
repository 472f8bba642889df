# SPDX-License-Identifier: GPL-2.0
"""What is out of range is refused, changes nothing, and the log names the limit.

One line for each mistake: neither silence nor noise.
"""

from errno import EINVAL, ENOENT, ENOSPC, ERANGE
import os

import pytest

from labkit import (FABRIC, HOSTS, all_active, counters, kernel_log, run,
                    wait_until, written)

pytestmark = pytest.mark.fabric

MODULES = os.environ.get("LAB_MODULES", ".")
PORT = "fab1/port1"
FAULTS = f"{PORT}/faults"
ONE = "every=1"
RULE = "N 1 to 4294967295"


@pytest.fixture(name="log")
def new_lines():
    """The kernel's log from here on."""
    with kernel_log() as log:
        yield log


def state():
    """Everything that a knob could have changed, as text."""
    shown = {}
    for folder, _, names in os.walk(FABRIC):
        for name in names:
            path = os.path.join(folder, name)
            if name not in ("counters", "pcap", "events", "inject", "cqs",
                            "qps", "ahs"):
                with open(path, encoding="ascii") as file:
                    shown[path] = file.read()
    return shown


@pytest.fixture(autouse=True, scope="module")
def quiet():
    """Nobody else changes what the tests look at."""
    run("lab-sm", "stop")
    wait_until("nothing in flight", lambda: counters()["in_flight"] == 0)
    yield
    run("lab-sm", "start")
    wait_until("all ports ACTIVE", all_active)


KNOBS = [
    ("seed", EINVAL, ["", "one"], "a number, 0 to 4294967295"),
    ("seed", ERANGE, ["-0x100000000", "4294967296"][1:],
     "a number, 0 to 4294967295"),
    (f"{PORT}/link", EINVAL, ["", "sideways", "up" * 20], "up or down"),
    ("switch0/port1/link", EINVAL, ["1"], "up or down"),
    ("switch0/lft", EINVAL, ["1", "0 1", "49152 1", "1 256", "x 1",
                             f"1 {HOSTS + 4}", "1 254"],
     f"LID 1 to 49151, PORT 0 to {HOSTS + 3}, or 255"),
    ("switch0/mft", EINVAL, ["0xbfff add 1", "0xd000 add 1", "0xc000 put 1",
                             f"0xc000 add {HOSTS + 4}", "0xc000 add"],
     f"MLID 0xc000 to 0xcfff, PORT 0 to {HOSTS + 3}"),
    ("offload_check", EINVAL, ["1", "maybe"], "on or off"),
    (f"{FAULTS}/rx_csum", EINVAL, ["every=1", "none", "none every=0"],
     "a name that reading shows"),
    ("fab1/plugged", EINVAL, ["2", "-1", "out"], "1, 0 or surprise"),
    (f"{PORT}/lid", ERANGE, ["0xc000"], "0 to 0xbfff"),
    (f"{PORT}/lid", EINVAL, ["many"], "0 to 0xbfff"),
    (f"{PORT}/prefix", ERANGE, ["0x10000000000000000"],
     "0 to 0xffffffffffffffff"),
    (f"{PORT}/pkeys", ERANGE, ["32 1", "1 0x10000"],
     "INDEX 0 to 31, P_KEY 0 to 0xffff"),
    (f"{PORT}/pkeys", EINVAL, ["1", "a 1"], "INDEX 0 to 31"),
    (f"{PORT}/guids", ERANGE, ["8 1"], "INDEX 0 to 7"),
    (f"{PORT}/guids", EINVAL, ["1", "1 0x10000000000000000"],
     "GUID 0 to 0xffffffffffffffff"),
    (f"{PORT}/capmask", ERANGE, ["0x100000000"], "0 to 0xffffffff"),
    (f"{PORT}/capmask", EINVAL, ["client_reregister maybe"], "on|off"),
    (f"{FAULTS}/loss", EINVAL, ["every=0", "nth=0", "count=0", "prob=1.1",
                                "every=4294967296", "prob=0.0000000001",
                                f"{ONE} qp=rc", f"{ONE} us=1"], RULE),
    (f"{FAULTS}/delay", EINVAL, [f"{ONE} us=0", f"{ONE} us=60000001", ONE],
     "us 1 to 60000000"),
    (f"{FAULTS}/delay", EINVAL, [f"{ONE} us=1 room=0",
                                 f"{ONE} us=1 room=4097"],
     "room and by 1 to 4096"),
    (f"{FAULTS}/reorder", EINVAL, [f"{ONE} by=0", f"{ONE} by=4097"],
     "room and by 1 to 4096"),
    (f"{FAULTS}/corrupt", EINVAL, [f"{ONE} at=4096 xor=00"], "at 0 to 4095"),
    (f"{FAULTS}/corrupt", EINVAL, [f"{ONE} xor={'00' * 17}", f"{ONE} xor="],
     "1 to 16 bytes"),
    (f"{FAULTS}/duplicate", EINVAL, [f"{ONE} by=1"], RULE),
    (f"{FAULTS}/mad", EINVAL, [f"delay=0 {ONE}", f"delay=60001 {ONE}"],
     "MS 1 to 60000"),
    (f"{FAULTS}/mad", EINVAL, [f"drop class=256 {ONE}",
                               f"drop method=256 {ONE}"],
     "class and method 0 to 255"),
    (f"{FAULTS}/mad", EINVAL, [f"drop attr=65536 {ONE}"], "attr 0 to 65535"),
    ("fab1/faults/verbs", EINVAL, ["post_send nth=0"], RULE),
    ("fab1/faults/verbs", EINVAL, ["post_send nth=1 errno=4096",
                                   "post_send nth=1 errno=0"],
     "errno 1 to 4095"),
    ("fab1/faults/verbs", EINVAL, ["dance nth=1"], "a verb that README.md"),
    ("fab1/faults/completions", EINVAL, ["delay_us=0", "delay_us=60000001"],
     "N 1 to 60000000"),
    ("fab1/faults/completions", EINVAL, [f"status=0 {ONE}",
                                         f"status=22 {ONE}"],
     "NUMBER 1 to 21"),
    ("fab1/qp_state", EINVAL, ["1", "1 rts"], "QPN sqe|err"),
    ("fab1/qp_state", ENOENT, ["0x1000000 err"], "QPN sqe|err"),
]

DATAGRAM = "dlid=2 qpn=70 qkey=1 data=00 "
INJECT = [
    (["dlid=0 qpn=70 qkey=1 data=00", "dlid=65536 qpn=70 qkey=1 data=00"],
     "dlid 1 to 65535"),
    (["dlid=2 qpn=0x1000000 qkey=1 data=00", DATAGRAM + "sqpn=0x1000000"],
     "qpn and sqpn 0 to 0xffffff"),
    (["dlid=2 qpn=70 qkey=1 data=" + "00" * 4097], "data up to 4096 bytes"),
    (["dlid=2 qpn=0 qkey=0 data=" + "00" * 255], "256 to qpn 0"),
    ([DATAGRAM + "sl=16"], "sl 0 to 15"),
    ([DATAGRAM + "dgid=fe80::1 sgid_index=8"], "sgid_index 0 to 7"),
    ([DATAGRAM + "repeat=0", DATAGRAM + "repeat=10001"],
     "repeat 1 to 10000"),
]
KNOBS += [(f"{PORT}/inject", EINVAL, *one) for one in INJECT]


@pytest.mark.parametrize("name, error, texts, said", KNOBS, ids=[
    f"{name}: {said}" for name, _, _, said in KNOBS])
def test_knob(log, name, error, texts, said):
    before, sent = state(), counters(PORT)["sent"]
    for text in texts:
        assert written(FABRIC / name, text) == error, text
        told = [line for line in log.lines() if "ib_fabric" in line]
        assert len(told) == 1, text
        assert f"{name} takes " in told[0]
        assert said in told[0]
    assert state() == before
    assert counters(PORT)["sent"] == sent


def test_every_knob_is_tried():
    """A file that can be written is in the table, of each kind once."""
    names = {name.rpartition("/")[2] for name, *_ in KNOBS}
    found = {name for folder, _, files in os.walk(FABRIC) for name in files
             if os.stat(os.path.join(folder, name)).st_mode & 0o200}
    assert found == names


def test_rules_for_datagrams_are_32(log):
    path = FABRIC / FAULTS / "mad"
    rule = f"drop class=0x50 {ONE}"
    try:
        for _ in range(32):
            assert written(path, rule) == 0
        before = path.read_text()
        assert written(path, rule) == ENOSPC
        told, = log.lines()
        assert "32 rules" in told
        assert path.read_text() == before
    finally:
        path.write_text("off")


def test_loop(log):
    run("insmod", f"{MODULES}/fabric_loop.ko")
    try:
        log.lines()
        for text in ("fab1 fab2 bytes=15 messages=1 both=0",
                     "fab1 fab2 bytes=4097 messages=1 both=0",
                     "fab1 fab2 bytes=64 messages=0 both=0",
                     "fab1 fab2 bytes=64 messages=10000001 both=0",
                     "fab1 fab2 bytes=64 messages=1 both=2"):
            assert written("/sys/kernel/debug/fabric_loop", text) == EINVAL
            told, = log.lines()
            assert "bytes=16..4096 messages=1..10000000 both=0|1" in told
    finally:
        run("rmmod", "fabric_loop")


# --- Parameters and topologies ----------------------------------------------

@pytest.fixture(name="bare", scope="module")
def no_fabric(quiet):
    run("rmmod", "ib_fabric")
    yield
    run("rmmod", "ib_fabric", check=False)
    run("insmod", f"{MODULES}/ib_fabric.ko", f"hcas={HOSTS + 1}")


@pytest.mark.parametrize("params, said", [
    (["hcas=0"], "hcas=0 is out of range, 1 to 250"),
    (["hcas=251"], "hcas=251 is out of range, 1 to 250"),
    (["hcas=4294967296"], "`4294967296' invalid for parameter `hcas'"),
    (["hcas=-1"], "`-1' invalid for parameter `hcas'"),
    (["ports=0"], "ports=0 is out of range, 1 to 2"),
    (["ports=3"], "ports=3 is out of range, 1 to 2"),
    (["switches=17"], "switches=17 is out of range, 0 to 16"),
    (["hcas=1", "switches=0"], "switches=0 takes two ports in all, not 1"),
    (["hcas=3", "switches=0"], "switches=0 takes two ports in all, not 3"),
    (["hcas=2", "ports=2", "switches=0"],
     "switches=0 takes two ports in all, not 4"),
    (["hcas=127", "ports=2"],
     "254 ports do not fit on 1 switches, each takes 252"),
    (["shape=sg"], "shape=sg is not KEY=VALUE or N:KEY=VALUE"),
    (["shape=2:sg=1"], "shape=2:sg=1: HCAs are 0 to 1"),
    (["shape=speed=1"], "shape=speed=1: the keys are csum lso sg inline"),
    (["shape=sg=0"], "sg takes 1..18"),
    (["shape=sg=19"], "sg takes 1..18"),
    (["shape=inline=513"], "inline takes 0..512"),
    (["shape=vectors=0"], "vectors takes 1..64"),
    (["shape=vectors=65"], "vectors takes 1..64"),
    (["shape=max_wr=15"], "max_wr takes 16..16384"),
    (["shape=max_wr=16385"], "max_wr takes 16..16384"),
    (["shape=pkeys=0"], "pkeys takes 1..1024"),
    (["shape=pkeys=1025"], "pkeys takes 1..1024"),
    (["shape=ports=3"], "ports takes 1..2"),
    (["shape=guids=0"], "guids takes 1..8"),
    (["shape=guids=9"], "guids takes 1..8"),
    (["shape=vfs=65"], "vfs takes 0..64"),
    (["shape=mtu=2044"], "mtu takes 256|512|1024|2048|4096"),
    (["shape=csum=yes"], "csum takes off|ipv4|ipv6|on"),
    (["shape=lso=2"], "lso takes off|ipv4|ipv6|on"),
    (["shape=dma=iommu"], "dma takes virtual|platform"),
    (["shape=mcast_loopback=1"], "mcast_loopback takes off|on"),
    (["shape=vf=1"], "vf takes off|on"),
    (["shape=modify_cq="], "modify_cq takes off|on"),
], ids=lambda one: " ".join(one) if isinstance(one, list) else "")
def test_parameter(bare, log, params, said):
    done = run("insmod", f"{MODULES}/ib_fabric.ko", *params, check=False)
    assert done.returncode
    told = [line for line in log.lines() if "ib_fabric:" in line]
    assert len(told) == 1
    assert said in told[0]
    assert "ib_fabric" not in run("lsmod").stdout


@pytest.mark.parametrize("params", [
    pytest.param(["hcas=250"], marks=pytest.mark.long),
    pytest.param(["hcas=126", "ports=2"], marks=pytest.mark.long),
    ["hcas=1", "ports=2", "switches=0"],
    ["hcas=1", "switches=16"],
    ["hcas=2", "shape=sg=1,inline=0,vectors=1,max_wr=16,pkeys=1,guids=1"],
    ["hcas=2", "shape=vectors=64,pkeys=1024,ports=2"],
], ids=" ".join)
def test_the_limits_themselves_are_taken(bare, log, params):
    run("insmod", f"{MODULES}/ib_fabric.ko", *params, timeout=200)
    try:
        assert not [line for line in log.lines() if "ib_fabric:" in line]
    finally:
        run("rmmod", "ib_fabric", timeout=200)
