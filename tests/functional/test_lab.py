# SPDX-License-Identifier: GPL-2.0
"""The contract of tests/lab, seen from the machine that starts it.

Nothing here runs inside a lab: each test starts one (or two, or kills one)
and looks at what comes out and at what is left.
"""

import contextlib
import glob
import hashlib
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time

import pytest

from hostkit import (CACHE, CHECKOUT, ENVIRONMENT, PATIENCE, SOON,
                     command_line, expect_report, lines, processes_with,
                     run_bare, run_lab, shell, started, temporaries,
                     wait_until)

pytestmark = pytest.mark.host

@pytest.fixture(scope="module", autouse=True)
def warm_cache():
    """Modules are built before any test compares what a run prints."""
    assert run_bare("true").returncode == 0


@pytest.fixture
def changed_checkout(tmp_path):
    """A copy of the checkout that a test may spoil."""
    copy = tmp_path / "checkout"
    shutil.copytree(CHECKOUT, copy, symlinks=True, ignore=lambda where, names:
                    [name for name in names if name in (".git", "out")])
    return copy


# -- exit status -------------------------------------------------------------

@pytest.mark.parametrize("status", [0, 1, 3, 70, 124, 255])
def test_status_is_the_commands(status):
    assert shell("exit %d" % status).returncode == status


@pytest.mark.parametrize("name", ["KILL", "TERM", "SEGV"])
def test_status_of_a_signal_is_128_and_its_number(name):
    number = getattr(signal, "SIG" + name)
    assert shell("kill -%s $$" % name).returncode == 128 + number


def test_a_command_that_is_not_there_is_127():
    result = run_bare("/no/such/command")
    assert result.returncode == 127
    assert b"/no/such/command" in result.stderr


def test_a_command_that_takes_too_long_is_124_and_ended():
    started = time.monotonic()
    result = run_bare("sleep", "300", options=("--timeout", "1"))
    assert result.returncode == 124
    assert time.monotonic() - started < 60


def test_a_command_that_ignores_signals_is_ended_too():
    result = shell("trap '' TERM INT HUP; echo deaf; sleep 300 & wait; wait",
                   options=("--timeout", "1"))
    assert result.returncode == 124
    assert result.stdout == b"deaf\n"


def test_the_limit_counts_from_the_commands_start():
    """Booting the sanitizer kernel alone takes longer than this limit."""
    result = shell("echo done", kernel="debug", options=("--timeout", "1"))
    assert (result.returncode, result.stdout) == (0, b"done\n")


# -- bad options -------------------------------------------------------------

BAD = [
    [], ["fly"], ["run"], ["run", "--"], ["run", "true"],
    ["run", "--kernel", "2.4", "--", "true"],
    ["run", "--driver", "theirs", "--", "true"],
    ["run", "--hosts", "0", "--", "true"],
    ["run", "--hosts", "201", "--", "true"],
    ["run", "--hosts", "two", "--", "true"],
    ["run", "--timeout", "0", "--", "true"],
    ["run", "--mtu", "1500", "--", "true"],
    ["run", "--sm", "3", "--", "true"],
    ["run", "--hca", "colour=red", "--", "true"],
    ["run", "--hca", "9:sg=1", "--", "true"],
    ["run", "--rdma-netns", "both", "--", "true"],
    ["run", "--colour", "--", "true"],
    ["shell", "--", "true"],
]


@pytest.mark.parametrize("args", BAD, ids=" ".join)
def test_bad_options_are_2_with_one_line(args):
    result = run_lab(*args)
    assert result.returncode == 2
    assert result.stdout == b""
    assert len(lines(result.stderr)) == 1


@pytest.mark.parametrize("option,value,allowed", [
    ("--kernel", "2.4", ("uml", "debug", "stock", "6.1")),
    ("--driver", "theirs", ("ours", "stock", "none")),
    ("--mtu", "1500", ("2044", "4092")),
    ("--sm", "3", ("1", "2")),
    ("--hca", "sg=0", ("1..18",)),
    ("--hca", "2:dma=real", ("virtual|platform",)),
    ("--hca", "colour=red", ("csum", "sg", "guids")),
    ("--hca", "sg", ("KEY=VALUE", "N:KEY=VALUE")),
    ("--hca", "3:sg=1", ("0", "2")),
    ("--rdma-netns", "none", ("shared", "exclusive")),
    ("--hosts", "201", ("1", "200")),
])
def test_a_bad_value_is_told_the_allowed_ones(option, value, allowed):
    result = run_lab("run", option, value, "--", "true")
    assert result.returncode == 2
    words = re.findall(r"[^\s,]+", result.stderr.decode())
    assert {option, *allowed} <= {word.rstrip(":") for word in words}


