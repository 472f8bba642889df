# SPDX-License-Identifier: GPL-2.0
"""A lab machine from inside: its configuration and the steps of its start."""

import errno
import glob
import json
import os

from . import hosts, kernel, sm
from .kernel import StepError
from .netlink import Rdma

FOLDER = "/run/lab"
CONFIG = FOLDER + "/config.json"
MODULES = FOLDER + "/modules"
DRIVER = "ib_ipoib"


def load_config():
    """The configuration that the agent left for the commands in the guest."""
    with open(CONFIG, encoding="utf-8") as file:
        return json.load(file)


class Lab:
    """One lab machine."""

    def __init__(self, config):
        self.config = config
        self.hosts = config["hosts"]
        self.managers = sm.managers(config)
        # the subnet managers' and one a host
        self.hcas = self.hosts + len(self.managers)
        self.exclusive = config["rdma_netns"] == "exclusive"
        self.seconds = config["seconds"]

    def lay_out(self):
        """Folders, links and notes that the other steps rely on."""
        os.makedirs(MODULES + "/stock")
        for name, where in self.config["built"].items():
            os.symlink(where, "%s/%s" % (MODULES, name))
        stock = self.config["stock"]
        os.symlink(stock, "%s/stock/%s" % (MODULES, os.path.basename(stock)))
        os.makedirs("/lib/modules", exist_ok=True)
        own = "/lib/modules/" + self.config["release"]
        if os.path.realpath(own) != self.config["modules"]:
            if os.path.lexists(own):
                # the host's own kernel: hide it behind the one that runs
                kernel.mount(self.config["modules"], own,
                             flags=kernel.MS_BIND)
            else:
                os.symlink(self.config["modules"], own)
        kernel.write(CONFIG, json.dumps(self.config))

    def environment(self):
        """What COMMAND finds set."""
        tools = os.path.join(os.path.dirname(__file__), "bin")
        env = dict(self.config["environment"])
        env["PATH"] = tools + ":/usr/local/sbin:/usr/local/bin:" \
            "/usr/sbin:/usr/bin:/sbin:/bin"
        env["HOME"] = "/root"
        env.update(LAB_OUT=self.config["out"], LAB_MODULES=MODULES,
                   LAB_DRIVER=self.config["driver"], LAB_SM_CONF=sm.FOLDER,
                   LAB_KERNEL=self.config["kernel"], LAB_HOSTS=str(self.hosts),
                   LAB_CACHE=self.config["cache"],
                   LAB_VARIANT=self.config["variant"])
        return env

    # -- steps of the start -------------------------------------------------

    def load_core(self):
        """The kernel's own InfiniBand modules."""
        for module in self.config["core"]:
            kernel.insert_module(module)
        # the kernel refuses it when there are namespaces
        if self.exclusive:
            with Rdma() as rdma:
                rdma.set_exclusive()

    def fabric_parameters(self):
        """What the fabric's module is given."""
        shape = self.config["shape"]
        return "hcas=%d" % self.hcas + \
            (" shape=" + ",".join(shape) if shape else "")

    def load_fabric(self):
        """The fabric and its HCAs."""
        step = "fabric"
        try:
            kernel.insert_module(MODULES + "/ib_fabric.ko",
                                 self.fabric_parameters())
        except OSError as err:
            raise StepError(step, "ib_fabric.ko: " + os.strerror(err.errno)) \
                from None
        kernel.wait_for(
            lambda: len(glob.glob("/sys/class/infiniband/fab*"))
            == self.hcas, self.seconds, step,
            lambda: "not all HCAs are there")
        # devtmpfs makes the nodes; without one OpenSM finds no port
        kernel.wait_for(lambda: not self.without_umad(), self.seconds, step,
                        lambda: "no /dev/infiniband/umad for "
                        + self.without_umad()[0])

    def without_umad(self):
        """The subnet managers' HCAs that programs cannot send MADs from."""
        nodes = {kernel.read(where + "/ibdev"): "/dev/infiniband/" +
                 os.path.basename(where)
                 for where in glob.glob("/sys/class/infiniband_mad/umad*")}
        names = ["fab%d" % manager.hca for manager in self.managers]
        return [name for name in names
                if not os.path.exists(nodes.get(name, "/nowhere"))]

    def start_sm(self):
        """OpenSM up, a second one standing by, every port ACTIVE.

        Namespaces are made while the first sets out, unless HCAs are to move
        into them: that would be one more change for OpenSM to follow.
        """
        first, *others = self.managers
        for manager in self.managers:
            manager.configure()
        if self.exclusive:
            hosts.create(self.hosts)
            hosts.give_hcas(self.hosts)
        first.launch()
        if not self.exclusive:
            hosts.create(self.hosts)
        first.wait_up(self.seconds)
        for manager in others:
            manager.launch()
            manager.wait_standby(self.seconds)
        self.wait_active()

    def wait_active(self):
        """Wait until OpenSM has made every port ACTIVE."""
        def idle():
            return [hca for hca in range(self.hcas)
                    if not self.is_active(hca)]

        kernel.wait_for(lambda: not idle(), self.seconds, "ports ACTIVE",
                        lambda: "fab%d is not" % idle()[0])

    def is_active(self, hca):
        """Whether OpenSM has made an HCA's ports ACTIVE."""
        if self.exclusive and 0 < hca <= self.hosts:
            return hosts.ports_are_active(hca)
        return all("ACTIVE" in kernel.read(where) for where in glob.glob(
            "/sys/class/infiniband/fab%d/ports/*/state" % hca))

    def load_driver(self, which=None, parameters=()):
        """Load the driver and give each host its interface."""
        which = which or self.config["driver"]
        path = "%s/%s.ko" % (MODULES, DRIVER) if which == "ours" else \
            "%s/stock/%s" % (MODULES, os.path.basename(self.config["stock"]))
        step = "driver"
        if kernel.loaded(DRIVER):
            raise StepError(step, DRIVER + " is already loaded")
        if not os.path.exists(path):
            raise StepError(step, "this lab was started without " + path)
        try:
            kernel.insert_module(path, " ".join(parameters))
        except OSError as err:
            raise StepError(step, "%s: %s" % (path, os.strerror(err.errno))) \
                from None
        own = range(1, self.hosts + 1)
        self.adopt(own, set(range(self.hcas)) - set(own))

    def adopt(self, wanted, aside=()):
        """Give hosts the interfaces the driver made for them."""
        with hosts.inside(0):
            hosts.adopt(wanted, self.seconds, aside)

    def unload_driver(self):
        """Remove the driver; its interfaces go with it."""
        try:
            kernel.remove_module(DRIVER)
        except OSError as err:
            why = "is not loaded" if err.errno == errno.ENOENT else \
                os.strerror(err.errno)
            raise StepError("driver", "%s %s" % (DRIVER, why)) from None

    def wait_hosts(self):
        """All hosts reach each other."""
        hosts.require_interfaces(self.hosts)
        hosts.wait_ready(self.hosts, self.seconds)

    def steps(self):
        """(name, function) of each step of the start, in order."""
        yield "layout", self.lay_out
        yield "kernel modules", self.load_core
        yield "fabric", self.load_fabric
        yield "subnet manager", self.start_sm
        if self.config["driver"] != "none":
            yield "driver", self.load_driver
            yield "hosts reach each other", self.wait_hosts
