# SPDX-License-Identifier: GPL-2.0
"""A fabric that nobody uses costs its host next to nothing."""

import pathlib
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tests/bench"))

from machine import Machine  # noqa: E402 pylint: disable=wrong-import-position

pytestmark = [pytest.mark.host, pytest.mark.long]

SECONDS = 60
# of one core
SHARE = 0.001

SCRIPT = f"""
set -e
lab-sm stop
rmmod ib_fabric
watch() {{
	sleep 5
	echo '{{"event": "begin"}}'
	sleep {SECONDS}
	echo '{{"event": "end"}}'
}}
watch
insmod $LAB_MODULES/ib_fabric.ko hcas=16
watch
"""


def test_processor_time_of_16_idle_hcas():
    """The whole machine with the fabric, less the same without."""
    lab = Machine(["--driver", "none", "--hosts", "1"], ["sh", "-c", SCRIPT])
    marks = [lab.seconds() for _ in lab.events()]
    assert lab.status() == 0
    begin, end, again, last = marks
    bare, idle = end - begin, last - again
    print(f"{SECONDS} s: {bare:.2f} s without the fabric, {idle:.2f} s with")
    assert idle - bare < SHARE * SECONDS
