# SPDX-License-Identifier: GPL-2.0
"""The lab's own ways to end, each with its exit status."""

EXIT_USAGE = 2
EXIT_REPORT = 70
EXIT_TIMEOUT = 124
EXIT_SETUP = 125


class LabError(Exception):
    """The lab could not be set up: @step says where, the text says why."""

    def __init__(self, step, text):
        super().__init__(text)
        self.step = step

    def line(self):
        """The one line a user sees."""
        return "lab: %s: %s" % (self.step, " ".join(str(self).split()))


class UsageError(Exception):
    """The command line asks for what is not there."""


class Interrupted(Exception):
    """A signal asked the lab to end."""

    def __init__(self, signum):
        super().__init__("signal %d" % signum)
        self.signum = signum
