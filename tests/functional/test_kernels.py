# SPDX-License-Identifier: GPL-2.0
"""The lab's contract on the kernels that the everyday run leaves out.

And, without starting any: what the lab does when a suite has moved on.
"""

import os
import pathlib
import re
import subprocess
import sys
import time

import pytest

from hostkit import (CACHE, CHECKOUT, ENVIRONMENT, PATIENCE, expect_report,
                     lines, processes_with, run_bare, run_lab, shell, started,
                     temporaries, wait_until)

sys.path.insert(0, str(CHECKOUT / "tests"))
from vm import (cross, debian, debs, kernels, mounts, recipe, roots,  # noqa: E402 pylint: disable=wrong-import-position
                source)
from vm.errors import LabError  # noqa: E402 pylint: disable=wrong-import-position

pytestmark = pytest.mark.host

RELEASES = {"kasan": r"7\.3\.\d+-lab-kasan",
            "6.12": r"6\.12\.\d+.*-amd64", "7.3": r"7\.3\.\d+.*-amd64"}
each_kernel = pytest.mark.parametrize("kernel", RELEASES)


# -- the machines ------------------------------------------------------------

@pytest.mark.long
@each_kernel
def test_a_run_is_clean_and_its_status_the_commands(kernel):
    assert run_bare("true", kernel=kernel).returncode == 0
    result = shell("uname -r; echo $LAB_KERNEL; echo err >&2; exit 3",
                   kernel=kernel)
    assert result.returncode == 3
    release, name = lines(result.stdout)
    assert re.fullmatch(RELEASES[kernel], release)
    assert name == kernel
    assert result.stderr == b"err\n"


@pytest.mark.long
@each_kernel
@pytest.mark.parametrize("driver", ["ours", "stock"])
def test_hosts_reach_each_other_by_the_driver_asked_for(kernel, driver):
    script = """
set -e
on host1 ping -q -c 1 -W 5 10.44.0.3 > /dev/null
on host3 ping -q -c 1 -W 5 fd44::2 > /dev/null
on host1 ethtool -S ib0 | grep -c tx0_packets || true
"""
    result = run_lab("run", "--kernel", kernel, "--driver", driver, "--hosts",
                     "3", "--", "sh", "-c", script)
    assert result.returncode == 0, result.stderr.decode()
    # the stock driver counts its queues together
    assert result.stdout == (b"1\n" if driver == "ours" else b"0\n")


@pytest.mark.long
def test_kasan_has_two_cpus_and_no_lockdep():
    result = shell("nproc; zcat /proc/config.gz", kernel="kasan")
    cpus, *config = lines(result.stdout)
    assert cpus == "2"
    assert {"CONFIG_SMP=y", "CONFIG_KASAN=y", "CONFIG_UBSAN=y"} <= set(config)
    assert "CONFIG_PROVE_LOCKING=y" not in config


REPORTS = [
    ("oops", "kasan", "oops"), ("warn", "kasan", "WARN"),
    ("bug", "kasan", "BUG"), ("kasan", "kasan", "KASAN"),
    ("ubsan", "kasan", "UBSAN"), ("hung", "kasan", "hung task"),
    ("stall", "kasan", "RCU stall"),
    ("oops", "6.12", "oops"), ("warn", "6.12", "WARN"), ("bug", "6.12", "BUG"),
    ("oops", "7.3", "oops"), ("warn", "7.3", "WARN"), ("bug", "7.3", "BUG"),
    ("ubsan", "7.3", "UBSAN"),
]


@pytest.mark.long
@pytest.mark.parametrize("what,kernel,kind", REPORTS,
                         ids=["%s-%s" % row[:2] for row in REPORTS])
def test_a_report_is_70_and_on_stderr(what, kernel, kind):
    expect_report(what, kernel, kind)


