# SPDX-License-Identifier: GPL-2.0
"""What may an HCA be asked to look like?

The table is the fabric's: it is read from the C source that the module is
built of, so that the command line and the module cannot differ.
"""

import functools
import os
import re

from .errors import LabError

SOURCE = os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "fabric", "fab_shape.c")
ENTRY = re.compile(r'\{ "(\w+)", FAB_FIELD\(\w+\), "([^"]+)", \d+ \}')


@functools.cache
def keys():
    """{key: values it takes}: a range "1..18", or words "off|on"."""
    try:
        with open(SOURCE, encoding="utf-8") as file:
            found = dict(ENTRY.findall(file.read()))
    except OSError as err:
        raise LabError("shapes", str(err)) from None
    if not found:
        raise LabError("shapes", SOURCE + " has no table of keys")
    return found


def bounds(allowed):
    """(low, high) of a range, None for words."""
    found = re.fullmatch(r"(\d+)\.\.(\d+)", allowed)
    return found and (int(found.group(1)), int(found.group(2)))


def _takes(allowed, value):
    limits = bounds(allowed)
    if not limits:
        return value in allowed.split("|")
    return re.fullmatch(r"[0-9]{1,9}", value) is not None and \
        limits[0] <= int(value) <= limits[1]


def mistake(text):
    """What is wrong with a KEY=VALUE or N:KEY=VALUE, None when nothing is."""
    found = re.fullmatch(r"([0-9]{1,9}:)?([^:=]*)=(.*)", text)
    if not found:
        return "%r is not KEY=VALUE or N:KEY=VALUE" % text
    _, key, value = found.groups()
    allowed = keys().get(key)
    if not allowed:
        return "%r: the keys are %s" % (text, ", ".join(keys()))
    if not _takes(allowed, value):
        return "%r: %s takes %s" % (text, key, allowed)
    return None


def hca(text):
    """The HCA that a word is about, None when it is about each."""
    number, colon, _ = text.partition(":")
    return int(number) if colon else None
