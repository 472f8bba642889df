#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Start a Python program of the guest: the agent, or one of the lab's tools.

Python keeps the compiled form of what is imported, but not of what it is
started with: so this is short, and the programs are modules.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))

if __name__ == "__main__":
    if sys.argv[1] == "agent":
        from vm.guest import agent
        agent.main(sys.argv[2])
    else:
        from vm.guest import tool
        sys.exit(tool.main(*sys.argv[1:]))
