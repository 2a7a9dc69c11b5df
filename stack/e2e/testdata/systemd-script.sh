# Runs as root under a real systemd: the units as shipped, with all their hardening, and the programs under test in /share/bin.
set -eu
say() { echo "   $*"; }
fail() {
	echo "FAIL: $*"
	systemctl --no-pager --lines=0 status sentinel-stack.service sentinel-stack.socket 2>&1 || true
	journalctl --no-pager -u sentinel-stack.service 2>&1 | grep -v request_id | tail -n 40 || true
	exit 1
}
eventually() {
	for _ in $(seq 200); do
		"$@" >/dev/null 2>&1 && return 0
		sleep 0.1
	done
	fail "$* does not become true"
}
get() { curl -sf --max-time 10 "http://127.0.0.1:$1$2"; }
main() { systemctl show -p MainPID --value sentinel-stack.service; }
show() { systemctl show -p "$1" --value sentinel-stack.service; }
stack() { sentinel-stack --runtime-dir /run/sentinel "$@"; }
restarted() { [ "$(main)" != "$1" ] && [ "$(main)" != 0 ] && [ "$(show ActiveState)" = active ] && stack status; }
proxy() { stack status --json | tr -d ' ,' | awk -F: '/"name":"proxy"/ {p=1} p && /"pid"/ {print $2; exit}'; }

load() { # PORT
	: >/root/answers
	while [ -e /run/load ]; do
		curl -s -o /dev/null -w '%{http_code}\n' --max-time 20 "http://127.0.0.1:$1/" || true
	done >/root/answers
}
answered() { [ "$(wc -l </root/answers)" -ge "$1" ]; }
started() {
	touch /run/load
	load "$1" &
	loader=$!
	sleep 0.1
	eventually answered 20
}
ended() { # WHAT LOST
	eventually answered $(($(wc -l </root/answers) + 20))
	rm -f /run/load
	wait "$loader"
	all=$(wc -l </root/answers)
	bad=$(grep -vc '^200$' /root/answers || true)
	[ "$bad" -le "$2" ] || fail "$1: $bad of $all requests failed: $(sort /root/answers | uniq -c | tr '\n' ' ')"
	say "$1: $bad of $all requests failed"
}

