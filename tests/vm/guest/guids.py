# SPDX-License-Identifier: GPL-2.0
"""Alias GUIDs: a host asks the subnet administrator for more names."""

import glob

from . import kernel, umad
from .kernel import StepError

STEP = "guid"
GIDS = "/sys/class/infiniband/fab%d/ports/1/gids/"
EMPTY = "0000:0000:0000:0000:0000:0000:0000:0000"


def parse(words):
    """GUIDs as numbers; 0 asks the subnet manager to choose one."""
    values = [int(word, 0) for word in words]
    if not values or not all(0 <= value < 1 << 64 for value in values):
        raise ValueError(words)
    return values


class Table:
    """The GUIDs of a host's port, as the subnet administrator has them."""

    def __init__(self, host):
        self.hca = "fab%d" % host
        self.size = len(glob.glob(GIDS % host + "*"))
        if not self.size:
            raise StepError(STEP, "there is no host %d" % host)
        self.lid = int(umad.port_file(self.hca, 1, "lid"), 0)

    def blocks(self):
        """Numbers of the blocks that make the table."""
        return range((self.size + umad.BLOCK - 1) // umad.BLOCK)

    def read(self, sa):
        """{index: GUID} of the whole table."""
        found = {}
        for block in self.blocks():
            values = umad.guid_block(sa, self.lid, umad.METHOD_GET,
                                     block=block)
            for place, value in enumerate(values):
                if block * umad.BLOCK + place < self.size:
                    found[block * umad.BLOCK + place] = value
        return found

    def change(self, sa, method, wanted):
        """Set or delete {index: GUID}, block by block."""
        for block in self.blocks():
            first = block * umad.BLOCK
            part = {index - first: value for index, value in wanted.items()
                    if first <= index < first + umad.BLOCK}
            if part:
                umad.guid_block(sa, self.lid, method, part, block)

    def add(self, sa, guids):
        """Put GUIDs into free entries; the entries they got."""
        now = self.read(sa)
        free = [index for index in sorted(now) if index and not now[index]]
        if len(free) < len(guids):
            raise StepError(STEP, "%s has room for %d more GUIDs, not %d"
                            % (self.hca, len(free), len(guids)))
        wanted = dict(zip(free, guids))
        self.change(sa, umad.METHOD_SET, wanted)
        return list(wanted)

    def remove(self, sa, guids):
        """Empty the entries that hold these GUIDs."""
        now = self.read(sa)
        entries = {value: index for index, value in now.items() if index}
        missing = [guid for guid in guids if guid not in entries]
        if missing:
            raise StepError(STEP, "%s has no alias 0x%016x"
                            % (self.hca, missing[0]))
        gone = [entries[guid] for guid in guids]
        self.change(sa, umad.METHOD_DELETE, dict.fromkeys(gone, 0))
        return gone


def gid_present(host, index):
    """Whether the kernel has a GID at this place of a host's table."""
    return not kernel.read(GIDS % host + str(index)).strip() \
        .endswith(EMPTY[20:])


def wait_kernel(host, indexes, present, seconds):
    """Wait until the kernel of a host knows what the manager wrote."""
    def late():
        return [index for index in indexes
                if gid_present(host, index) != present]

    kernel.wait_for(lambda: not late(), seconds, STEP,
                    lambda: "the kernel does not see entry %d" % late()[0])


def work(action, host, words, seconds):
    """lab-guid: list, add or del; prints the table."""
    table = Table(host)
    try:
        with umad.administrator(table.hca) as sa:
            if action == "add":
                changed = table.add(sa, parse(words))
                wait_kernel(host, changed, True, seconds)
            elif action == "del":
                changed = table.remove(sa, parse(words))
                wait_kernel(host, changed, False, seconds)
            elif action != "list" or words:
                raise ValueError(action)
            for index, guid in table.read(sa).items():
                if guid:
                    print("%d 0x%016x" % (index, guid))
    except umad.MadError as err:
        raise StepError(STEP, str(err)) from None