# Each packet runs through a static branch that each socket which wants its
# packets' times has the kernel patch, on another processor.
PATCHES = """
import os, socket, sys, time
SO_TIMESTAMP, SECONDS = 29, 5
os.system("ip link set lo up")
end = time.monotonic() + SECONDS
if os.fork() == 0:
    os.sched_setaffinity(0, {0})
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", 0))
    while time.monotonic() < end:
        one.sendto(b"x", one.getsockname())
        one.recv(10)
    os._exit(0)
os.sched_setaffinity(0, {1})
while time.monotonic() < end:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMP, 1)
        time.sleep(0.002)
    time.sleep(0.002)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.long
def test_code_is_patched_under_a_processor_that_runs_it():
    result = run_bare("/usr/bin/python3", "-c", PATCHES, kernel="6.12")
    assert result.returncode == 0, result.stderr


# Memory of processors lies far from all else that is mapped: to forget both at
# once is to forget what lies between, if it is done wrong.
FORGETS = """
set -e
chunks() { grep -c pcpu_get_vm_areas /proc/vmallocinfo; }
seq -f "netns add x%g" 150 | ip -batch -
before=$(chunks)
seq -f "netns del x%g" 150 | ip -batch -
insmod $LAB_MODULES/fabric_loop.ko
line="fab1 fab2 bytes=64 messages=1 both=0 chain=1 inline=0 usecs=0"
for i in $(seq 150); do
	echo $line > /sys/kernel/debug/fabric_loop
done
[ $(chunks) -lt $before ]
"""


@pytest.mark.long
def test_kasan_forgets_what_was_given_back_and_no_more():
    result = run_lab("run", "--kernel", "kasan", "--driver", "none", "--",
                     "sh", "-c", FORGETS)
    assert result.returncode == 0, result.stderr.decode()


@pytest.mark.long
@pytest.mark.parametrize("kernel,seconds", [("kasan", 15), ("6.12", 30),
                                            ("7.3", 30)])
def test_a_warm_start_is_quick(kernel, seconds):
    run_lab("run", "--kernel", kernel, "--driver", "stock", "--", "true")
    began = time.monotonic()
    result = run_lab("run", "--kernel", kernel, "--driver", "stock", "--",
                     "true")
    assert result.returncode == 0
    assert time.monotonic() - began <= seconds


# -- another release's tools -------------------------------------------------

@pytest.fixture
def bare_cache(tmp_path):
    """A cache that has the kernel 6.12 and nothing to build modules with.

    The root that modules are built in sees of the machine this cache alone, so
    no symbolic link leads out of it.
    """
    cache = tmp_path / "ib_ipoib"
    (cache / "kernels").mkdir(parents=True)
    for kernel in CACHE.glob("kernels/debian-trixie-[0-9]*"):
        subprocess.run(["cp", "-a", "--reflink=auto", kernel,
                        cache / "kernels" / kernel.name], check=True)
    return cache


def started_in(cache):
    """A lab that has to make a root file system first."""
    return started("run", "--kernel", "6.12", "--driver", "none", "--",
                   "true", stderr=subprocess.PIPE,
                   env=dict(ENVIRONMENT, XDG_CACHE_HOME=str(cache.parent)))


def wait_for_line(lab, text):
    for line in lab.stderr:
        if text in line.decode():
            return
    raise AssertionError("never said: " + text)


@pytest.mark.long
def test_a_lab_killed_while_it_makes_a_root_leaves_nothing(bare_cache):
    """Not a process, not a mount, and this machine's own files in place."""
    assert run_bare("true", kernel="6.12").returncode == 0
    with started_in(bare_cache) as lab:
        wait_for_line(lab, "making a root file system of trixie")
        made = bare_cache / "tmp"
        wait_until(lambda: list(made.glob("trixie-*/root/usr/bin/apt")),
                   "the root is being filled", PATIENCE)
        lab.kill()
    wait_until(lambda: not processes_with(str(made)), "its tools gone")
    wait_until(lambda: not temporaries(lab, bare_cache), "half a root gone")
    assert not list(bare_cache.glob("roots/*"))
    assert str(bare_cache) not in pathlib.Path("/proc/mounts").read_text()
    assert os.path.exists("/dev/null") and os.path.exists("/proc/self")


@pytest.mark.long
def test_two_labs_at_once_make_one_root(bare_cache):
    assert run_bare("true", kernel="6.12").returncode == 0
    with started_in(bare_cache) as one, started_in(bare_cache) as two:
        said = [lab.communicate()[1].decode() for lab in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0), said
    assert sum(text.count("making a root file system") for text in said) == 1
    assert len(list(bare_cache.glob("roots/*"))) == 1


# -- a suite that has moved on -----------------------------------------------

class FakeSuite:
    """A suite that offers these image packages, the first by default."""

    def __init__(self, *images):
        self.versions = dict(images)

    def refresh(self):
        pass

    update = refresh

    def names(self, start):
        return [name for name in self.versions if name.startswith(start)]

    def depends(self, _package):
        return list(self.versions)[:1]

    def offered(self, package):
        return self.versions.get(package)

    def newest(self, start):
        return max(self.names(start), key=debs.numbers)


