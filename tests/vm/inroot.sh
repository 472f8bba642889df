#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
#	inroot.sh ROOT FOLDER COMMAND [ARG...]
#
# Run COMMAND with ROOT as its file system and FOLDER at its usual path there.
# To be called in a mount namespace of its own, which takes the mounts along
# when it ends in whatever way.
set -eu
root=$1
folder=$2
shift 2
mkdir -p "$root$folder"
mount --rbind "$folder" "$root$folder"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
exec chroot "$root" "$@"
