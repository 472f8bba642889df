#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Install the Debian packages of the list beside this file that are missing,
# saying so. Costs a few milliseconds when all are there. More package names
# may be given as arguments.
set -eu

list=$(dirname "$0")/packages
wanted="$(sed -e 's/#.*//' "$list") $*"
# shellcheck disable=SC2086 # one word a package
there=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted \
	2>/dev/null | sed -n 's/^installed //p') || true
missing=
for package in $wanted; do
	case "
$there
" in
	*"
$package
"*) ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "lab: packages: root must install:$missing" >&2
	exit 1
fi
echo "lab: installing Debian packages:$missing" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT INT TERM
export DEBIAN_FRONTEND=noninteractive
# two labs may come here at once: apt waits for its own lock
wait='-o DPkg::Lock::Timeout=600'
# shellcheck disable=SC2086
if ! { apt-get -qq update && apt-get -qq $wait install -y \
	--no-install-recommends $missing; } >"$log" 2>&1 </dev/null; then
	sed -n 's/^E: /lab: packages: /p' "$log" >&2
	tail -n 1 "$log" | sed 's/^/lab: packages: apt failed: /' >&2
	exit 1
fi
