# SPDX-License-Identifier: GPL-2.0
"""OpenSM: how it is configured, started, stopped and asked to sweep."""

import os
import shutil
import signal
import subprocess

from .kernel import StepError, read, wait_for, write

FOLDER = "/run/lab/sm"
PID = FOLDER + "/pid"
CONSOLE = FOLDER + "/console"
LOG = FOLDER + "/opensm.log"
OUTPUT = FOLDER + "/opensm.out"
UP = "-> SUBNET UP"
STEP = "subnet manager"
# seconds for a process to begin
START = 30

# Each IPoIB partition needs its broadcast group: rate 3 is 10 Gbit/s, mtu 4
# is 2048, scope 2 the link's own.
GROUP = "ipoib, rate=3, mtu=%d, scope=2"
MTU_CODE = 4


def port_guid(hca):
    """The GUID of port 1 of HCA @hca, by the fabric's numbering."""
    return 0x02fab00000000001 | hca << 8


def partitions(hosts):
    """The partitions of the lab, as OpenSM's file has them."""
    group = GROUP % MTU_CODE
    lines = ["Default=0x7fff, %s : ALL=full, SELF=full ;" % group,
             "p8001=0x0001, %s : ALL=full, SELF=full ;" % group,
             "p8002=0x0002, %s : ALL=full, SELF=full ;" % group]
    members = ["0x%016x=%s" % (port_guid(n), "full" if n % 2 else "limited")
               for n in range(1, hosts + 1)]
    lines.append("p8003=0x0003, %s : SELF=full, %s ;"
                 % (group, ", ".join(members)))
    return "\n".join(lines) + "\n"


def options(slow):
    """OpenSM's configuration file; what is not said is its default.

    An emulated machine answers slowly: more time for each packet there.
    """
    return "\n".join([
        "guid 0x%016x" % port_guid(0),
        "partition_config_file %s/partitions.conf" % FOLDER,
        "log_file %s" % LOG,
        # errors and news; SUBNET UP is news
        "log_flags 0x03",
        # else a message waits in a buffer for the next ones
        "force_log_flush TRUE",
        "log_max_size 64",
        "transaction_timeout %d" % (1000 if slow else 200),
        "sweep_interval %d" % (2 if slow else 10),
        # its standard input: how a sweep is asked for
        "console local"]) + "\n"


def configure(hosts, slow):
    """Write OpenSM's configuration folder."""
    os.makedirs(FOLDER, exist_ok=True)
    write(FOLDER + "/partitions.conf", partitions(hosts))
    write(FOLDER + "/opensm.conf", options(slow))


def pid():
    """OpenSM's process id, or None when it does not run."""
    text = read(PID)
    if text and "opensm" in read("/proc/%s/comm" % text):
        return int(text)
    return None


def launch():
    """Start OpenSM; it is not up yet."""
    if pid():
        raise StepError(STEP, "is already running")
    env = dict(os.environ, OSM_CACHE_DIR=FOLDER, OSM_TMP_DIR=FOLDER)
    # an old log would tell of an old sweep
    write(LOG, "")
    if not os.path.exists(CONSOLE):
        os.mkfifo(CONSOLE)
    # open both ways: a console that nobody writes to must not end
    with open(OUTPUT, "w", encoding="utf-8") as out, \
            open(CONSOLE, "r+b", buffering=0) as console:
        child = subprocess.Popen(
            ["/usr/sbin/opensm", "-F", FOLDER + "/opensm.conf"],
            stdin=console, stdout=out, stderr=out, env=env,
            start_new_session=True)
    write(PID, str(child.pid))
    # Popen returns a moment before the process bears its new name, and by
    # its name pid() knows it
    wait_for(lambda: pid() or child.poll() is not None, START, STEP,
             last_words)


def keep_log(out):
    """Leave the log in the folder @out: the guest's memory goes with it."""
    if os.path.exists(LOG):
        shutil.copyfile(LOG, os.path.join(out, "opensm.log"))


def sweeps():
    """How often the log says that the subnet came up."""
    return read(LOG).count(UP)


def last_words():
    """OpenSM's last line, to explain a failure."""
    lines = (read(OUTPUT) + "\n" + read(LOG)).splitlines()
    return lines[-1] if lines else "it says nothing"


def wait_up(seconds, beyond=0):
    """Wait for one more SUBNET UP than @beyond."""
    def done():
        if not pid():
            raise StepError(STEP, "OpenSM ended: " + last_words())
        return sweeps() > beyond

    wait_for(done, seconds, STEP, last_words)


def start(seconds):
    """Start OpenSM and wait for SUBNET UP."""
    launch()
    wait_up(seconds)


def stop(seconds):
    """Stop OpenSM and wait until it is gone."""
    process = pid()
    if not process:
        return
    os.kill(process, signal.SIGTERM)
    wait_for(lambda: not pid(), seconds, STEP, lambda: "it does not end")


def resweep(seconds):
    """Have OpenSM sweep the whole fabric now, and wait for its end."""
    if not pid():
        raise StepError(STEP, "is not running")
    # Twice: the first SUBNET UP may end a sweep that was under way already,
    # but then the second ends the one that was asked for first.
    for _ in range(2):
        before = sweeps()
        # SIGHUP does the same, but OpenSM looks for it every ten seconds only
        write(CONSOLE, "resweep heavy\n")
        wait_up(seconds, before)
