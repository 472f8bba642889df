# SPDX-License-Identifier: GPL-2.0
"""Which compilers read the sources for a kernel?

With all their warnings on. What comes out of another compiler than the
kernel's own is not loaded.
"""


class Compiler:
    """A compiler, and what it needs of a kernel configured for another."""

    def __init__(self, name, release, config, flags):
        self.name = name
        # the Debian release it is taken from
        self.release = release
        # settings of the kernel's configuration that make is to see
        self.config = config
        # what its warnings about the kernel's own headers are turned off by
        self.flags = flags

    def arguments(self):
        """What make is told to have all warnings, and as errors."""
        return ["W=1", "KCFLAGS=" + " ".join(["-Werror", *self.flags])]


# the one the kernel was built with
OWN = Compiler("", None, [], [])
CLANG = Compiler("clang-19", "trixie", [
    "CONFIG_CC_IS_GCC=", "CONFIG_GCC_VERSION=0",
    "CONFIG_CC_IS_CLANG=y", "CONFIG_CLANG_VERSION=190107",
    # flags that only gcc has, chosen by the configuration
    "CONFIG_CC_IMPLICIT_FALLTHROUGH=-Wimplicit-fallthrough",
    "CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=",
    "CONFIG_FTRACE_MCOUNT_USE_CC=",
    "CONFIG_UBSAN_BOUNDS_STRICT=", "CONFIG_UBSAN_ARRAY_BOUNDS=y",
    # off by default with clang, whose frames it makes too large
    "CONFIG_KASAN_STACK=",
], [
    # x86 of 6.12 and later: per-CPU variables, when configured for gcc
    "-Wno-duplicate-decl-specifier",
    # User Mode Linux: its ports begin at address 0
    "-Wno-null-pointer-arithmetic",
])



class Sparse(Compiler):
    """sparse beside the kernel's own compiler; what it finds is no error."""

    def arguments(self):
        return ["C=2"]


SPARSE = Sparse("sparse", None, [], [])
COMPILERS = {CLANG.name: CLANG}
