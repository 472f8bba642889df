# SPDX-License-Identifier: GPL-2.0
"""An HCA that does not let go of a queue pair: what it may use stays.

ib_core destroys no queue pair that is attached to a group. What is kept is
kept for good, so each of these has a machine of its own.
"""

import pytest

from hostkit import run_lab

pytestmark = pytest.mark.host

START = r"""
fail() { echo "not so: $*"; exit 1; }
until_so() {
	for _ in $(seq 600); do
		"$@" > /dev/null 2>&1 && return
		sleep 0.05
	done
	fail "$@"
}
says() { on host2 cat /sys/class/net/$1/link_reason | grep -q "^$2"; }
said=$(mktemp)
refused() { ! "$@" 2> $said && grep -q "$REFUSAL" $said; }
cd /sys/kernel/debug/ib_fabric/fab2/faults
"""

# A child that goes down and up goes on with it; then it is gone, and its queue
# pair is not.
CHILD = START + r"""
on host2 ip link add link ib0 name kid type ipoib
on host2 ip link set kid up
until_so says kid up
echo "detach_mcast every=1 errno=EIO" > verbs
on host2 ip link set kid down
echo off > verbs
on host2 ip link set kid up
until_so says kid up
echo "detach_mcast every=1 errno=EIO" > verbs
on host2 ip link del kid || fail "the child goes"
echo off > verbs
on host2 ip link show kid 2> /dev/null && fail "the child is gone"
dmesg | grep -q "kid.*: the HCA does not let go of queue pair" || fail "it says so"
on host2 ip link add link ib0 name kid type ipoib
on host2 ip link set kid up
until_so says kid up
on host2 ip link del kid
REFUSAL="in use" refused rmmod ib_ipoib || fail "the module stays"
on host1 ping -q -c 3 -i 0.1 10.44.0.2 || fail "the parent works"
"""

# A queue pair that was to be made anew is not there, and neither is the link.
PARENT = START + r"""
echo "detach_mcast every=1 errno=EIO" > verbs
echo "overflow nth=1 dir=recv" > completions
on host1 ping -c 1 -W 1 10.44.0.2
until_so says ib0 hca-wedged
echo off > completions; echo off > verbs
on host2 ip link set ib0 down
says ib0 hca-wedged || fail "it says why it will not come up"
REFUSAL="Input/output error" refused on host2 ip link set ib0 up ||
	fail "it does not come up"
on host2 ip link add link ib0 name kid type ipoib
on host2 ip link set kid up
until_so says kid up
on host2 ip link del kid
on host1 ping -q -c 3 -i 0.1 10.44.0.3 || fail "the others work"
REFUSAL="in use" refused rmmod ib_ipoib || fail "the module stays"
"""


# It is found out when the module is already on its way.
UNLOADING = START + r"""
echo "detach_mcast every=1 errno=EIO" > verbs
rmmod ib_ipoib &
until_so sh -c "dmesg | grep 'the module stays'"
echo off > verbs
grep -q "^ib_ipoib .* Unloading" /proc/modules || fail "the module stays"
kill -0 $! || fail "rmmod does not return"
on host2 ip link show ib0 2> /dev/null && fail "the interface is gone"
ibstat fab2 > /dev/null || fail "the HCA works"
"""


@pytest.mark.parametrize("script", [CHILD, PARENT, UNLOADING],
                         ids=["child", "parent", "unloading"])
@pytest.mark.parametrize("kernel", [
    "uml", pytest.param("kasan", marks=pytest.mark.long)])
def test_what_an_hca_holds_on_to_is_not_freed(kernel, script):
    done = run_lab("run", "--kernel", kernel, "--driver", "ours", "--hosts",
                   "3", "--", "sh", "-c", script)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
