#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The first process of a guest (see vm.py). The root is the host's, read-only. This script puts a
# tmpfs over it, and mounts the one directory that the host lends for writing. Then it runs the
# script `command` of that directory, and tells the host its exit status. The files of a layer, if
# there is one, take the place of the root's. A root that is not the host's has the project's tree
# in /srv. This script mounts it where the host has it, and lets programs write to it as well.
#
# An emulated CPU takes a tenth of a second to start a program, so this starts few.

lent=$1
layer=$2
tree=$3
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

if [ -z "$inside" ]; then
	mount -t tmpfs tmpfs /mnt
	mkdir /mnt/upper /mnt/work /mnt/root
	[ "$layer" = - ] || tar -xf "$layer" -C /mnt/upper
	mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
	if [ -n "$tree" ]; then
		mkdir -p /mnt/upper-tree /mnt/work-tree "/mnt/root$tree"
		mount -t overlay overlay -o lowerdir=/srv,upperdir=/mnt/upper-tree,workdir=/mnt/work-tree "/mnt/root$tree"
		set -- "$tree${0#/srv}"
	else
		set -- "$0"
	fi
	echo "sysfs /sys sysfs
devtmpfs /dev devtmpfs
configfs /sys/kernel/config configfs
debugfs /sys/kernel/debug debugfs
tracefs /sys/kernel/tracing tracefs
tmpfs /run tmpfs
tmpfs /dev/shm tmpfs X-mount.mkdir
lent $lent 9p trans=virtio,version=9p2000.L,msize=262144,X-mount.mkdir" > /mnt/root/etc/fstab
	export inside=1
	exec chroot /mnt/root /bin/sh "$1" "$lent" -
fi

mount -t proc proc /proc
mount -a

# There is no udev to name the ports by which the guest talks to the host.
for port in /sys/class/virtio-ports/*; do
	read -r name < "$port/name"
	ln -s "/dev/${port##*/}" "/run/$name"
done

echo started > /run/host
/bin/sh "$lent/command" < /dev/null > /run/output 2>&1
echo "exit $?" > /run/host
exec sleep 1000