# -- streams -----------------------------------------------------------------

def test_streams_come_out_clean():
    result = shell("echo out; echo err >&2")
    assert result.stdout == b"out\n"
    assert result.stderr == b"err\n"


def test_every_byte_passes():
    script = "import sys; data = bytes(range(256)) * 16384; " \
        "sys.stdout.buffer.write(data); sys.stderr.buffer.write(data[::-1])"
    result = run_bare("python3", "-c", script)
    expected = bytes(range(256)) * 16384
    for got, wanted in ((result.stdout, expected),
                        (result.stderr, expected[::-1])):
        assert hashlib.md5(got).digest() == hashlib.md5(wanted).digest()


def test_output_is_live_and_the_folder_is_shared():
    """The command goes on only when its output was seen outside."""
    script = "echo $LAB_OUT; until [ -e $LAB_OUT/seen ]; do :; done; echo end"
    with started("run", "--driver", "none", "--", "sh", "-c",
                 script) as lab:
        out = pathlib.Path(lab.stdout.readline().decode().strip())
        (out / "seen").touch()
        assert lab.stdout.read() == b"end\n"
        assert lab.wait() == 0


def test_a_reader_that_goes_away_ends_the_lab():
    with started("run", "--driver", "none", "--", "yes") as lab:
        lab.stdout.read(10)
        lab.stdout.close()
        assert lab.wait(timeout=SOON) == 128 + signal.SIGPIPE


def test_the_shell_takes_a_script():
    result = subprocess.run(command_line("shell", "--driver", "none"),
                            input=b"echo $((6 * 7))\nexit 5\n",
                            capture_output=True, env=ENVIRONMENT,
                            timeout=PATIENCE, check=False)
    assert (result.returncode, result.stdout) == (5, b"42\n")


def test_the_shell_takes_as_much_as_there_is():
    data = b"#" * 79 + b"\n"
    result = subprocess.run(command_line("shell", "--driver", "none"),
                            input=b"wc -c\n" + data * 10000,
                            capture_output=True, env=ENVIRONMENT,
                            timeout=PATIENCE, check=False)
    assert result.stdout == b"800000\n"


def test_a_long_command_can_still_be_ended():
    """The line to the guest is throttled at a length, see vm/channel.py."""
    result = run_bare("sh", "-c", "trap 'echo told; exit' TERM\n"
                      "sleep 10000 & wait",
                      *["0"] * 5000, options=["--timeout", "1"])
    assert (result.returncode, result.stdout) == (124, b"told\n")


def test_the_shell_is_interactive_on_a_terminal():
    master, slave = pty.openpty()
    lab = subprocess.Popen(command_line("shell", "--driver", "none"),
                           stdin=slave, stdout=slave, stderr=slave,
                           env=ENVIRONMENT, start_new_session=True)
    os.close(slave)
    said = b""
    while b"# " not in said:
        assert select.select([master], [], [], PATIENCE)[0]
        said += os.read(master, 4096)
    os.write(master, b"[ -t 0 ] && echo is a $((40 + 2)) terminal; exit 6\n")
    # a terminal whose last user is gone is an OSError
    with contextlib.suppress(OSError):
        while select.select([master], [], [], SOON)[0]:
            said += os.read(master, 4096)
    os.close(master)
    assert lab.wait() == 6
    assert b"is a 42 terminal" in said


# -- what the command finds --------------------------------------------------

def test_the_environment_is_set():
    result = shell('echo "$LAB_DRIVER $LAB_KERNEL $LAB_HOSTS"; pwd; id -u; '
                   'ls "$LAB_SM_CONF"; ls "$LAB_MODULES"',
                   options=("--hosts", "3"))
    names, folder, user, *files = lines(result.stdout)
    assert names == "none uml 3"
    assert folder == str(CHECKOUT)
    assert user == "0"
    assert {"opensm.conf", "partitions.conf", "ib_fabric.ko",
            "stock"} <= set(files)


