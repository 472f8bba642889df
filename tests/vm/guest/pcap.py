# SPDX-License-Identifier: GPL-2.0
"""Show what a cable carries, with tshark.

The fabric's captures say LINKTYPE_INFINIBAND, which is their type, but tshark
up to 4.0 knows it from other kinds of files only. A type of the user's own
tells it to read the packets as InfiniBand's all the same.
"""

import os
import select
import struct
import subprocess

from .kernel import StepError

STEP = "pcap"
FABRIC = "/sys/kernel/debug/ib_fabric/"
FILE_HEAD = struct.Struct("=IHHIIII")
LINKTYPE_INFINIBAND, LINKTYPE_USER0 = 247, 147
READ_AS = 'uat:user_dlts:"User 0 (DLT=147)","infiniband","0","","0",""'
CHUNK = 65536
# how often to see whether tshark has ended
GLANCE_MS = 200


def source(name):
    """A file, or the capture of a port such as fab1/port1."""
    port = FABRIC + name + "/pcap"
    try:
        return open(port if os.path.exists(port) else name, "rb", buffering=0)
    except OSError as err:
        raise StepError(STEP, "%s: %s" % (name, os.strerror(err.errno))) \
            from None


def relabelled(stream):
    """The file's header with the type that tshark is told to read."""
    head = stream.read(FILE_HEAD.size)
    if len(head) < FILE_HEAD.size:
        raise StepError(STEP, "this is no capture")
    *fields, linktype = FILE_HEAD.unpack(head)
    if linktype != LINKTYPE_INFINIBAND:
        raise StepError(STEP, "link type %d is not InfiniBand's" % linktype)
    return FILE_HEAD.pack(*fields, LINKTYPE_USER0)


def feed(stream, head, tshark):
    """Pass the capture on until it ends, or tshark has enough."""
    watch = select.poll()
    watch.register(stream, select.POLLIN)
    while head and tshark.poll() is None:
        tshark.stdin.write(head)
        tshark.stdin.flush()
        while not watch.poll(GLANCE_MS):
            if tshark.poll() is not None:
                return
        head = stream.read(CHUNK)


def show(name, options):
    """lab-pcap: run tshark on a capture."""
    with source(name) as stream:
        head = relabelled(stream)
        with subprocess.Popen(["tshark", "-o", READ_AS, "-l", "-i", "-",
                               *options], stdin=subprocess.PIPE) as tshark:
            try:
                feed(stream, head, tshark)
                tshark.stdin.close()
            except BrokenPipeError:
                pass
        if tshark.returncode:
            raise StepError(STEP, "tshark ended with status %d"
                            % tshark.returncode)
