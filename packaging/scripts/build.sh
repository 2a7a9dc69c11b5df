#!/bin/sh
# Builds the deb and rpm packages of every architecture into dist/. Needs Go; nfpm is built once from its pinned source.
#
#   VERSION            version of the packages, default from git
#   SOURCE_DATE_EPOCH  date inside the packages, default that of the last commit; the same inputs give the same bytes
#   ARCHES             default "amd64 arm64"
#   OUT                default dist
#   MAINTAINER         "Name <address>" of who answers for the packages. The default is an address that can never exist: whoever hands
#                      packages to others names themselves
set -eu
cd "$(dirname "$0")/../.."

NFPM_VERSION=v2.45.0
ARCHES=${ARCHES:-amd64 arm64}
OUT=${OUT:-dist}
MAINTAINER=${MAINTAINER:-Sentinel maintainers <maintainers@sentinel-stack.invalid>}
export MAINTAINER
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH CGO_ENABLED=0 LC_ALL=C TZ=UTC

# package_version turns what git says into a version both formats accept and order: digits first, no hyphen.
package_version() {
	v=${VERSION:-$(git describe --tags --always 2>/dev/null || echo dev)}
	v=${v#v}
	v=${v%-dirty}
	case "$v" in
	[0-9]*.[0-9]*.[0-9]*-*-g*) echo "${v%%-*}+git$(echo "${v#*-}" | sed 's/-g/./')" ;; # 1.2.3-4-gabc: after 1.2.3
	[0-9]*.[0-9]*.[0-9]*) echo "$v" | tr - '~' ;;
	*) echo "0.0.0~git$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d.%H%M%S).$(echo "$v" | tr -cd 'a-zA-Z0-9.')" ;;
	esac
}
VERSION=$(package_version)
export VERSION

tools=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/sentinel-packaging
nfpm=$tools/nfpm-$NFPM_VERSION
if [ ! -x "$nfpm" ]; then
	mkdir -p "$tools/bin.$$"
	GOBIN="$tools/bin.$$" GOFLAGS= go install "github.com/goreleaser/nfpm/v2/cmd/nfpm@$NFPM_VERSION"
	mv "$tools/bin.$$/nfpm" "$nfpm"
	rmdir "$tools/bin.$$"
fi

# programs lists "folder name" of every program of the release.
programs() {
	awk '$1 == "main:" {main = $2} $1 == "binary:" {print main, $2}' goreleaser.yaml
}

common=$OUT/stage/common
rm -rf "$OUT/stage"
mkdir -p "$common/doc" "$OUT"

go run ./packaging/gen -out "$common" -version "$VERSION" -epoch "$SOURCE_DATE_EPOCH"
find "$common/man" -type f -exec gzip -9n {} +
gzip -9n "$common/doc/third-party-licenses"
mkdir -p "$common/doc/examples"
for example in examples/*/sentinel.kdl; do
	[ -e "$example" ] || continue
	install -D -m 0644 "$example" "$common/doc/examples/$(basename "$(dirname "$example")")/sentinel.kdl"
done
cp packaging/etc/sentinel.kdl "$common/doc/examples/status.kdl"
for pkg in sentinel-stack sentinel-agents; do
	mkdir -p "$common/doc/$pkg"
	{
		echo "$pkg ($VERSION-1) unstable; urgency=medium"
		echo
		echo "  * See CHANGELOG.md of the source for what changed."
		echo
		echo " -- $MAINTAINER  $(date -u -R -d "@$SOURCE_DATE_EPOCH")"
	} | gzip -9n >"$common/doc/$pkg/changelog.Debian.gz"
done

for arch in $ARCHES; do
	STAGE=$OUT/stage/$arch
	NFPM_ARCH=$arch
	export STAGE NFPM_ARCH
	mkdir -p "$STAGE/bin" "$STAGE/agents"
	programs | while read -r main name; do
		case "$main" in
		./agents/* | ./protocol/*) target=$STAGE/agents/$name ;;
		*) target=$STAGE/bin/$name ;;
		esac
		GOOS=linux GOARCH=$arch go build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=$VERSION" -o "$target" "$main"
	done
	cp -R "$common/." "$STAGE/"
	find "$STAGE" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	for pkg in sentinel-stack sentinel-agents; do
		for format in deb rpm; do
			"$nfpm" package --config "packaging/nfpm/$pkg.yaml" --packager "$format" --target "$OUT/" >"$OUT/stage/nfpm.log" 2>&1 ||
				{ cat "$OUT/stage/nfpm.log" >&2 && exit 1; }
		done
	done
done
rm -rf "$OUT/stage"
(cd "$OUT" && sha256sum -- *.deb *.rpm | tee SHA256SUMS)
