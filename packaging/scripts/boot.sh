#!/bin/sh
# boot.sh DIR SCRIPT boots the systemd of the Debian tree in DIR, which runs SCRIPT as its only job and powers off, and ends with the
# script's exit status. The system gets process, mount, network and cgroup namespaces of its own and a cgroup that is removed
# afterwards, so nothing of it is seen outside. Needs root and a writable cgroup v2 hierarchy.
set -eu
root=$1
script=$2
group=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts)
[ -n "$group" ] || { echo "no cgroup v2 hierarchy is mounted" >&2 && exit 77; }
group=$group/sentinel-test-$$

cp "$script" "$root/root/script.sh"
rm -f "$root/root/status" "$root/root/output" "$root/root/console"
cat >"$root/etc/systemd/system/script.service" <<'UNIT'
[Unit]
Description=The test
After=multi-user.target

[Service]
Type=oneshot
Environment=DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
ExecStart=/bin/bash /root/script.sh
ExecStopPost=/bin/bash -c 'echo "$EXIT_STATUS" >/root/status; cp /dev/console /root/console; systemctl poweroff --no-block'
StandardOutput=file:/root/output
StandardError=inherit
TimeoutStartSec=180
UNIT
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -sf ../script.service "$root/etc/systemd/system/multi-user.target.wants/script.service"

# A login prompt would wait for a terminal that is not there, holding whatever sockets it inherited.
ln -sf /dev/null "$root/etc/systemd/system/console-getty.service"
ln -sf /dev/null "$root/etc/systemd/system/getty.target"

mkdir "$group" 2>/dev/null || { echo "cannot make a cgroup" >&2 && exit 77; }
end() {
	echo 1 >"$group/cgroup.kill" 2>/dev/null || true
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
		sleep 0.1
	done
}
trap end EXIT INT TERM

# The console is a plain file: systemd hangs on anything else that is not a terminal.
timeout 240 sh -c 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"' enter "$group" \
	unshare --pid --mount --cgroup --net --uts --ipc --fork --kill-child sh -c '
	set -e
	root=$1
	ip link set lo up
	mount --bind "$root" "$root"
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
	ln -s pts/ptmx "$root/dev/ptmx"
	ln -s /proc/self/fd "$root/dev/fd"
	cd "$root"
	pivot_root . mnt
	cd /
	umount -l /mnt
	exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=console </dev/null >/dev/null 2>&1' boot "$root" || true

cat "$root/root/output"
status=$(cat "$root/root/status" 2>/dev/null || echo "not run")
[ "$status" = 0 ] || { tail -n 30 "$root/root/console" 2>/dev/null && echo "FAIL: systemd test ended with $status" >&2 && exit 1; }
