# SPDX-License-Identifier: GPL-2.0
"""How do lab and guest talk?

Over one byte stream of their own (a serial line of User Mode Linux, a virtio
serial port of QEMU), never the console, in frames: one letter, four bytes of
length, the body. Both ends use this module.

lab to guest    C configuration (JSON), sent once
                I bytes for COMMAND's stdin, empty for its end
                W terminal size (JSON [rows, columns])
                K kill COMMAND and what it started
guest to lab    H the guest is there
                P a step begins (its name)
                F a step failed (JSON [step, reason]); the last frame
                S COMMAND starts
                O E bytes of COMMAND's stdout, stderr
                X COMMAND's exit status (decimal)
                R bytes read from the lab (decimal)
                D all is written out; the machine may be stopped

The lab sends no more than the guest is known to have room for. A serial line of
User Mode Linux whose reader falls behind is throttled, and then never read
again.
"""

import json
import struct

HEAD = struct.Struct(">cI")
# one frame at most; a pipe holds as much
CHUNK = 65536
# of a terminal's buffer of 4096, which throttles a little earlier
WINDOW = 2048


def pack(kind, body=b""):
    """One frame as bytes. A dict or list becomes JSON."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return HEAD.pack(kind.encode(), len(body)) + body


class Unpacker:
    """Bytes in, frames out."""

    def __init__(self):
        self.data = bytearray()

    def feed(self, data):
        """Add @data; yield each (kind, body) that is complete."""
        self.data += data
        while len(self.data) >= HEAD.size:
            kind, length = HEAD.unpack_from(self.data)
            end = HEAD.size + length
            if len(self.data) < end:
                return
            body = bytes(self.data[HEAD.size:end])
            del self.data[:end]
            yield kind.decode("ascii", "replace"), body


class Outbox:
    """Bytes for the guest, which says how many it has read."""

    def __init__(self):
        self.data = bytearray()
        self.unread = 0

    def put(self, frame):
        """Add a frame to what is to be sent."""
        self.data += frame

    def taken(self, count):
        """The guest has read so many bytes more."""
        self.unread -= count

    def due(self):
        """What may be sent now; it is taken as sent."""
        count = max(0, min(len(self.data), WINDOW - self.unread))
        now = bytes(self.data[:count])
        del self.data[:count]
        self.unread += count
        return now
