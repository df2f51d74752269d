#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The first process of a guest (see vm.py). The root is the host's, read-only; this puts a tmpfs
# over it, mounts the one directory that the host lends for writing, runs the script `command`
# of that directory and tells the host its exit status.

lent=$1
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

if [ "$2" != inside ]; then
	mount -t tmpfs tmpfs /mnt
	mkdir /mnt/upper /mnt/work /mnt/root
	mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
	exec chroot /mnt/root /bin/sh "$0" "$lent" inside
fi

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t configfs configfs /sys/kernel/config
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mount -t tmpfs tmpfs /run
mkdir -p /dev/shm "$lent"
mount -t tmpfs tmpfs /dev/shm
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 lent "$lent"

# Udev is not there to name the ports by which the guest talks to the host.
for port in /sys/class/virtio-ports/*; do
	ln -s "/dev/${port##*/}" "/run/$(cat "$port/name")"
done

echo started > /run/host
/bin/sh "$lent/command" < /dev/null > /run/output 2>&1
echo "exit $?" > /run/host
exec sleep 1000