def test_nothing_it_does_touches_the_host(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("before")
    result = shell("set -e; echo after > %s; rm %s/COPYING; touch /lab-was; "
                   "cat %s; rm -rf /usr/share/doc" % (mine, CHECKOUT, mine))
    assert (result.returncode, result.stdout) == (0, b"after\n")
    assert mine.read_text() == "before"
    assert (CHECKOUT / "COPYING").exists()
    assert not os.path.exists("/lab-was")
    assert os.path.exists("/usr/share/doc")


def test_each_run_has_a_new_folder_with_the_kernels_log():
    folders = [pathlib.Path(shell("echo $LAB_OUT; echo kept > $LAB_OUT/file")
                            .stdout.decode().strip()) for _ in range(2)]
    assert folders[0] != folders[1]
    for folder in folders:
        assert folder.parent == CHECKOUT / "tests" / "out"
        assert (folder / "file").read_text() == "kept\n"
        assert "Linux version" in (folder / "kernel.log").read_text()


def test_debugfs_and_sysfs_are_there_and_sysrq_works():
    result = shell("ls /sys/kernel/debug/ib_fabric/counters && "
                   "ls -d /sys/class/infiniband/fab0 && "
                   "echo h > /proc/sysrq-trigger && dmesg | grep -q HELP")
    assert result.returncode == 0


def test_hosts_have_their_interfaces_and_reach_each_other():
    script = """
for n in 1 2 3; do
	on host$n ip -br addr show dev ib0
	on host$n cat /sys/class/net/ib0/device/uevent > /dev/null || exit 1
done
on host1 ping -q -c 1 -W 5 10.44.0.3 > /dev/null || exit 1
on host3 ping -q -c 1 -W 5 fd44::2 > /dev/null || exit 1
ip -br link | grep -v ^lo | grep -v UP | wc -l
"""
    result = run_lab("run", "--driver", "stock", "--hosts", "3", "--", "sh",
                     "-c", script)
    assert result.returncode == 0
    *hosts, own = lines(result.stdout)
    for number, line in enumerate(hosts, 1):
        name, state, *addresses = line.split()
        assert (name, state) == ("ib0", "UP")
        assert "10.44.0.%d/24" % number in addresses
        assert "fd44::%d/64" % number in addresses
    # the subnet manager's own interface, down, in the initial namespace
    assert int(own) >= 1


def test_partitions_are_full_and_limited_as_told():
    script = "for n in 1 2 3; do " \
        "cat /sys/class/infiniband/fab$n/ports/1/pkeys/* | grep -v 0x0000 " \
        "| sort | xargs; done"
    keys = [set(line.split()) for line in lines(
        shell(script, options=("--hosts", "3")).stdout)]
    common = {"0xffff", "0x8001", "0x8002"}
    assert keys == [common | {"0x8003"}, common | {"0x0003"},
                    common | {"0x8003"}]


def test_the_subnet_manager_stops_starts_and_sweeps():
    script = """
set -e
lab-sm stop; ! pidof opensm; ! sminfo > /dev/null 2>&1
lab-sm start; sminfo > /dev/null
before=$(lab-sm log | grep -c 'SUBNET UP'); lab-sm resweep
[ $(lab-sm log | grep -c 'SUBNET UP') -gt $before ]
"""
    assert shell(script).returncode == 0


def test_two_subnet_managers_are_told_apart_by_number():
    script = """
set -e
lab-sm status
[ "$(lab-sm log)" = "$(lab-sm log 1)" ]
[ "$(lab-sm log)" != "$(lab-sm log 2)" ]
lab-sm stop 2; lab-sm status 2
lab-sm start 2; lab-sm resweep 1; lab-sm status 2
lab-sm stop; lab-sm status 1; sminfo -C fab3 -D 0 > /dev/null
echo $LAB_OUT
"""
    *states, out = lines(shell(script, options=("--sm", "2")).stdout)
    said = [line.split()[:3] for line in states]
    assert said == [["1", "fab0", "MASTER"], ["2", "fab3", "STANDBY"],
                    ["2", "fab3", "stopped"], ["2", "fab3", "STANDBY"],
                    ["1", "fab0", "stopped"]]
    for name in ("opensm.log", "opensm2.log"):
        assert "OpenSM 3" in (pathlib.Path(out) / name).read_text()


def test_the_options_are_told_to_the_command():
    script = "echo $LAB_VARIANT; ls /sys/class/infiniband | wc -l; " \
        "on host1 cat /sys/class/net/ib0/mtu"
    for options, expected in (((), [b"", b"3", b"2044"]),
                              (("--mtu", "4092", "--sm", "2"),
                               [b"mtu=4092 sm=2", b"4", b"4092"])):
        result = run_lab("run", *options, "--driver", "stock", "--", "sh",
                         "-c", script)
        assert result.stdout.splitlines() == expected


@pytest.mark.parametrize("netns", ["shared", "exclusive"])
def test_the_driver_is_unloaded_and_loaded_again(netns):
    script = "set -e; lab-driver unload; ! on host1 ip link show ib0; " \
        "lab-driver load stock send_queue_size=256; " \
        "on host1 ping -q -c 1 -W 5 10.44.0.2 > /dev/null; " \
        "cat /sys/module/ib_ipoib/parameters/send_queue_size"
    result = run_lab("run", "--driver", "stock", "--rdma-netns", netns, "--",
                     "sh", "-c", script)
    assert result.returncode == 0, result.stderr.decode()
    assert result.stdout == b"256\n"


@pytest.mark.parametrize("tool", ["lab-sm", "lab-sm dance",
                                  "lab-sm stop 2", "lab-sm stop 1 2",
                                  "lab-driver load theirs",
                                  "lab-driver unload a=1", "lab-hosts now",
                                  "on host1"])
def test_a_tools_mistake_is_one_line(tool):
    result = shell(tool)
    assert result.returncode == 2
    assert len(lines(result.stderr)) == 1


# -- what the kernel says ----------------------------------------------------

REPORTS = [
    ("oops", "uml", "oops"), ("oops", "debug", "oops"),
    ("warn", "uml", "WARN"), ("bug", "uml", "BUG"),
    ("lockdep", "debug", "lockdep"), ("kasan", "debug", "KASAN"),
    ("ubsan", "debug", "UBSAN"), ("leak", "debug", "kmemleak"),
    ("hung", "debug", "hung task"), ("stall", "uml", "RCU stall"),
    ("dma", "debug", "DMA-API"),
]
# These take a machine each to say what the others say.
FULL_RUNS_ONLY = ("ubsan", "hung", "dma")


@pytest.mark.parametrize("what,kernel,kind", [
    pytest.param(*row, id="%s-%s" % row[:2], marks=[pytest.mark.long] if
                 row[0] in FULL_RUNS_ONLY else []) for row in REPORTS])
def test_a_report_is_70_and_on_stderr(what, kernel, kind):
    expect_report(what, kernel, kind)


def test_a_report_is_70_on_debians_kernel():
    result = shell("insmod $LAB_MODULES/lab_provoke.ko what=warn; exit 0",
                   kernel="stock")
    assert result.returncode == 70
    assert b"provoke_warn" in result.stderr


def test_a_muted_report_needs_its_kernel_and_its_driver():
    sys.path.insert(0, str(CHECKOUT / "tests"))
    from vm import reports  # pylint: disable=import-outside-toplevel
    found = reports.find("[  1.5] WARNING: drivers/x.c:3 at f+0x1/0x2\n"
                         "[  1.6] Call Trace:\n[  1.7]  f+0x1\n"
                         "[  1.8] ---[ end trace 0 ]---\n[  1.9] more\n")
    assert [report.kind for report in found] == ["WARN"]
    assert found[0].lines[-1].startswith("---[ end trace")
    entry = reports.Muted({"uml"}, {"stock"}, r"drivers/x\.c", "known")
    assert entry.covers(found[0], "uml", "stock")
    assert not entry.covers(found[0], "uml", "ours")
    assert not entry.covers(found[0], "debug", "stock")
    for muted in reports.MUTED:
        assert muted.reason and muted.kernels and muted.drivers


# -- what cannot be set up ---------------------------------------------------

def test_a_broken_build_is_125_with_one_line(changed_checkout):
    source = changed_checkout / "tests" / "fabric" / "fab_main.c"
    source.write_text(source.read_text() + "\nthis is not C;\n")
    result = run_lab("run", "--driver", "none", "--", "true",
                     checkout=changed_checkout)
    assert result.returncode == 125
    assert result.stdout == b""
    failed = [line for line in lines(result.stderr)
              if not re.match(r"lab: (building|note: )[^:]*for", line)]
    line, = failed
    assert line.startswith("lab: building fabric: ")
    assert "fab_main.c" in line
    log, = glob.glob(str(changed_checkout / "tests/out/*/build-fabric.log"))
    assert "this is not C" in pathlib.Path(log).read_text()


def test_a_checkout_without_the_driver_is_125(changed_checkout):
    (changed_checkout / "Makefile").unlink()
    result = run_lab("run", "--", "true", checkout=changed_checkout)
    assert result.returncode == 125
    assert lines(result.stderr)[-1].startswith("lab: building driver: ")


# -- nothing left, nothing disturbed -----------------------------------------

def lock_is_free(path):
    return subprocess.run(["flock", "-n", path, "true"],
                          check=False).returncode == 0


@pytest.mark.parametrize("kernel", ["uml", pytest.param(
    "stock", marks=pytest.mark.long)])
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM,
                                    signal.SIGINT], ids=lambda s: s.name)
