#!/bin/sh
# systemd.sh WORK SHARE boots the host's own systemd over a copy-on-write view of the host's files. It runs SHARE/script.sh as its only job, sees SHARE as /share, and powers off;
# the script leaves its exit status and output in SHARE. The system gets process, mount, network and cgroup namespaces of its own, and everything it writes is in a
# file system of its own in memory, so nothing of it is left. Ends with 77 and the reason where the host does not allow that.
set -u
work=$1
share=$2
skip() { echo "$*" && exit 77; }
[ "$(id -u)" = 0 ] || skip "booting systemd needs root"
[ -x /lib/systemd/systemd ] || skip "there is no /lib/systemd/systemd"
group=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts)
[ -n "$group" ] || skip "no cgroup v2 hierarchy is mounted"
group=$group/sentinel-systemd-$$
mkdir "$group" 2>/dev/null || skip "cannot make a cgroup"
end() {
	echo 1 >"$group/cgroup.kill" 2>/dev/null
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
		sleep 0.1
	done
}
trap end EXIT INT TERM
unshare --pid --mount --cgroup --net --uts --ipc --fork true 2>/dev/null || skip "namespaces cannot be made"
unshare --mount sh -c 'mount -t tmpfs tmpfs "$1" && mkdir "$1/up" "$1/wk" "$1/root" && mount -t overlay -o lowerdir=/,upperdir="$1/up",workdir="$1/wk" overlay "$1/root"' try "$work" 2>/dev/null ||
	skip "no overlay of the root file system can be mounted"

# The console is a plain file: systemd hangs on anything else that is not a terminal.
timeout 150 sh -c 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"' enter "$group" \
	unshare --pid --mount --cgroup --net --uts --ipc --fork --kill-child sh -c '
	set -e
	work=$1
	ip link set lo up
	mount -t tmpfs tmpfs "$work"
	mkdir "$work/up" "$work/wk" "$work/root"
	mount -t overlay -o lowerdir=/,upperdir="$work/up",workdir="$work/wk" overlay "$work/root"
	root=$work/root
	mount -t proc proc "$root/proc"
	mount -t sysfs sysfs "$root/sys"
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
	mount -t tmpfs -o mode=755 tmpfs "$root/run"
	mount -t tmpfs tmpfs "$root/tmp"
	mount -t tmpfs -o mode=755 tmpfs "$root/dev"
	node() { mknod -m 666 "$root/dev/$1" c "$2" "$3"; }
	node null 1 3; node zero 1 5; node full 1 7; node random 1 8; node urandom 1 9; node tty 5 0
	mkdir "$root/dev/shm" "$root/dev/pts" "$root/dev/mqueue"
	touch "$root/dev/console"
	mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
	ln -s pts/ptmx "$root/dev/ptmx"; ln -s /proc/self/fd "$root/dev/fd"
	mkdir -p "$root/oldroot" "$root/share"
	mount --bind "$2" "$root/share"
	cd "$root"
	pivot_root . oldroot
	cd /
	umount -l /oldroot
	rm -rf /etc/systemd/system/*
	mkdir -p /etc/systemd/system
	printf "[Unit]\nRequires=script.service\nWants=systemd-journald.service\n" >/etc/systemd/system/test.target
	printf "[Unit]\nDefaultDependencies=no\nAfter=systemd-journald.service\n[Service]\nType=oneshot\nExecStart=/bin/bash /share/script.sh\nExecStopPost=/bin/bash -c \"echo \$EXIT_STATUS >/share/status; cp /dev/console /share/console; systemctl poweroff --force --force\"\nStandardOutput=append:/share/output\nStandardError=inherit\nTimeoutStartSec=120\n" >/etc/systemd/system/script.service
	exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=test.target --log-target=console </dev/null >/dev/null 2>&1' boot "$work" "$share"
[ -s "$share/status" ] || { echo 'it did not boot'; exit 1; }
exit "$(cat "$share/status")"
