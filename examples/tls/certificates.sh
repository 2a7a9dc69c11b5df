#!/bin/sh
# Makes an authority, two server certificates and a client's with openssl. Run again, it issues new ones of the same authority.
set -eu
umask 077
issue() { # NAME USE ALTERNATIVE-NAMES
    printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=%s\nsubjectAltName=%s\n' "$2" "$3" >"$1.ext"
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1.key.new" -subj "/CN=$1" -out "$1.csr" 2>/dev/null
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -days 90 -extfile "$1.ext" -out "$1.pem.new" 2>/dev/null
    mv "$1.key.new" "$1.key"
    mv "$1.pem.new" "$1.pem" # until here the pair does not match, and the proxy stays with the one it has
    rm "$1.ext" "$1.csr"
}
[ -f ca.pem ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -subj '/CN=Example CA' -days 365 -out ca.pem 2>/dev/null
issue site serverAuth DNS:site.example,IP:127.0.0.1
issue shop serverAuth DNS:shop.example,DNS:www.shop.example
issue alice clientAuth email:alice@example.com
