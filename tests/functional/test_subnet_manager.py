# SPDX-License-Identifier: GPL-2.0
"""OpenSM runs the fabric, and the usual tools read it."""

import re

import pytest

from labkit import (HOSTS, all_active, counters, ib_port, lid, lft,
                    port_is_active, run, set_link, switch_port, wait_until)

pytestmark = pytest.mark.fabric


def port_guid(host):
    return f"02fab0000000{host:02x}01"


@pytest.mark.core
def test_opensm_makes_every_port_active():
    wait_until("all ports ACTIVE", all_active)
    assert "SMINFO_MASTER" in run("sminfo", "-C", "fab0").stdout


def test_sminfo_names_the_first_hca():
    out = run("sminfo", "-C", "fab0").stdout
    assert f"sm lid {lid(0)} " in out
    assert "0x2fab00000000001" in out


def test_every_lid_is_different_and_routed():
    lids = [lid(host) for host in range(HOSTS + 1)]
    assert len(set(lids)) == HOSTS + 1
    table = lft()
    assert [table[value] for value in lids] == \
        [switch_port(host) for host in range(HOSTS + 1)]


@pytest.mark.core
def test_ibstat_shows_each_hca():
    out = run("ibstat").stdout
    for host in range(HOSTS + 1):
        section = out.split(f"CA 'fab{host}'")[1].split("CA '")[0]
        assert "State: Active" in section
        assert "Physical state: LinkUp" in section
        assert f"Base lid: {lid(host)}\n" in section
        assert f"Port GUID: 0x{port_guid(host)}" in section
        assert "Link layer: InfiniBand" in section


@pytest.mark.core
def test_ibnetdiscover_finds_each_cable():
    out = run("ibnetdiscover", "-C", "fab0").stdout
    for host in range(HOSTS + 1):
        assert re.search(rf'^\[{switch_port(host)}\]\s+"H-02fab0000000{host:02x}'
                         rf'00"\[1\]\({port_guid(host).lstrip("0")}\)',
                         out, re.M), out


def test_saquery_path_joins_the_right_lids():
    out = run("saquery", "-C", "fab0", "-p", "--src-to-dst",
              f"{lid(1)}:{lid(2)}").stdout
    assert re.search(rf"dlid\.+{lid(2)}\b", out), out
    assert re.search(rf"slid\.+{lid(1)}\b", out), out


def test_saquery_lists_the_broadcast_groups():
    out = run("saquery", "-C", "fab0", "-g").stdout
    for pkey in ("ffff", "8001", "8002", "8003"):
        assert f"ff12:401b:{pkey}::ffff:ffff" in out


def pkey_table(host):
    out = run("smpquery", "-C", "fab0", "pkeys", lid(host)).stdout
    return {int(word, 16) for word in re.findall(r"0x[0-9a-f]{4}", out)} - {0}


def test_smpquery_pkeys_follow_the_partitions():
    for host in range(1, HOSTS + 1):
        third = 0x8003 if host % 2 else 0x0003
        assert pkey_table(host) == {0xffff, 0x8001, 0x8002, third}


def test_the_kernel_sees_the_same_pkeys():
    path = "pkeys/{}"
    seen = {int(ib_port(1, path.format(i)), 16) for i in range(32)} - {0}
    assert seen == pkey_table(1)


def test_smpquery_portinfo_by_lid():
    for host in range(HOSTS + 1):
        out = run("smpquery", "-C", "fab0", "portinfo", lid(host)).stdout
        assert re.search(rf"^Lid:\.+{lid(host)}$", out, re.M)
        assert re.search(rf"^SMLid:\.+{lid(0)}$", out, re.M)
        assert re.search(r"^LinkState:\.+Active$", out, re.M)


def test_smpquery_walks_a_directed_route():
    out = run("smpquery", "-C", "fab0", "-D", "nodeinfo",
              f"0,1,{switch_port(2)}").stdout
    assert f"0x{port_guid(2)}" in out


def test_switch_answers_about_itself():
    out = run("smpquery", "-C", "fab0", "-D", "switchinfo", "0,1").stdout
    assert re.search(r"^LinearFdbCap:\.+49152$", out, re.M), out
    assert re.search(r"^StateChange:\.+0$", out, re.M), out


def test_an_attribute_nobody_has_is_refused():
    done = run("smpquery", "-C", "fab0", "-D", "sl2vl", "0,1,2", check=False)
    assert done.returncode
    assert "0xc" in done.stdout + done.stderr or \
        "failed" in done.stdout + done.stderr


def test_ibping_goes_there_and_back():
    server = run("sh", "-c", "ibping -C fab2 -S >/dev/null 2>&1 & echo $!")
    try:
        wait_until("ibping answered", lambda: run(
            "ibping", "-C", "fab1", "-c", 1, lid(2), check=False)
            .returncode == 0)
        out = run("ibping", "-C", "fab1", "-c", 3, lid(2)).stdout
        assert "3 packets transmitted, 3 received" in out
    finally:
        run("kill", server.stdout.strip())


def test_a_pulled_cable_is_noticed_by_trap_and_comes_back():
    before = run("lab-sm", "log").stdout.count("num:128")
    set_link(2, "down")
    try:
        wait_until("fab2 is down",
                   lambda: ib_port(2, "state").endswith("DOWN"))
        wait_until("the switch told OpenSM", lambda: run("lab-sm", "log")
                   .stdout.count("num:128") > before)
    finally:
        set_link(2, "up")
    wait_until("fab2 is ACTIVE again", lambda: port_is_active(2))


def test_counters_balance_at_rest():
    wait_until("nothing in flight",
               lambda: counters()["in_flight"] == 0)
    now = counters()
    assert now["sent"] + now["replicated"] == \
        now["delivered"] + now["dropped"]
    assert now["sent"] > 0
