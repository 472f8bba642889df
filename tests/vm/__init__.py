# SPDX-License-Identifier: GPL-2.0
"""The lab: how a machine with a fabric, hosts and a subnet manager is made.

One question per module:

cli         what did the user ask for?
contain     how does everything end when the lab ends, in whatever way?
cache       what was made before, and who may make it now?
host        what does this machine lack, and what may a build see of it?
debs        how are packages of this and of other suites fetched?
kernels     which kernels are there, and how is each made?
modules     how do the checkout's sources become modules for a kernel?
initrd      how does a machine find its first process?
machines    how is a kernel started with a channel to its guest?
channel     how do lab and guest talk?
reports     what did the kernel complain about?
session     one run, from options to exit status
guest/      what runs inside: init, agent, hosts, subnet manager, driver
"""
