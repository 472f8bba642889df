# SPDX-License-Identifier: GPL-2.0
"""The lab's commands inside the guest: lab-sm, lab-driver, lab-hosts and so on."""

import os
import sys

from . import guids, pcap
from .kernel import StepError, read
from .lab import Lab, load_config

USAGE = {"sm": "usage: lab-sm stop|start|resweep|log|status [NUMBER]",
         "driver": "usage: lab-driver load [ours|stock] [PARAMETER=VALUE...] | "
                   "unload",
         "hosts": "usage: lab-hosts [adopt HOST...]    (waits until all "
                  "hosts reach each other; adopt: gives hosts whose HCA came "
                  "back their new interface)",
         "guid": "usage: lab-guid list|add|del HOST [GUID...]    (0: the "
                 "subnet manager chooses one)",
         "pcap": "usage: lab-pcap NODE/PORT|FILE [TSHARK-OPTION...]"}


def run_sm(lab, args):
    """OpenSM: stop, start, resweep, show its log or its state."""
    action, *number = args
    wanted = number or ["1"]
    manager, = [manager for manager in lab.managers
                if [str(manager.number)] == wanted]
    if action == "log":
        print(read(manager.log))
    elif action == "status":
        show_status([manager] if number else lab.managers)
    elif action == "stop":
        manager.stop(lab.seconds)
    elif action == "start":
        manager.launch()
        manager.wait_settled(lab.seconds)
        lab.wait_active()
    elif action == "resweep":
        manager.resweep(lab.seconds)
    else:
        raise ValueError(action)


def show_status(managers):
    """A line for each: its number, its HCA, what it is, its process."""
    for manager in managers:
        print("%d fab%d %s %s" % (manager.number, manager.hca,
                                  manager.state(), manager.pid() or "-"))


def run_driver(lab, args):
    """Load or unload the driver under test."""
    action, *words = args
    which = [word for word in words if "=" not in word]
    parameters = [word for word in words if "=" in word]
    if len(which) > 1 or not set(which) <= {"ours", "stock"}:
        raise ValueError(which)
    if action == "unload" and not parameters:
        lab.unload_driver()
    elif action == "load":
        default = lab.config["driver"]
        lab.load_driver(which[0] if which else
                        "ours" if default == "none" else default, parameters)
        lab.wait_hosts()
    else:
        raise ValueError(action)


def run_hosts(lab, args):
    """Wait until all hosts reach each other, or adopt new interfaces."""
    if not args:
        lab.wait_hosts()
        return
    action, *names = args
    wanted = [int(name) for name in names]
    if action != "adopt" or not wanted or \
            not set(wanted) <= set(range(1, lab.hosts + 1)):
        raise ValueError(args)
    lab.adopt(wanted)


def run_guid(lab, args):
    """Alias GUIDs of a host's port: show, add or delete them."""
    action, host, *words = args
    guids.work(action, int(host), words, lab.seconds)


def run_pcap(_lab, args):
    """Show what a port's cable carries."""
    name, *options = args
    pcap.show(name, options)


TOOLS = {"sm": run_sm, "driver": run_driver, "hosts": run_hosts,
         "guid": run_guid, "pcap": run_pcap}


def main(name, *args):
    """Run the tool called @name; its exit status."""
    tool = TOOLS[name]
    try:
        # a host sees its own sysfs, without the others' interfaces
        if not os.path.samefile("/proc/self/ns/net", "/proc/1/ns/net"):
            raise StepError("namespace", "run it in the initial one")
        tool(Lab(load_config()), args)
    except ValueError:
        print(USAGE[name], file=sys.stderr)
        return 2
    except StepError as err:
        print("lab-%s: %s: %s" % (name, err.step, err), file=sys.stderr)
        return 1
    return 0
