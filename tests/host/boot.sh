#!/usr/bin/env bash
# Boots systemd on ROOT, in namespaces of its own; ends when it does.
# usage: unshare --cgroup --mount --pid --ipc --uts --fork boot.sh ROOT     from a cgroup of its own
set -euo pipefail
root=$1
mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount --rbind /sys sys
mount -t tmpfs tmpfs sys/fs/cgroup
if [ -d /sys/fs/cgroup/systemd ]; then
  mkdir sys/fs/cgroup/systemd
  mount -t cgroup -o none,name=systemd,xattr cgroup sys/fs/cgroup/systemd
else
  mount -t cgroup2 cgroup2 sys/fs/cgroup
fi
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount --rbind /dev dev
mkdir -p old
pivot_root . old
umount -l old
# systemd passes credentials to services by mounts that spread.
mount --make-rshared /
exec env container=kubelane-test /lib/systemd/systemd --system --unit=multi-user.target
