# SPDX-License-Identifier: GPL-2.0
"""Which options make a lab unlike the default one?

A lab's variant is written as words, `sm=2` or `hca=csum=on`: COMMAND finds
them in LAB_VARIANT, and tests name them in their markers.
"""

DEFAULTS = {"mtu": "2044", "sm": "1", "rdma_netns": "shared", "hca": []}


def _values(value):
    return value if isinstance(value, (list, tuple)) else [value]


def chosen(options):
    """{option: value} of a parsed command line, but for the defaults."""
    return {name: getattr(options, name) for name, default in DEFAULTS.items()
            if getattr(options, name) != default}


def words(variant):
    """The words of {option: value}; a list is several of one option."""
    return [f"{name}={value}" for name, several in variant.items()
            for value in _values(several)]


def arguments(variant):
    """The options for the command line of tests/lab."""
    return [part for name, several in variant.items()
            for value in _values(several)
            for part in ("--" + name.replace("_", "-"), str(value))]
