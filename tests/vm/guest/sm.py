# SPDX-License-Identifier: GPL-2.0
"""OpenSM inside a lab: how it is configured, started, stopped, asked to sweep.

A lab has one or two, each on an HCA of its own with a folder of its own. The
first has the highest priority: it is the master while it runs, and a second
one stands by, polls it, and takes over when it no longer answers.
"""

import os
import re
import shutil
import signal
import subprocess

from .kernel import StepError, read, wait_for, write

FOLDER = "/run/lab/sm"
UP = "-> SUBNET UP"
STEP = "subnet manager"
# seconds for a process to begin
START = 30
PRIORITY = 14

# A standby polls the master this often, on a machine as quick as its host,
# and takes over after so many polls without an answer.
POLL_MS = 500
POLLS = 4

# Each IPoIB partition needs its broadcast group: rate 3 is 10 Gbit/s, scope 2
# the link's own.
GROUP = "ipoib, rate=3, mtu=%d, scope=2"
# IBA 14.2.5.6: 2048 and 4096 bytes; IPoIB's header takes 4 of them
MTU_CODES = {2044: 4, 4092: 5}


def port_guid(hca):
    """The GUID of port 1 of HCA @hca, by the fabric's numbering."""
    return 0x02fab00000000001 | hca << 8


def partitions(config):
    """The partitions of the lab, as OpenSM's file has them."""
    hosts = config["hosts"]
    group = GROUP % MTU_CODES[config["mtu"]]
    lines = ["Default=0x7fff, %s : ALL=full, SELF=full ;" % group,
             "p8001=0x0001, %s : ALL=full, SELF=full ;" % group,
             "p8002=0x0002, %s : ALL=full, SELF=full ;" % group]
    full = {manager.hca for manager in managers(config)}
    full.update(range(1, hosts + 1, 2))
    members = ["0x%016x=%s" % (port_guid(hca),
                               "full" if hca in full else "limited")
               for hca in range(hosts + config["sms"])]
    lines.append("p8003=0x0003, %s : %s ;" % (group, ", ".join(members)))
    return "\n".join(lines) + "\n"


