#!/usr/bin/env bash
# Makes an authority and a certificate of it for loopback, for tests and benches, valid for two days:
# DIR/authority.pem, DIR/server.pem and DIR/server.key.
#
# usage: scripts/make_certificate.sh DIR
set -euo pipefail
[ $# = 1 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
command -v openssl >/dev/null 2>&1 || { echo "openssl was not found. Debian: apt-get install openssl." >&2; exit 1; }
cd "$1"
curve=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
openssl req -x509 "${curve[@]}" -days 2 -subj /CN=loopback -keyout authority.key -out authority.pem 2>/dev/null
openssl req "${curve[@]}" -subj /CN=localhost -keyout server.key -out server.csr 2>/dev/null
openssl x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 \
  -extfile <(echo subjectAltName=IP:127.0.0.1,DNS:localhost) -out server.pem 2>/dev/null
rm -f authority.key server.csr
