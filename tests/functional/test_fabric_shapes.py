# SPDX-License-Identifier: GPL-2.0
"""HCAs of different shapes side by side, as verbs and the SM see them.

One fabric serves all tests: HCA 1 has what every HCA has, the others lack
something of it.
"""

import errno
import os
import pathlib
import re
import sys
import time

import pytest

from labkit import (FABRIC, HOSTS, LOOP, all_active, edit, fault, ib_port,
                    kernel_log, lid, loop, misuse, plug, run, table, wait_until,
                    written)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from vm import shapes  # noqa: E402 pylint: disable=wrong-import-position

pytestmark = pytest.mark.fabric

MODULES = os.environ.get("LAB_MODULES", ".")
FABRIC_MODULE = f"{MODULES}/ib_fabric.ko"
SHAPE = ("inline=200", "2:inline=64", "2:ports=2", "2:pkeys=1", "2:guids=1",
         "3:pkeys=33", "3:mtu=2048", "3:dma=platform", "4:pkeys=1024",
         "4:mtu=256", "4:max_wr=64", "2:vfs=2", "4:vfs=64", "3:local_lkey=off",
         "3:modify_cq=off", "3:post_in_reset=on", "4:cq_clean=off",
         "2:cmd_ms=10")


USERS = ("fabric_loop", "fabric_misuse")


def replace_fabric(*params):
    """Another fabric instead of the one that is there, with the lab's SM."""
    run("lab-sm", "stop")
    for name in USERS:
        run("rmmod", name, check=False)
    run("rmmod", "ib_fabric", check=False)
    run("insmod", FABRIC_MODULE, f"hcas={HOSTS + 1}", *params)
    run("lab-sm", "start")
    wait_until("all ports ACTIVE", all_active)


@pytest.fixture(scope="module")
def shaped():
    """A fabric of HCAs in SHAPE, and the verbs loop."""
    replace_fabric("shape=" + ",".join(SHAPE))
    for name in USERS:
        run("insmod", f"{MODULES}/{name}.ko")
    yield
    replace_fabric()


def port_info(host, field):
    """A field of PortInfo, as the subnet manager gets it."""
    out = run("smpquery", "-C", "fab0", "portinfo", lid(host), 1).stdout
    return re.search(rf"^{field}:\.*(.+)$", out, re.M).group(1)


def entries(host, name):
    """Entries of a table in sysfs: "pkeys" or "gids"."""
    return len(os.listdir(f"/sys/class/infiniband/fab{host}/ports/1/{name}"))


@pytest.mark.parametrize("host, size", [(1, 32), (2, 1), (3, 33), (4, 1024)])
def test_pkeys(shaped, host, size):
    out = run("smpquery", "-C", "fab0", "nodeinfo", lid(host)).stdout
    assert re.search(rf"^PartCap:\.*{size}$", out, re.M), out
    assert entries(host, "pkeys") == size
    edit(host, "pkeys", f"{size - 1} 0xffff")
    with pytest.raises(OSError):
        edit(host, "pkeys", f"{size} 0x9999")
    assert max(table(host, "pkeys")) == size - 1
    wait_until("ib_core reads the last entry", lambda: ib_port(
        host, f"pkeys/{size - 1}") == "0xffff")
    # One block more than there is; blocks have 32 entries.
    out = run("smpquery", "-C", "fab0", "pkeys", lid(host)).stdout
    assert f"{size} pkeys capacity for this port" in out
    assert re.findall(r"0x[0-9a-f]{4}", out)[size - 1] == "0xffff", out


@pytest.mark.parametrize("host, size", [(1, 8), (2, 1)])
def test_guids(shaped, host, size):
    assert port_info(host, "GuidCap") == str(size)
    assert entries(host, "gids") == size


@pytest.mark.parametrize("host, mtu", [(1, 4096), (3, 2048), (4, 256)])
def test_mtu(shaped, host, mtu):
    assert port_info(host, "MtuCap") == str(mtu)
    assert port_info(host, "NeighborMTU") == str(mtu)
    if host == 4:
        return
    assert loop(host, 2, mtu, 100)["received"] == 100
    if mtu < 4096:
        assert loop(host, 2, mtu + 1, 100)["received"] == 0


