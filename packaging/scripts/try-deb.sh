#!/bin/sh
# Runs as root inside a clean Debian, with the packages in /tmp/packages. It has no systemd: the programs must work without.
set -eu
cd /
export DEBIAN_FRONTEND=noninteractive

say() { echo "   $*"; }
fail() { echo "FAIL: $*" >&2 && exit 1; }

# files lists what purging must restore; what dpkg keeps for itself is left out.
files() {
	find / -xdev \( -path /proc -o -path /run -o -path /tmp -o -path /dev -o -path /var/lib/dpkg -o -path /var/cache -o -name '*-' \) -prune \
		-o -print | grep -v -e '^/var/log/' -e '^/etc/\.pwd\.lock' | sort
	cut -d: -f1 /etc/passwd /etc/group
}

# get prints the answer of the proxy; bash is in every Debian and speaks TCP.
get() {
	bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080 && printf "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" "$1" >&3 && timeout 5 cat <&3' get "$1"
}

# answers PATH TEXT waits until the proxy answers 200 with the text.
answers() {
	for _ in $(seq 50); do
		out=$(get "$1" 2>/dev/null || true)
		case "$out" in
		"HTTP/1.1 200 "*"$2"*) return 0 ;;
		esac
		sleep 0.1
	done
	fail "GET $1: $out"
}

stack() { setpriv --reuid sentinel --regid sentinel --init-groups env HOME=/nonexistent sentinel-stack "$@"; }

files >/tmp/before

dpkg -i /tmp/packages/sentinel-stack_*.deb /tmp/packages/sentinel-agents_*.deb >/dev/null
say "installed $(sentinel --version), $(sentinel-stack version)"
id sentinel >/dev/null || fail "no user sentinel"
for dir in /run/sentinel /var/lib/sentinel /var/log/sentinel; do
	[ "$(stat -c %U:%a $dir)" = sentinel:750 ] || fail "$dir is $(stat -c %U:%a $dir)"
done
for program in /usr/bin/sentinel*; do
	"$program" --version >/dev/null 2>&1 || "$program" version >/dev/null || fail "$program does not tell its version"
	gzip -t /usr/share/man/man[18]/"$(basename "$program")".[18].gz || fail "$program has no manual page"
done
bash -c 'set -e; _get_comp_words_by_ref() { :; }; . /usr/share/bash-completion/completions/sentinel-stack' || fail "bash completion"
sentinel test --config /etc/sentinel/sentinel.kdl >/dev/null || fail "the shipped configuration"

stack up -d --config /etc/sentinel/sentinel.kdl
answers /health ""
answers / ""
stack status --config /etc/sentinel/sentinel.kdl
stack top --once --config /etc/sentinel/sentinel.kdl || fail "top --once says the stack is not healthy"
say "serves"

echo '// edited by the administrator' >>/etc/sentinel/sentinel.kdl
dpkg -i /tmp/packages/upgrade.deb >/dev/null
grep -q 'edited by the administrator' /etc/sentinel/sentinel.kdl || fail "the upgrade overwrote the configuration"
answers /health ""
say "upgraded, still serving, configuration kept"

for _ in 1 2; do
	DPKG_MAINTSCRIPT_PACKAGE=sentinel-stack /var/lib/dpkg/info/sentinel-stack.postinst configure 99.0.0-1
done
say "postinst runs again without harm"

stack down --config /etc/sentinel/sentinel.kdl
get /health >/dev/null 2>&1 && fail "still answering after down"
for pid in $(ls /proc | grep '^[0-9]*$'); do
	case "$(readlink "/proc/$pid/exe" 2>/dev/null)" in
	/usr/bin/sentinel*) fail "process $pid is left after down" ;;
	esac
done

dpkg --remove sentinel-stack sentinel-agents >/dev/null
[ -e /etc/sentinel/sentinel.kdl ] || fail "remove took the configuration"
DPKG_MAINTSCRIPT_PACKAGE=sentinel-stack /var/lib/dpkg/info/sentinel-stack.postrm remove
dpkg --purge sentinel-stack >/dev/null
files >/tmp/after
diff /tmp/before /tmp/after || fail "purge left the above"
say "purged, nothing left"
rm -f /tmp/before /tmp/after
