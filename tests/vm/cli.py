# SPDX-License-Identifier: GPL-2.0
"""What did the user ask for?"""

import argparse
import os
import sys

from . import contain, kernels, session, shapes
from .errors import EXIT_USAGE, LabError, UsageError

MOST_HOSTS = 200
MTUS = ("2044", "4092")


class Parser(argparse.ArgumentParser):
    """One line for a mistake, not the whole usage; no shortened options."""

    def __init__(self, **arguments):
        super().__init__(allow_abbrev=False, **arguments)

    def error(self, message):
        raise UsageError(message)


def _number(low, high, kind=int):
    def convert(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError(
                "%r is not a number from %s to %s" % (text, low, high))
        return value
    return convert


def _one_of(names):
    def convert(text):
        if text not in names:
            raise argparse.ArgumentTypeError(
                "%r is none of %s" % (text, ", ".join(names)))
        return text
    return convert


def _shape(text):
    wrong = shapes.mistake(text)
    if wrong:
        raise argparse.ArgumentTypeError(wrong)
    return text


def parser():
    """The command line's grammar."""
    top = Parser(prog="tests/lab", description="Boot a machine with an "
                 "InfiniBand fabric, hosts and a subnet manager.")
    actions = top.add_subparsers(dest="action", metavar="run|shell|kernels",
                                 parser_class=Parser, required=True)
    run = actions.add_parser("run", help="run a command there")
    shell = actions.add_parser("shell", help="an interactive shell there")
    actions.add_parser("kernels", help="which kernels are here, and how to "
                       "get the others")
    for action in (run, shell):
        add_options(action)
    run.add_argument("command", nargs="*", metavar="COMMAND")
    return top


def add_options(action):
    """The options that `run` and `shell` share."""
    action.add_argument("--kernel", default=kernels.DEFAULT,
                        type=_one_of(kernels.KERNELS),
                        help="|".join(kernels.KERNELS) +
                        " (default %(default)s)")
    action.add_argument("--driver", default="ours",
                        type=_one_of(("ours", "stock", "none")),
                        help="ours|stock|none (default ours)")
    action.add_argument("--hosts", default=2, type=_number(1, MOST_HOSTS),
                        metavar="N", help="1 to %d (default 2)" % MOST_HOSTS)
    action.add_argument("--hca", action="append", default=[], type=_shape,
                        metavar="[N:]KEY=VALUE", help="what each HCA can do, "
                        "or host N's, 0 for the subnet manager's; the last "
                        "one counts: " + ", ".join(
                            "=".join(key) for key in shapes.keys().items()))
    action.add_argument("--mtu", default="2044", type=_one_of(MTUS),
                        help="2044|4092: what the interfaces carry "
                        "(default 2044)")
    action.add_argument("--sm", default="1", type=_one_of(("1", "2")),
                        help="1|2 subnet managers: the second stands by "
                        "(default 1)")
    action.add_argument("--rdma-netns", default="shared",
                        type=_one_of(("shared", "exclusive")),
                        help="shared|exclusive: whether every network "
                        "namespace sees all HCAs, or each host its own "
                        "(default shared)")
    action.add_argument("--timeout", default=600.0, metavar="S",
                        type=_number(0.001, 1e6, float),
                        help="seconds that COMMAND may take (default 600)")


def split_command(words):
    """Options before `--`, COMMAND after it, which is not ours to read."""
    if "--" not in words:
        return words, []
    at = words.index("--")
    return words[:at], words[at + 1:]


def check_hosts(options):
    """Refuse a shape for an HCA that will not be there."""
    last = options.hosts + int(options.sm) - 1
    for text in options.hca:
        if (shapes.hca(text) or 0) > last:
            raise UsageError("--hca %s: HCAs are 0 to %d" % (text, last))


def complete(options, command):
    """Fill in what `run` and `shell` do not say."""
    interactive = options.action == "shell"
    options.terminal = interactive and os.isatty(0)
    options.stdin = interactive
    if interactive:
        if command:
            raise UsageError("shell takes no command")
        options.command = ["/bin/bash"]
        options.timeout = float("inf") if options.timeout == 600.0 \
            else options.timeout
    elif options.command:
        raise UsageError("put `--` before the command")
    elif not command:
        raise UsageError("run needs a command: -- COMMAND [ARG...]")
    else:
        options.command = command


def parse(words):
    """The options of a command line."""
    words, command = split_command(words)
    options = parser().parse_args(words)
    if options.action != "kernels":
        check_hosts(options)
        complete(options, command)
    return options


def main(words):
    """Do what the command line says; its exit status."""
    try:
        options = parse(words)
    except (UsageError, LabError) as err:
        print("lab: " + str(err), file=sys.stderr)
        return EXIT_USAGE
    if options.action == "kernels":
        return contain.contained(show_kernels)
    return contain.contained(lambda: session.Session(options).run())


def show_kernels():
    """tests/lab kernels."""
    print("\n".join(kernels.listing()))
    return 0