def test_ports(shaped):
    for host, ports in ((1, ["1"]), (2, ["1", "2"])):
        where = f"/sys/class/infiniband/fab{host}/ports"
        assert sorted(os.listdir(where)) == ports
    out = run("smpquery", "-C", "fab0", "nodeinfo", lid(2)).stdout
    assert re.search(r"^NumPorts:\.*2$", out, re.M)
    second = run("ibstat", "fab2", 2).stdout
    assert "State: Active" in second
    assert "Port GUID: 0x02fab00000000202" in second


@pytest.mark.parametrize("host, size", [(1, 200), (2, 64)])
def test_inline(shaped, host, size):
    assert loop(host, 3, size, 100, inline=1)["received"] == 100
    with pytest.raises(OSError):
        loop(host, 3, size + 1, 100, inline=1)
    assert loop(host, 3, size + 1, 100)["received"] == 100


def test_max_wr(shaped):
    """The loop wants 256 sends and 1024 receives at a time."""
    assert loop(1, 2, 64, 100)["received"] == 100
    with pytest.raises(OSError):
        loop(1, 4, 64, 100)


@pytest.mark.parametrize("source, target", [(1, 3), (3, 1), (3, 3)])
def test_dma_addresses_lead_to_the_same_bytes(shaped, source, target):
    result = loop(source, target, 2048, 500, both=1)
    assert (result["received"], result["corrupt"]) == (1000, 0)


def test_dma_platform_has_a_device_on_the_platform_bus(shaped):
    devices = os.listdir("/sys/bus/platform/devices")
    assert [name for name in devices if name.startswith("ib_fabric_dma")] == \
        ["ib_fabric_dma.3"]


@pytest.mark.parametrize("host, asked", [(1, 0), (3, 1)])
def test_local_lkey(shaped, host, asked):
    """Without a key of its own an HCA is asked for a region."""
    with fault(f"fab{host}", "verbs", "get_dma_mr nth=1") as refusal:
        if asked:
            with pytest.raises(OSError) as caught:
                loop(host, 2, 64, 100)
            assert caught.value.errno == errno.ENOMEM
        assert loop(host, 2, 64, 100, both=1)["received"] == 200
        assert refusal.hit == asked
        assert refusal.seen == 2 * asked


@pytest.mark.parametrize("host, code", [(1, 0), (3, errno.EOPNOTSUPP)])
def test_modify_cq(shaped, host, code):
    line = f"fab2 fab{host} bytes=64 messages=100 both=0 chain=1 inline=0 "
    assert written(LOOP, line + "usecs=50") == code
    assert written(LOOP, line + "usecs=0") == 0


EXCHANGED = {"errno": 0, "send_status": 0, "recv_status": 0,
             "bytes": 40 + 64, "state": 3}


def test_post_in_reset(shaped):
    """What is posted in RESET goes when the queue pair is in RTS."""
    result = misuse("early", 3)
    assert {key: result[key] for key in EXCHANGED} == EXCHANGED
    result = misuse("early", 1)
    assert (result["errno"], result["recv_status"]) == (errno.EINVAL, -1)
    # In INIT, too, drivers that do not look do not refuse.
    assert misuse("send_state", 3)["errno"] == 0


@pytest.mark.parametrize("host, stale", [(1, 0), (4, 2)])
def test_cq_clean(shaped, host, stale):
    """The queue pair works after its RESET, whether the queues were cleaned."""
    result = misuse("reset", host)
    assert result["stale"] == stale
    assert {key: result[key] for key in EXCHANGED} == EXCHANGED


@pytest.mark.parametrize("host, least", [(1, 0), (2, 0.1)])
def test_cmd_ms(shaped, host, least):
    """PD, two queues and a queue pair take more than ten commands."""
    start = time.monotonic()
    assert misuse("nothing", host)["errno"] == 0
    assert time.monotonic() - start >= least


