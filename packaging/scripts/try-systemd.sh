#!/bin/bash
# Runs as root under a real systemd, with the packages in /root/packages: the units as shipped, with all their hardening.
set -eu

say() { echo "   $*"; }
fail() {
	echo "FAIL: $*" >&2
	systemctl --no-pager --lines=30 status sentinel-stack.service sentinel-stack.socket >&2 || true
	exit 1
}

# eventually COMMAND... tries for ten seconds.
eventually() {
	for _ in $(seq 100); do
		"$@" >/dev/null 2>&1 && return 0
		sleep 0.1
	done
	fail "$* does not become true"
}
get() { curl -sf --max-time 10 "http://127.0.0.1:8080$1"; }
main() { systemctl show -p MainPID --value sentinel-stack.service; }
restarted() { [ "$(main)" != "$1" ] && [ "$(main)" != 0 ] && [ "$(systemctl is-active sentinel-stack.service)" = active ]; }

# load asks without pause, a new connection each time, until /run/load is gone, and notes every answer.
load() {
	touch /run/load
	: >/root/answers
	while [ -e /run/load ]; do
		curl -s -o /dev/null -w '%{http_code}\n' --max-time 10 http://127.0.0.1:8080/ || true
	done >/root/answers
}
answered() { [ "$(wc -l </root/answers)" -ge "$1" ]; }

# started begins the load and returns when it runs.
started() {
	load &
	loader=$!
	sleep 0.2
	eventually answered 20
}

# ended WHAT LOST lets the load go on for a while, stops it and demands at most LOST bad answers.
ended() {
	eventually answered $(($(wc -l </root/answers) + 20))
	rm -f /run/load
	wait "$loader"
	all=$(wc -l </root/answers)
	bad=$(grep -vc '^200$' /root/answers || true)
	[ "$bad" -le "$2" ] || fail "$1: $bad of $all requests failed: $(sort /root/answers | uniq -c | tr '\n' ' ')"
	say "$1: $bad of $all requests failed"
}

dpkg -i /root/packages/sentinel-stack_*.deb /root/packages/sentinel-agents_*.deb >/dev/null
eventually systemctl is-active --quiet sentinel-stack.service
systemctl is-active --quiet sentinel-stack.socket || fail "the socket unit is not active"
for unit in sentinel-stack.socket sentinel-stack.service; do
	systemctl is-enabled --quiet $unit || fail "$unit is not enabled"
done
eventually get /health
say "installed, enabled, active, serving: $(systemctl show -p StatusText --value sentinel-stack.service)"

sentinel-stack status >/dev/null || fail "root may not read the status"
setpriv --reuid nobody --regid sentinel --clear-groups sentinel-stack status >/dev/null || fail "the group may not read the status"
setpriv --reuid nobody --regid nogroup --clear-groups sentinel-stack status >/dev/null 2>&1 && fail "anybody may read the status"
setpriv --reuid nobody --regid sentinel --clear-groups sentinel-stack stop proxy >/dev/null 2>&1 && fail "the group may stop services"
sentinel-stack top --once >/dev/null || fail "top --once: not healthy"

before=$(main)
systemctl reload sentinel-stack.service || fail "reload"
sentinel-stack restart proxy >/dev/null || fail "root may not restart the proxy"
[ "$(main)" = "$before" ] || fail "a reload replaced the supervisor"

started
systemctl restart sentinel-stack.service
eventually restarted "$before"
eventually get /health
ended "restart under load" 0

before=$(main)
started
kill -KILL "$before"
eventually restarted "$before"
eventually get /health
ended "kill -9 of the supervisor under load" 2

# The administrator adds an agent; the stack sees the edit by itself.
sed -e 's|matches { path-prefix "/" }|&; filters "denylist"|' -e '$a // edited by the administrator' \
	-e '$a agents { agent "denylist" type="denylist" { config { block-paths "/admin" } } }' /etc/sentinel/sentinel.kdl >/etc/sentinel/new.kdl
chmod 0644 /etc/sentinel/new.kdl
mv /etc/sentinel/new.kdl /etc/sentinel/sentinel.kdl
blocked() { [ "$(curl -s -o /dev/null -w '%{http_code}' --max-time 5 http://127.0.0.1:8080/admin)" = 403 ]; }
eventually blocked
get / >/dev/null || fail "the status page is gone"
say "an edit that adds an agent is live, the agent refuses"

before=$(main)
started
dpkg -i /root/packages/upgrade.deb >/dev/null
eventually restarted "$before"
eventually get /health
ended "package upgrade under load" 0
eventually blocked
grep -q 'edited by the administrator' /etc/sentinel/sentinel.kdl || fail "the upgrade overwrote the configuration"

systemctl disable --quiet sentinel-stack.service sentinel-stack.socket
systemctl stop sentinel-stack.socket sentinel-stack.service
get /health >/dev/null 2>&1 && fail "still answering after stop"
[ -z "$(find /sys/fs/cgroup/system.slice/sentinel-stack.service -name cgroup.procs -exec cat {} + 2>/dev/null)" ] || fail "processes are left after stop"

systemctl start sentinel.service
eventually get /health
say "the proxy alone serves: $(systemctl show -p StatusText --value sentinel.service)"
systemctl reload sentinel.service || fail "reload of the proxy alone"
eventually get /health
dpkg --purge sentinel-stack sentinel-agents >/dev/null 2>&1
systemctl is-active --quiet sentinel.service && fail "the proxy runs after purge"
for path in /etc/sentinel /run/sentinel /var/lib/sentinel /var/log/sentinel /etc/systemd/system/multi-user.target.wants/sentinel-stack.service \
	/etc/systemd/system/sentinel-stack.service; do
	[ ! -e $path ] && [ ! -L $path ] || fail "$path is left after purge"
done
say "purged"
