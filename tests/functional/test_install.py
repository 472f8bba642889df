# SPDX-License-Identifier: GPL-2.0
"""What `make install` does on a host, for a Debian kernel by its headers."""

import pathlib
import shutil
import subprocess
import sys

import pytest

from hostkit import CHECKOUT, ENVIRONMENT, PATIENCE

sys.path.insert(0, str(CHECKOUT / "tests"))
from vm import kernels, modules  # noqa: E402 pylint: disable=wrong-import-position

pytestmark = pytest.mark.host

OWN = "kernel/drivers/infiniband/ulp/ipoib/ib_ipoib.ko"


@pytest.fixture
def kernel():
    """The one whose headers this release's compiler can use as they are."""
    return kernels.KERNELS["6.1"].ensure()


@pytest.fixture
def root(kernel, tmp_path):
    """A root file system that has the kernel's own driver, and no other."""
    release = pathlib.Path(kernel.path("release")).read_text(
        encoding="utf-8").strip()
    there = tmp_path / "lib/modules" / release
    (there / OWN).parent.mkdir(parents=True)
    shutil.copyfile(kernel.stock, there / OWN)
    for name in ("modules.order", "modules.builtin"):
        (there / name).touch()
    return tmp_path, there


@pytest.fixture
def checkout(tmp_path):
    """The driver's sources, to be built where they are."""
    part = modules.PARTS["driver"]
    to = tmp_path / "checkout"
    for name in part.files(CHECKOUT):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CHECKOUT / name, to / name)
    return to


def make(checkout, *words):
    done = subprocess.run(["make", *words], cwd=checkout, env=ENVIRONMENT,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=PATIENCE, check=False)
    return done.returncode, done.stdout + done.stderr


def modprobes(root, release):
    """The file that modprobe takes for the driver's name."""
    return subprocess.run(["modinfo", "-b", root, "-k", release, "-n",
                           "ib_ipoib"], capture_output=True, text=True,
                          check=True).stdout.strip()


def test_what_is_installed_comes_before_the_kernels_own(kernel, root,
                                                        checkout):
    top, there = root
    subprocess.run(["depmod", "-b", top, "-a", there.name], check=True)
    assert modprobes(top, there.name) == str(there / OWN)
    build = kernel.path("build")
    status, told = make(checkout, "install", f"KDIR={build}",
                        f"INSTALL_MOD_PATH={top}")
    assert status == 0, told
    assert modprobes(top, there.name) == str(there / "updates/ib_ipoib.ko")
    # as the README has it for who goes back
    (there / "updates/ib_ipoib.ko").unlink()
    subprocess.run(["depmod", "-b", top, "-a", there.name], check=True)
    assert modprobes(top, there.name) == str(there / OWN)


def test_without_headers_it_says_what_to_install(checkout):
    status, told = make(checkout, "KDIR=/nowhere")
    assert status == 2
    assert "No kernel headers in /nowhere." in told
    assert "linux-headers-" in told
