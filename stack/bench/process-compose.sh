#!/bin/sh
# Builds process-compose from the module registry into the directory given. It is a release that `go install` cannot name, because the list of its versions is not served everywhere.
set -eu
version=v1.87.0 into=$1
command -v process-compose >/dev/null && exit 0
source=$(mktemp -d)
trap 'chmod -R u+w "$source"; rm -rf "$source"' EXIT
cd "$source"
module=$(GOFLAGS=-mod=mod go mod download -json "github.com/f1bonacc1/process-compose@$version" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')
cp -r "$module/." . && chmod -R u+w . && rm -f go.work
CGO_ENABLED=0 go build -o "$into/process-compose" .