OLD = ("linux-image-7.3.4+deb13-amd64", "7.3.4-1~bpo13+1")
NEW = ("linux-image-7.3.10+deb13-amd64", "7.3.10-1~bpo13+1")
CLOUD = ("linux-image-7.3.11+deb13-cloud-amd64", "7.3.11-1~bpo13+1")
NEXT = ("linux-image-7.4.1+deb13-amd64", "7.4.1-1~bpo13+1")


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A function that makes an empty cache, with one kernel of a version."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def make(name, version, release="7.3.4-some"):
        folder = tmp_path / "ib_ipoib" / "kernels" / name
        folder.mkdir(parents=True)
        (folder / "version").write_text(version + "\n")
        (folder / "release").write_text(release + "\n")
        return folder

    return make


def the_7_3(monkeypatch, *images):
    kernel = debian.Debian("7.3", "what", "trixie-backports", "7.3")
    monkeypatch.setattr(kernel, "suite", lambda: FakeSuite(*images))
    return kernel


@pytest.mark.parametrize("images,said", [
    ([OLD], None), ([NEW, OLD], "7.3.10-1~bpo13+1 is offered, remove FOLDER "
                                "to get it"),
    ([NEXT, OLD], "trixie-backports has moved on to 7.4.1-1~bpo13+1, this "
                  "one is kept"),
    ([], None)])
def test_the_cache_serves_and_one_line_offers_the_newer(
        cached, monkeypatch, images, said):
    folder = cached("debian-trixie-backports-" + OLD[1], OLD[1])
    kernel = the_7_3(monkeypatch, *images)
    assert kernel.ensure().folder == str(folder)
    _, found, line = kernel.state().partition("; ")
    assert line == (said or "").replace("FOLDER", str(folder))
    assert bool(found) == bool(said)
    assert "\n" not in kernel.state()


@pytest.mark.parametrize("images,chosen", [
    ([OLD], OLD), ([OLD, NEW], OLD), ([NEXT, OLD, CLOUD, NEW], NEW)])
def test_what_is_fetched_is_of_the_series_asked_for(
        monkeypatch, images, chosen):
    kernel = the_7_3(monkeypatch, *images)
    assert kernel.image(kernel.suite()) == chosen[0]


def test_tools_that_are_ahead_of_the_image_are_fetched_as_they_are(
        monkeypatch, tmp_path):
    """An image waits to be signed; what needs no signature does not."""
    image, headers, tools = parts = (
        ("linux-image-6.1.0-56-amd64", "6.1.192-2"),
        ("linux-headers-6.1.0-56-amd64", "6.1.192-2"),
        ("linux-kbuild-6.1", "6.1.192-3"))
    fetched = []
    suite = FakeSuite(*parts)
    suite.depends = lambda name: [tools[0]] if name == headers[0] else []
    suite.fetch = lambda *what: fetched.append(what[:2]) or os.devnull
    monkeypatch.setattr(debs, "unpack", lambda *_: None)
    monkeypatch.setattr(debian.os, "unlink", lambda _: None)
    monkeypatch.setattr(debian, "arrange", lambda *_: None)
    debian.make_in(str(tmp_path), suite, *image)
    assert fetched == list(parts)
    assert (tmp_path / "version").read_text().strip() == image[1]


@pytest.mark.usefixtures("cached")
def test_a_series_that_is_gone_is_one_line_that_names_the_newer(monkeypatch):
    kernel = the_7_3(monkeypatch, NEXT)
    with pytest.raises(LabError) as caught:
        kernel.ensure()
    assert caught.value.line() == (
        "lab: kernel package: trixie-backports offers no 7.3 any more, but "
        "linux-image-7.4.1+deb13-amd64")


def test_trixies_kernel_is_not_that_of_its_backports(cached):
    cached("debian-trixie-backports-6.12.200-1~bpo13+1", "6.12.200-1~bpo13+1")
    assert kernels.KERNELS["6.12"].ready() is None
    mine = cached("debian-trixie-6.12.107-1", "6.12.107-1")
    assert kernels.KERNELS["6.12"].ready().folder == str(mine)


@pytest.mark.parametrize("release,same", [("bookworm", "6.1"),
                                          ("trixie", "6.12")])
