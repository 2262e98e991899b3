#!/bin/busybox sh
# The guest's first process, stage one: drivers, and the host's root below an overlay in memory.
# Beside it are what stage two (agent.sh) takes. Starting a program takes 30 ms here, so few are.

fail() {
	echo "nettax-lab: $*" >/dev/console
	/bin/busybox poweroff -f
}

/bin/busybox mount -a -T /fstab # /proc, by which busybox finds its other programs, /sys and /dev
read -r drivers </drivers
# shellcheck disable=SC2086  # names are words
[ -z "$drivers" ] || modprobe -a $drivers || fail "a driver would not load"
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro root /lower ||
	fail "this kernel cannot mount the host's root: it takes 9p over virtio"
mount -t overlay -o lowerdir=/lower,upperdir=/upper,workdir=/work overlay /new ||
	fail "this kernel cannot lay a file system over another: it takes overlay"
mount -t tmpfs -o mode=755 tmpfs /new/run || fail "the host's root has no directory /run"
read -r directories </directories
# shellcheck disable=SC2086
mkdir -p /dev/pts /dev/shm $directories
cp -dR /links/. /dev
cp -R /nettax-lab /new/run
# As switch_root(8) does, so that the guest is in no chroot: those may not make user namespaces.
cd /new || fail "the overlay is no directory"
mount --move . /
exec /bin/busybox chroot . /run/nettax-lab/busybox sh /run/nettax-lab/agent.sh
