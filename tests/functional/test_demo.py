# SPDX-License-Identifier: GPL-2.0
"""`make demo` shows what it says, or fails."""

import re

import pytest

from hostkit import run_lab

pytestmark = pytest.mark.host


def demo(driver="ours", change=""):
    """The scenes of the demo, on two hosts, as a sed script @change has them.

    The finished command.
    """
    script = "changed=$(mktemp) && " \
        f"sed -e '{change}' tests/demo > $changed && sh $changed --inside"
    return run_lab("run", "--driver", driver, "--hosts", "2", "--", "sh",
                   "-c", script)


def test_partitions_isolate_before_the_eyes_of_the_user():
    done = demo()
    assert done.returncode == 0, done.stderr.decode()
    scenes = re.split(r"^# ", done.stdout.decode(), flags=re.M)
    isolated, = (scene for scene in scenes if "no answer" in scene)
    assert "100% packet loss" in isolated
    joined, = (scene for scene in scenes if "Now they reach" in scene)
    assert " 0% packet loss" in joined


@pytest.mark.parametrize("change,said", [
    # both children in partition 1, whatever their names say
    ("s/0x$2/0x8001/", "partitions do not isolate"),
    # the second never comes where the first is
    ("s/^\tenter host2 8001/\tenter host2 8002/", "the command failed"),
], ids=["one-partition", "two-partitions"])
@pytest.mark.long
def test_a_scene_that_does_not_show_what_it_says_fails_the_demo(change, said):
    done = demo(change=change)
    assert done.returncode == 1
    assert said in done.stderr.decode() + done.stdout.decode()


@pytest.mark.long
def test_the_stock_driver_is_not_taken_for_ours():
    assert demo("stock").returncode == 1