def test_a_lab_that_is_killed_leaves_nothing(signum, kernel):
    with started("run", "--kernel", kernel, "--driver", "none", "--", "sh",
                 "-c", "echo $LAB_OUT; sleep 1000") as lab:
        out = lab.stdout.readline().decode().strip()
        assert processes_with(out)
        lab.send_signal(signum)
        expected = -signum if signum == signal.SIGKILL else 128 + signum
        assert lab.wait(timeout=SOON) == expected
        wait_until(lambda: not processes_with(out), "machine gone")
        wait_until(lambda: not temporaries(lab), "folders gone")


@pytest.mark.long
@pytest.mark.parametrize("program,args", [
    ("lab", ["run", "--driver", "none", "--", "true"]),
    ("check", ["build/uml"])], ids=["lab", "check"])
def test_what_is_killed_while_it_builds_leaves_nothing(changed_checkout,
                                                       program, args):
    source = changed_checkout / "tests" / "fabric" / "fab_main.c"
    # a content that was never built before
    source.write_text("/* %d */\n%s" % (time.time_ns(), source.read_text()))
    with started(*args, checkout=changed_checkout, program=program,
                 stderr=subprocess.PIPE) as lab:
        assert lab.stderr.readline().startswith(b"lab: building fabric")
        wait_until(lambda: temporaries(lab), "build begun")
        building, = temporaries(lab)
        wait_until(lambda: processes_with(building), "compiler at work")
        lab.kill()
        lab.wait()
        wait_until(lambda: not processes_with(building), "compilers gone")
        wait_until(lambda: not temporaries(lab), "half a build gone")
    name = building.rsplit(".", 1)[0]
    for path in glob.glob(str(CACHE / "locks" / ("*" + name))):
        assert lock_is_free(path)
    result = run_lab("run", "--driver", "none", "--", "true",
                     checkout=changed_checkout)
    assert result.returncode == 0


