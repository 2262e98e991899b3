#!/bin/busybox sh
# The guest's first process, stage one: drivers, and the host's root below an overlay in memory.
# `settings` tells what stage two (agent.sh) is to set up. Applets need no PATH while there is /proc.

fail() {
	echo "nettax-lab: $*" >/dev/console
	/bin/busybox poweroff -f
}

/bin/busybox mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev || fail "this kernel lacks devtmpfs"
while read -r module; do
	insmod "/modules/$module" || fail "$module would not load"
done </modules/order

mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro root /lower ||
	fail "this kernel cannot mount the host's root: it takes 9p over virtio"
mount -t tmpfs -o mode=755 tmpfs /upper
mkdir /upper/data /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /new ||
	fail "this kernel cannot lay a file system over another: it takes overlay"

for each in proc sys dev run; do
	[ -d "/new/$each" ] || fail "the host's root has no directory /$each"
done
mount -t tmpfs -o mode=755 tmpfs /new/run
mkdir /new/run/nettax
cp /bin/busybox /agent.sh /settings /new/run/nettax/
# As switch_root(8) does, so that the guest is in no chroot: those may not make user namespaces.
mount --move /sys /new/sys
mount --move /dev /new/dev
mount --move /proc /new/proc
cd /new || fail "the overlay is no directory"
/bin/busybox mount --move . /
exec /bin/busybox chroot . /run/nettax/busybox sh /run/nettax/agent.sh
