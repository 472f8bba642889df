# SPDX-License-Identifier: GPL-2.0
"""Make a port a member of a group, by the subnet administrator.

	sa_join.py DEVICE SM-LID MGID PORT-GID

Under the simulator's library DEVICE is one that is not there: the library
stands in for open(), which Python itself calls by another name.
"""

import ctypes
import os
import pathlib
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.dont_write_bytecode = True

from vm.guest import umad  # noqa: E402 pylint: disable=wrong-import-position


def main():
    """Ask, and wait for the answer.

    The simulator drops what a client sent that leaves at once.
    """
    device, lid, mgid, port_gid = sys.argv[1:]
    file = ctypes.CDLL(None).open(device.encode(), os.O_RDWR)
    if file < 0:
        sys.exit(f"sa_join: {device} cannot be opened")
    # the simulator's header has no P_Key's index
    more = b"" if "LD_PRELOAD" in os.environ else umad.PKEY_INDEX
    administrator = umad.Administrator(file, int(lid), more=more)
    umad.join_group(administrator, socket.inet_pton(socket.AF_INET6, mgid),
                    socket.inet_pton(socket.AF_INET6, port_gid))


if __name__ == "__main__":
    main()
