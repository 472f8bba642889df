# SPDX-License-Identifier: GPL-2.0
"""What tests that start labs themselves have in common."""

import contextlib
import glob
import os
import pathlib
import re
import subprocess
import time

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or
                     pathlib.Path.home() / ".cache") / "ib_ipoib"
# what a lab may need at most, builds included, where no limit is the test
PATIENCE = 900
# how long a condition that must come true may take
SOON = 30

# A lab under test must not think that it is inside one.
ENVIRONMENT = {name: value for name, value in os.environ.items()
               if not name.startswith("LAB_")}


def command_line(*args, checkout=CHECKOUT, program="lab"):
    return [str(checkout / "tests" / program), *args]


def run_lab(*args, checkout=CHECKOUT, **more):
    """Run tests/lab to its end; streams as bytes."""
    return subprocess.run(command_line(*args, checkout=checkout),
                          stdin=subprocess.DEVNULL, capture_output=True,
                          env=ENVIRONMENT, timeout=PATIENCE, check=False,
                          **more)


def run_bare(*command, kernel="uml", options=()):
    """Run a command in the quickest lab, one without a driver."""
    return run_lab("run", "--kernel", kernel, "--driver", "none", *options,
                   "--", *command)


def shell(script, **more):
    return run_bare("sh", "-c", script, **more)


def wait_until(condition, what, seconds=SOON):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "still not: " + what
        time.sleep(0.02)


def lines(data):
    return data.decode().splitlines()


@contextlib.contextmanager
def started(*args, checkout=CHECKOUT, program="lab", **more):
    """A lab, or a check, that runs while the test goes on."""
    more.setdefault("stdout", subprocess.PIPE)
    more.setdefault("stderr", subprocess.DEVNULL)
    more.setdefault("env", ENVIRONMENT)
    lab = subprocess.Popen(command_line(*args, checkout=checkout,
                                        program=program),
                           stdin=subprocess.DEVNULL, **more)
    try:
        yield lab
    finally:
        lab.kill()
        lab.wait()


def processes_with(text):
    """Command lines on this host that have @text, but for our own."""
    found = []
    for where in glob.glob("/proc/[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = pathlib.Path(where).read_bytes().decode(errors="replace")
            if text in words and where != "/proc/%d/cmdline" % os.getpid():
                found.append(words.replace("\0", " "))
    return found


def temporaries(lab, cache=CACHE):
    """The temporary folders of a lab; its process number is in their names."""
    names = os.listdir(cache / "tmp") if (cache / "tmp").exists() else []
    return [name for name in names
            if name.rpartition(".")[2].startswith("%x-" % lab.pid)]


LIMITS = """
echo 1 > /proc/sys/kernel/hung_task_check_interval_secs
echo 2 > /proc/sys/kernel/hung_task_timeout_secs
echo 3 > /sys/module/rcupdate/parameters/rcu_cpu_stall_timeout
"""


def expect_report(what, kernel, kind):
    """A fault ends a run with 70 and its report, whatever COMMAND returned."""
    result = shell("exec 2> /dev/null; %s\ninsmod $LAB_MODULES/"
                   "lab_provoke.ko what=%s; exit 0" % (LIMITS, what),
                   kernel=kernel)
    assert result.returncode == 70
    text = result.stderr.decode()
    assert "lab: the kernel reported: %s\n" % kind in text
    # the report itself names where it happened
    assert "provoke" in text
    log = re.search(r"^lab: the kernel's log is (.*)$", text, re.M).group(1)
    assert os.path.exists(log)