def test_two_labs_at_once_do_not_disturb_each_other():
    script = "echo $LAB_OUT; until [ -e $LAB_OUT/go ]; do sleep 0.1; done; " \
        "ibstat fab1 > /dev/null && ls $LAB_OUT"
    with started("run", "--driver", "none", "--", "sh", "-c", script) as one, \
            started("run", "--driver", "none", "--", "sh", "-c",
                    script) as two:
        outs = [pathlib.Path(lab.stdout.readline().decode().strip())
                for lab in (one, two)]
        assert outs[0] != outs[1]
        # both run now; the end of the first must not be felt by the second
        for lab, out in zip((one, two), outs):
            (out / "go").touch()
            assert b"go" in lab.stdout.read()
            assert lab.wait() == 0


def test_a_warm_run_makes_and_fetches_nothing():
    def entries():
        return {path for kind in ("kernels", "modules/*", "init", "initrd")
                for path in glob.glob(str(CACHE / kind / "*"))}

    before = entries()
    result = run_bare("true")
    assert result.stderr == b""
    assert entries() == before


def test_the_stock_drivers_source_is_not_in_the_cache():
    for tree in glob.glob(str(CACHE / "kernels" / "*")):
        found = glob.glob(tree + "/build/drivers/infiniband/ulp/ipoib/*.c")
        assert not found


def test_kernels_lists_each_kernel():
    result = run_lab("kernels")
    assert result.returncode == 0
    named = {line.split()[0]: line for line in lines(result.stdout)}
    assert set(named) == {"stock", "6.1", "6.12", "7.3", "uml", "kasan",
                          "debug"}
    assert "ready" in named["uml"]


@pytest.mark.parametrize("kernel,seconds", [
    ("uml", 5), ("debug", 15),
    pytest.param("stock", 30, marks=pytest.mark.long)])
def test_a_warm_start_is_quick(kernel, seconds):
    run_lab("run", "--kernel", kernel, "--driver", "stock", "--", "true")
    began = time.monotonic()
    result = run_lab("run", "--kernel", kernel, "--driver", "stock", "--",
                     "true")
    assert result.returncode == 0
    assert time.monotonic() - began <= seconds