def test_stock_is_the_machines_own_release(cached, monkeypatch, release, same):
    for module in (debian.debs, source.debs):
        monkeypatch.setattr(module, "codename", lambda: release)
    cached("debian-bookworm-6.1.192-2", "6.1.192-2")
    cached("debian-trixie-6.12.107-1", "6.12.107-1")
    stock, named = (kernels.KERNELS[name].ready() for name in ("stock", same))
    assert stock.folder == named.folder
    assert not isinstance(kernels.KERNELS["stock"].suite(), debs.Suite)
    assert isinstance(kernels.KERNELS["7.3"].suite(), debs.Suite)


def test_another_releases_kernel_is_built_for_in_a_root(cached, monkeypatch):
    monkeypatch.setattr(debs, "codename", lambda: "bookworm")
    monkeypatch.setattr(roots, "ensure", lambda release: "/root-of-" + release)
    made = {}
    for name, folder in (("6.1", "debian-bookworm-6.1.192-2"),
                         ("6.12", "debian-trixie-6.12.107-1"),
                         ("7.3", "debian-trixie-backports-7.3.4-1~bpo13+1")):
        cached(folder, "some")
        made[name] = kernels.KERNELS[name].ready().make()
    assert made["6.1"][0] == "make"
    for name in ("6.12", "7.3"):
        assert "/root-of-trixie" in made[name]


def test_other_architectures_are_built_for_by_cross_compilers(
        cached, monkeypatch):
    installed = []
    monkeypatch.setattr(cross.host, "prepare", installed.append)
    for name, arch, compiler in (("arm64", "arm64", "aarch64-linux-gnu"),
                                 ("s390x", "s390", "s390x-linux-gnu")):
        kernel = kernels.CROSS[name]
        cached(kernel.pattern().replace("*", OLD[1]), OLD[1])
        argv = kernel.ensure().make()
        assert installed.pop() == "gcc-" + compiler
        assert {"ARCH=" + arch, f"CROSS_COMPILE={compiler}-"} <= set(argv)


def test_the_drivers_own_settings_are_part_of_a_cross_tree(
        tmp_path, monkeypatch):
    before = kernels.CROSS["arm64"].pattern()
    changed = tmp_path / "Kconfig"
    changed.write_text("config INFINIBAND_IPOIB\n\ttristate\n")
    monkeypatch.setattr(cross, "KCONFIG", str(changed))
    assert kernels.CROSS["arm64"].pattern() != before


def test_a_later_fragment_has_the_last_word():
    assert set(source.wanted([
        "CONFIG_SMP=y\nCONFIG_STATS=y\n", "# why\nCONFIG_STATS=n\n"])) == {
            "CONFIG_SMP=y", "# CONFIG_STATS is not set"}


def test_a_newer_source_of_uml_is_offered(cached, monkeypatch):
    kernel = kernels.KERNELS["kasan"]
    folder = cached(kernel.pattern().replace("*", OLD[1]), OLD[1])
    fetched = folder.parent.parent / "source" / OLD[1]
    fetched.mkdir(parents=True)
    suite = FakeSuite((source.SOURCE, NEW[1]))
    monkeypatch.setattr(source.debs, "Suite", lambda name: suite)
    assert kernel.state().endswith("; %s is offered, remove %s and %s to get "
                                   "it" % (NEW[1], folder, fetched))


@pytest.mark.usefixtures("cached")
def test_a_source_of_uml_that_is_gone_is_one_line(monkeypatch):
    suite = FakeSuite(("linux-source-7.4", NEXT[1]))
    monkeypatch.setattr(source.debs, "Suite", lambda name: suite)
    with pytest.raises(LabError) as caught:
        kernels.KERNELS["kasan"].ensure()
    assert caught.value.line() == (
        "lab: kernel source: trixie-backports does not offer linux-source-7.3 "
        "any more, but linux-source-7.4")


def test_no_lists_of_packages_is_no_reason_to_fail(cached, monkeypatch):
    cached("debian-trixie-backports-" + OLD[1], OLD[1])
    kernel = the_7_3(monkeypatch, OLD)

    def fail(_self, _kernel):
        raise LabError("packages", "no network")

    monkeypatch.setattr(debian.Debian, "newer", fail)
    assert recipe.Recipe.state(kernel).endswith("package version " + OLD[1])


def test_mounts_of_a_commands_own_are_hidden():
    assert mounts.own()[0].endswith("unshare")


def test_mounts_that_show_are_noticed_and_taken_away():
    before = pathlib.Path("/proc/self/mounts").read_text()
    assert not mounts._hidden(["env"])  # pylint: disable=protected-access
    assert pathlib.Path("/proc/self/mounts").read_text() == before