class Manager:
    """One OpenSM, number @number of the lab that @config describes."""

    def __init__(self, config, number):
        self.config = config
        self.number = number
        self.name = "opensm" + ("" if number == 1 else str(number))
        self.folder = FOLDER + ("" if number == 1 else str(number))
        self.hca = 0 if number == 1 else config["hosts"] + number - 1
        self.priority = PRIORITY + 1 - number

    def path(self, name):
        """A file of this manager's folder."""
        return self.folder + "/" + name

    @property
    def log(self):
        """OpenSM's log since its last start."""
        return self.path("opensm.log")

    def options(self):
        """OpenSM's configuration file; what is not said is its default.

        An emulated machine answers slowly: more time for each packet there.
        """
        slow = self.config["slow"]
        return "\n".join([
            "guid 0x%016x" % port_guid(self.hca),
            "partition_config_file " + self.path("partitions.conf"),
            "log_file " + self.log,
            # errors and news; SUBNET UP is news
            "log_flags 0x03",
            # else a message waits in a buffer for the next ones
            "force_log_flush TRUE",
            "log_max_size 64",
            "transaction_timeout %d" % (1000 if slow else 200),
            "sweep_interval %d" % (2 if slow else 10),
            "sm_priority %d" % self.priority,
            "sminfo_polling_timeout %d" % (POLL_MS * self.config["patience"]),
            "polling_retry_number %d" % POLLS,
            # its standard input: how a sweep is asked for
            "console local"]) + "\n"

    def configure(self):
        """Write OpenSM's configuration folder."""
        os.makedirs(self.folder, exist_ok=True)
        write(self.path("partitions.conf"), partitions(self.config))
        write(self.path("opensm.conf"), self.options())

    def pid(self):
        """OpenSM's process id, or None when it does not run."""
        text = read(self.path("pid"))
        if text and "opensm" in read("/proc/%s/comm" % text):
            return int(text)
        return None

    def state(self):
        """What it says it is: MASTER, STANDBY, DISCOVERING; or stopped."""
        if not self.pid():
            return "stopped"
        entered = re.findall(r"Entering (\w+) state", read(self.log))
        return entered[-1] if entered else "DISCOVERING"

    def launch(self):
        """Start OpenSM; it is not up yet."""
        if self.pid():
            raise StepError(STEP, self.name + " is already running")
        env = dict(os.environ, OSM_CACHE_DIR=self.folder,
                   OSM_TMP_DIR=self.folder)
        # an old log would tell of an old sweep
        write(self.log, "")
        console = self.path("console")
        if not os.path.exists(console):
            os.mkfifo(console)
        # open both ways: a console that nobody writes to must not end
        with open(self.path("opensm.out"), "w", encoding="utf-8") as out, \
                open(console, "r+b", buffering=0) as source:
            child = subprocess.Popen(
                ["/usr/sbin/opensm", "-F", self.path("opensm.conf")],
                stdin=source, stdout=out, stderr=out, env=env,
                start_new_session=True)
        write(self.path("pid"), str(child.pid))
        # Popen returns a moment before the process bears its new name, and by
        # its name pid() knows it
        wait_for(lambda: self.pid() or child.poll() is not None, START, STEP,
                 self.last_words)

    def sweeps(self):
        """How often the log says that the subnet came up."""
        return read(self.log).count(UP)

    def last_words(self):
        """OpenSM's last line, to explain a failure."""
        text = read(self.path("opensm.out")) + "\n" + read(self.log)
        lines = text.splitlines()
        return lines[-1] if lines else "it says nothing"

    def wait(self, done, seconds):
        """Wait for a condition that only a running OpenSM brings about."""
        def alive_and_done():
            if not self.pid():
                raise StepError(STEP, "%s ended: %s"
                                % (self.name, self.last_words()))
            return done()

        wait_for(alive_and_done, seconds, STEP, self.last_words)

    def wait_up(self, seconds, beyond=0):
        """Wait for one more SUBNET UP than @beyond."""
        self.wait(lambda: self.sweeps() > beyond, seconds)

    def wait_standby(self, seconds):
        """Wait until it has found a master and stands by."""
        self.wait(lambda: self.state() == "STANDBY", seconds)

    def wait_settled(self, seconds):
        """Wait until it is what its priority makes it among those that run."""
        above = [other for other in managers(self.config)
                 if other.priority > self.priority and other.pid()]
        if above:
            self.wait_standby(seconds)
        else:
            self.wait_up(seconds)

    def stop(self, seconds):
        """Stop OpenSM and wait until it is gone."""
        process = self.pid()
        if not process:
            return
        os.kill(process, signal.SIGTERM)
        wait_for(lambda: not self.pid(), seconds, STEP,
                 lambda: self.name + " does not end")

    def resweep(self, seconds):
        """Have OpenSM sweep the whole fabric now, and wait for its end."""
        if self.state() != "MASTER":
            raise StepError(STEP, "%s is %s, and only a master sweeps"
                            % (self.name, self.state()))
        # Twice: the first SUBNET UP may end a sweep that was under way
        # already, but then the second ends the one that was asked for first.
        for _ in range(2):
            before = self.sweeps()
            # SIGHUP does the same, but OpenSM looks for it every ten seconds
            # only
            write(self.path("console"), "resweep heavy\n")
            self.wait_up(seconds, before)

    def keep_log(self, out):
        """Leave the log in the folder @out: the guest's memory goes with it."""
        if os.path.exists(self.log):
            shutil.copyfile(self.log, os.path.join(out, self.name + ".log"))


def managers(config):
    """The subnet managers of a lab, in the order of their numbers."""
    return [Manager(config, number + 1) for number in range(config["sms"])]