systemd-sysusers /share/units/sentinel.sysusers >/dev/null 2>&1 || true
id sentinel >/dev/null || fail "no user"
install -m 0755 /share/bin/* /usr/bin/
mkdir -p /etc/sentinel /etc/systemd/system/sentinel-stack.service.d
cp /share/units/*.service /share/units/*.socket /etc/systemd/system/
# Short deadlines, so that a test does not take a minute.
cat >/etc/systemd/system/sentinel-stack.service.d/test.conf <<UNIT
[Unit]
StartLimitIntervalSec=0
[Service]
WatchdogSec=2s
TimeoutAbortSec=2s
TimeoutStopSec=2s
UNIT
config() { # MODE BODY DRAIN
	cat >/etc/sentinel/new.kdl <<KDL
listeners {
    listener "http" { address "127.0.0.1:8080" }
    listener "own" { address "127.0.0.1:8081" }
}
routes { route "status" { matches { path-prefix "/" }; builtin-handler "status"; filters "denylist" } }
agents { agent "denylist" type="denylist" { max-concurrent-calls 1000; timeout-ms 20000; config { block-paths "/admin"; body "$2\n" } } }
stack {
    on-supervisor-death "$1"
    shutdown-timeout-secs 20
    watch #false
    service "slow" { command "/bin/sh" "-c" "trap 'sleep $3; exit 0' TERM; while :; do sleep 0.05; done"; stop { timeout-secs 15 } }
}
KDL
	chmod 0644 /etc/sentinel/new.kdl
	mv /etc/sentinel/new.kdl /etc/sentinel/sentinel.kdl
}
config kill one 0
systemctl daemon-reload

# Start by socket: nothing runs until somebody connects.
systemctl start sentinel-stack.socket
[ "$(main)" = 0 ] || fail "it runs before anybody asked"
get 8080 / >/dev/null || fail "no answer to the request that started it"
[ "$(main)" != 0 ] || fail "it does not run"
say "started by the first connection"
eventually test "$(show ActiveState)" = active
case "$(show StatusText)" in *"all ready"*) ;; *) fail "status: $(show StatusText)" ;; esac
say "status: $(show StatusText)"

# The order: the agent is ready before the proxy, and systemctl start returns when both are.
systemctl stop sentinel-stack.service
systemctl start sentinel-stack.service || fail "start"
stack status | grep -Eq '^denylist .* ready ' || fail "the agent is not ready when systemctl start returns"
stack status | grep -Eq '^proxy .* ready ' || fail "the proxy is not ready when systemctl start returns"
order=$(stack events | grep 'state' | grep -- '-> ready' | awk '{print $3}' | tr '\n' ' ')
case "$order" in *denylist*proxy*) ;; *) fail "order: $order" ;; esac
get 8081 / >/dev/null || fail "no answer on the listener that is no socket unit's"
say "ready in order: $order"

# Journal: levels are taken from the lines.
journalctl --no-pager -u sentinel-stack.service -p 6 -o cat | grep -q '^stack: proxy is ready' || fail "the journal has no line of the stack"
journalctl --no-pager -u sentinel-stack.service -o cat | grep -q '^<' && fail "a level stands in the text of the journal"
say "the journal knows levels"

# Reload.
before=$(main)
started 8080
config kill two 0
systemctl reload sentinel-stack.service || fail "reload"
[ "$(curl -s http://127.0.0.1:8080/admin)" = two ] || fail "the new configuration is not live when systemctl reload returns"
printf 'listeners { broken' >/etc/sentinel/sentinel.kdl
systemctl reload sentinel-stack.service 2>/dev/null && fail "a reload of a broken configuration succeeds"
[ "$(curl -s http://127.0.0.1:8080/admin)" = two ] || fail "a broken configuration changed something"
config kill two 0
[ "$(main)" = "$before" ] || fail "a reload replaced the supervisor"
[ "$(show ActiveState)" = active ] || fail "after a refused reload: $(show ActiveState)"
ended "reload under load" 0

# Upgrade.
started 8081
was=$(proxy)
for _ in 1 2 3; do stack upgrade >/dev/null || fail "upgrade"; done
[ "$(main)" = "$before" ] || fail "an upgrade changed the main process"
[ "$(proxy)" = "$was" ] || fail "an upgrade changed the proxy"
ended "three upgrades under load" 0

# The store: the sockets that are no socket unit's survive a crash.
stored=$(show NFileDescriptorStore)
[ "$stored" = 3 ] || fail "$stored descriptors are stored, want those of one listener, one agent and the admin socket"
started 8081
kill -KILL "$before"
eventually restarted "$before"
ended "kill -9 of the supervisor under load, on a socket from the store" 3
grep -q '^000$' /root/answers && [ "$(grep -c '^000$' /root/answers)" -gt 3 ] && fail "connections were refused"
[ "$(show NFileDescriptorStore)" = 3 ] || fail "$(show NFileDescriptorStore) descriptors are stored after a restart"
before=$(main)
say "stored: $stored descriptors, the same after a crash"

# Watchdog: a supervisor that hangs is killed and replaced.
kill -STOP "$before"
eventually restarted "$before"
journalctl --no-pager -u sentinel-stack.service | grep -q 'SIGABRT: abort' || fail "it was not the watchdog: no stacks in the journal"
get 8080 / >/dev/null || fail "no answer after the watchdog"
say "the watchdog killed a supervisor that hung"
sleep 5
[ "$(main)" != "$before" ] && get 8080 / >/dev/null || fail "no answer"
before=$(main)
sleep 3
[ "$(main)" = "$before" ] || fail "the watchdog kills a supervisor that lives"

# Keep: the services survive, and are adopted.
config keep two 0
cp /share/units/keep.conf /etc/systemd/system/sentinel-stack.service.d/
systemctl daemon-reload
systemctl restart sentinel-stack.service || fail "restart to keep"
before=$(main)
was=$(proxy)
[ -n "$was" ] || fail "no proxy"
started 8081
kill -KILL "$before"
eventually restarted "$before"
[ "$(proxy)" = "$was" ] || fail "the proxy was $was, is $(proxy)"
stack status | grep -q adopted || fail "nothing is adopted: $(stack status)"
ended "kill -9 of the supervisor, services kept" 0
systemctl restart sentinel-stack.service || fail "restart"
[ "$(proxy)" != "$was" ] || fail "a restart kept the proxy"

# A drain longer than TimeoutStopSec asks for the time.
config kill two 5
rm /etc/systemd/system/sentinel-stack.service.d/keep.conf
systemctl daemon-reload
systemctl reload sentinel-stack.service || fail "reload to kill"
began=$(date +%s)
systemctl stop sentinel-stack.socket sentinel-stack.service
took=$(($(date +%s) - began))
[ "$took" -ge 4 ] && [ "$took" -le 15 ] || fail "the stop took $took s"
[ "$(show Result)" = success ] || fail "the stop ended with $(show Result)"
[ -z "$(find /sys/fs/cgroup/system.slice/sentinel-stack.service -name cgroup.procs -exec cat {} + 2>/dev/null)" ] || fail "processes are left after stop"
say "a drain of 5 s with TimeoutStopSec=2s: stopped in $took s, result $(show Result)"
