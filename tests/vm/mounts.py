# SPDX-License-Identifier: GPL-2.0
"""How does a command get mounts of its own, which nobody else sees?

unshare(1) makes the mounts private, beginning with `/`. In a chroot `/` is no
mount, and that fails; whether what is mounted below it shows outside then
depends on a mount that cannot be reached from there. It matters: who clears up
after a killed lab would delete what is mounted, too.
"""

import functools
import os
import subprocess
import tempfile

from .errors import LabError

PROBE = 'mount -t tmpfs probe "$1" && echo there && read -r _'


def _hidden(words):
    """Does a command with these words in front mount unseen?"""
    with tempfile.TemporaryDirectory() as folder:
        with subprocess.Popen([*words, "/bin/sh", "-c", PROBE, "sh", folder],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL) as probe:
            there = probe.stdout.read(1)
            seen = os.path.ismount(folder)
            probe.stdin.close()
        if seen:
            subprocess.run(["umount", folder], check=False)
    return bool(there) and not seen


@functools.cache
def own():
    """The words to put in front of a command."""
    for propagation in ("private", "unchanged"):
        words = ["/usr/bin/unshare", "--mount", "--propagation", propagation]
        if _hidden(words):
            return words
    raise LabError("mounts", "what is mounted here is seen outside; in a "
                   "chroot, have `/` be a mount of its own")