# --- Virtual functions ------------------------------------------------------

def functions(host):
    """(VF, port) of each line in an HCA's file."""
    text = (FABRIC / f"fab{host}/vfs").read_text()
    return [(int(vf), int(port)) for vf, port in
            re.findall(r"^vf (\d+) port (\d+) ", text, re.M)]


def test_vfs(shaped):
    assert not (FABRIC / "fab1/vfs").exists()
    assert functions(2) == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert functions(4) == [(vf, 1) for vf in range(64)]


def test_counters_of_a_vf_are_written_by_hand_and_lost_with_the_power(shaped):
    file = FABRIC / "fab2/vfs"
    before = file.read_text()
    assert written(file, "1 2 rx_packets=12 tx_dropped=0x10") == 0
    lines = file.read_text().splitlines()
    assert lines[:3] == before.splitlines()[:3]
    assert " rx_packets 12 tx_packets 0 " in lines[3]
    assert lines[3].endswith(" tx_dropped 16")
    plug(2, "0")
    plug(2)
    assert file.read_text() == before
    wait_until("all ports ACTIVE", all_active)


@pytest.mark.parametrize("text, code", [
    ("2 1 rx_packets=1", errno.ERANGE), ("0 3 rx_packets=1", errno.ERANGE),
    ("0 0 rx_packets=1", errno.ERANGE), ("0 1", errno.EINVAL),
    ("0 1 rx_packets", errno.EINVAL), ("0 1 rx_packets=", errno.EINVAL),
    ("0 1 rx_packets=1 colour=2", errno.EINVAL)])
def test_a_line_of_a_vf_that_is_wrong_changes_nothing(shaped, text, code):
    file = FABRIC / "fab2/vfs"
    before = file.read_text()
    with kernel_log() as log:
        assert written(file, text) == code
        assert any("fab2/vfs takes VF PORT NAME=NUMBER...: VF 0 to 1, "
                   "PORT 1 to 2, " in line for line in log.lines())
    assert file.read_text() == before


# --- What the module refuses ------------------------------------------------

def beyond(allowed):
    """Values just outside of what is allowed."""
    limits = shapes.bounds(allowed)
    if limits:
        return [str(value) for value in (limits[0] - 1, limits[1] + 1, "x")]
    return ["none", allowed.replace("|", "")]


def within(allowed):
    """The outermost values of what is allowed."""
    limits = shapes.bounds(allowed)
    return [str(value) for value in limits] if limits else allowed.split("|")


def last_line():
    return run("dmesg").stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def bare():
    """No fabric, so that one can be tried; the lab's comes back."""
    run("lab-sm", "stop")
    run("rmmod", "ib_fabric")
    yield
    replace_fabric()


@pytest.mark.parametrize("key", shapes.keys())
def test_the_module_keeps_to_the_table_the_command_line_reads(bare, key):
    allowed = shapes.keys()[key]
    for value in beyond(allowed):
        word = f"{key}={value}"
        assert run("insmod", FABRIC_MODULE, f"shape={word}",
                   check=False).returncode
        assert f"shape={word}: {key} takes {allowed}" in last_line()
        assert shapes.mistake(word)
    words = [f"1:{key}={value}" for value in within(allowed)]
    run("insmod", FABRIC_MODULE, "hcas=2", "shape=" + ",".join(words))
    run("rmmod", "ib_fabric")
    assert [shapes.mistake(word) for word in words] == [None] * len(words)


@pytest.mark.parametrize("word, said", [
    ("colour=1", "colour=1: the keys are " + " ".join(shapes.keys())),
    ("sg", "sg is not KEY=VALUE or N:KEY=VALUE"),
    ("2:sg=1", "2:sg=1: HCAs are 0 to 1"),
    ("1:1:sg=1", "1:1:sg=1: the keys are")])
def test_a_word_that_says_nothing_gets_one_line(bare, word, said):
    assert run("insmod", FABRIC_MODULE, "hcas=2", f"shape={word}",
               check=False).returncode
    assert f"ib_fabric: shape={said}" in last_line()
