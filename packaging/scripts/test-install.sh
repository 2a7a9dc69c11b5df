#!/bin/sh
# Tries the packages that build.sh made: reproducible bytes, lintian, a full life in a clean Debian (install, serve, upgrade with an
# edited configuration, remove, purge, nothing left), and the rpm in an empty root and with its scripts. Needs root, debootstrap,
# lintian and rpm; the Debian tree is cached outside the repository.
#
#   OUT    where the packages are, default dist
#   CACHE  default ~/.cache/sentinel-packaging
set -eu
cd "$(dirname "$0")/../.."
here=packaging/scripts
OUT=${OUT:-dist}
CACHE=${CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/sentinel-packaging}
PATH=$PATH:/usr/sbin:/sbin
case "$(uname -m)" in
x86_64) arch=amd64 rpmarch=x86_64 ;;
aarch64) arch=arm64 rpmarch=aarch64 ;;
*) echo "no packages for $(uname -m)" >&2 && exit 1 ;;
esac

say() { echo "== $*"; }
fail() { echo "FAIL: $*" >&2 && exit 1; }

require() {
	missing=
	for program in debootstrap lintian rpm unshare curl ip; do
		command -v "$program" >/dev/null || missing="$missing $program"
	done
	[ -z "$missing" ] && return
	[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || fail "missing programs:$missing"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap lintian rpm util-linux curl iproute2 >/dev/null
}

# one FILE... prints the only match of a pattern.
one() { [ $# -eq 1 ] && [ -e "$1" ] && echo "$1" || fail "want one file, got: $*"; }

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT INT TERM

# debian DIR [PACKAGE,...] lays out a clean Debian in DIR, from the cache when it is there.
debian() {
	tarball=$CACHE/debian-bookworm-$arch${2:+-with-$(echo "$2" | tr , -)}.tar
	if [ ! -s "$tarball" ]; then
		mkdir -p "$CACHE"
		debootstrap --variant=minbase ${2:+--include="$2"} bookworm "$work/base" >"$work/debootstrap.log" 2>&1 || fail "debootstrap: $(tail -n 5 "$work/debootstrap.log")"
		rm -rf "$work"/base/var/cache/apt/archives/*.deb "$work"/base/var/lib/apt/lists/*
		tar -C "$work/base" -cf "$tarball.$$" .
		mv "$tarball.$$" "$tarball"
		rm -rf "$work/base"
	fi
	mkdir -p "$1"
	tar -C "$1" -xf "$tarball"
}

# inside DIR SCRIPT runs a script in DIR as its root, in network, process and mount namespaces of its own: what it starts is gone
# when it ends, and its ports are nobody else's.
inside() {
	cp "$2" "$1/tmp/script.sh"
	unshare --net --pid --fork --mount --kill-child sh -c '
		ip link set lo up
		mount -t proc proc "$1/proc"
		mount -t tmpfs tmpfs "$1/run"
		mount -t tmpfs tmpfs "$1/dev/shm" 2>/dev/null || mkdir -p "$1/dev/shm"
		exec chroot "$1" /bin/sh /tmp/script.sh' inside "$1"
	status=$?
	rm -f "$1/tmp/script.sh"
	return $status
}

require
deb=$(one "$OUT"/sentinel-stack_*_"$arch".deb)
agents=$(one "$OUT"/sentinel-agents_*_"$arch".deb)
rpmfile=$(one "$OUT"/sentinel-stack-*."$rpmarch".rpm)
rpmagents=$(one "$OUT"/sentinel-agents-*."$rpmarch".rpm)

say "the same inputs give the same bytes"
ARCHES=$arch OUT="$work/again" $here/build.sh >/dev/null
for f in "$deb" "$agents" "$rpmfile" "$rpmagents"; do
	cmp "$f" "$work/again/$(basename "$f")" || fail "$(basename "$f") differs from a second build"
done

say "lintian"
lintian --fail-on error --allow-root --suppress-tags bad-distribution-in-changes-file "$deb" "$agents"

say "deb in a clean Debian"
debian "$work/debian"
mkdir -p "$work/debian/tmp/packages"
cp "$deb" "$agents" "$work/debian/tmp/packages/"
# The same content under a higher version, for the upgrade.
next=$work/next
mkdir -p "$next"
dpkg-deb -R "$deb" "$next/tree"
sed -i 's/^Version: .*/Version: 99.0.0-1/' "$next/tree/DEBIAN/control"
dpkg-deb --root-owner-group -b "$next/tree" "$work/debian/tmp/packages/upgrade.deb" >/dev/null
inside "$work/debian" $here/try-deb.sh || fail "deb"

say "deb under systemd"
debian "$work/systemd" systemd,systemd-sysv,dbus,curl
mkdir -p "$work/systemd/root/packages"
cp "$work"/debian/tmp/packages/*.deb "$work/systemd/root/packages/"
status=0
$here/boot.sh "$work/systemd" $here/try-systemd.sh || status=$?
case $status in
0) ;;
77) echo "SKIP deb under systemd: see above" ;;
*) fail "deb under systemd" ;;
esac

say "packages of every architecture"
for f in "$OUT"/sentinel-*.deb; do
	want=${f%.deb} && want=${want##*_}
	[ "$(dpkg-deb --field "$f" Architecture)" = "$want" ] || fail "$f is of another architecture"
	rm -rf "$work/tree" && dpkg-deb -x "$f" "$work/tree"
	case "$want" in amd64) machine=3e ;; arm64) machine=b7 ;; *) fail "$f: unknown architecture" ;; esac
	for program in "$work"/tree/usr/bin/*; do
		[ "$(od -An -tx1 -j18 -N1 "$program" | tr -d ' ')" = $machine ] || fail "$program in $f is built for another machine"
	done
done

# Debian's rpm asks every time whether one really means it.
rpm() { command rpm --force-debian "$@"; }

say "rpm in an empty root"
mkdir -p "$work/empty"
command rpm --root "$work/empty" --initdb
rpm --root "$work/empty" -i --nodeps --noscripts --ignorearch "$rpmfile" "$rpmagents"
chroot "$work/empty" /usr/bin/sentinel --version
chroot "$work/empty" /usr/bin/sentinel-stack version
rpm --root "$work/empty" -V --nodeps sentinel-stack sentinel-agents || fail "rpm -V"

say "rpm with its scripts"
debian "$work/rpm"
command rpm --root "$work/rpm" --initdb
rpm --root "$work/rpm" -i --nodeps --ignorearch "$rpmfile"
grep -q ^sentinel: "$work/rpm/etc/passwd" || fail "rpm: no user sentinel"
echo "// edited" >>"$work/rpm/etc/sentinel/sentinel.kdl"
rpm --root "$work/rpm" -U --nodeps --ignorearch --replacepkgs "$rpmfile"
grep -q "// edited" "$work/rpm/etc/sentinel/sentinel.kdl" || fail "rpm: an upgrade overwrote the configuration"
rpm --root "$work/rpm" -e --nodeps sentinel-stack 2>/dev/null
[ ! -e "$work/rpm/usr/bin/sentinel" ] || fail "rpm: files left"

say "packages work"
