#!/usr/bin/env bash
# Makes the file system of the router's image: the binary with the libraries that it loads, certificates of
# public authorities, a user that is not root, its directories, and the configuration that the image starts
# with. The Dockerfile runs it, and it runs without Docker as well.
#
# usage: deploy/container/rootfs.sh BINARY DIRECTORY     DIRECTORY must be empty or not there yet
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

[ $# = 2 ] || die "usage: deploy/container/rootfs.sh BINARY DIRECTORY"
binary=$1 rootfs=$2
# A number that no distribution gives to anybody.
user=65532
certificates=/etc/ssl/certs/ca-certificates.crt
[ -x "$binary" ] || die "$binary is no program; scripts/build_release.sh makes target/dist/sgl-router"
[ -f "$certificates" ] || die "$certificates was not found. Debian: apt-get install ca-certificates"
[ -z "$(ls -A "$rootfs" 2>/dev/null)" ] || die "$rootfs is not empty"
command -v strip >/dev/null || die "strip was not found. Debian: apt-get install binutils"

# Whatever the umask is: another user than the one who builds reads this.
umask 022
mkdir -p "$rootfs"/{etc/sgl-router,etc/ssl/certs,usr/local/bin,var/lib,var/cache,tmp}

# Without tables of lines, nine tenths of its size; names of functions stay, for traces of panics.
strip --strip-debug -o "$rootfs/usr/local/bin/sgl-router" "$binary"

# Copies the libraries that a binary loads to where its loader looks for them. A static one loads none.
libraries() {
  local listed path
  listed=$(ldd "$1" 2>&1) || return 0
  case $listed in *'not found'*) die "a library is missing: $listed" ;; esac
  grep -o '/[^ ]*' <<<"$listed" | while read -r path; do
    mkdir -p "$rootfs$(dirname "$path")"
    cp -L "$path" "$rootfs$path"
  done
}
libraries "$binary"

cp "$certificates" "$rootfs$certificates"
cp "$here/router.toml" "$rootfs/etc/sgl-router/router.toml"
printf 'root:x:0:0::/:/sbin/nologin\nsgl-router:x:%d:%d::/var/lib/sgl-router:/sbin/nologin\n' $user $user >"$rootfs/etc/passwd"
printf 'root:x:0:\nsgl-router:x:%d:\n' $user >"$rootfs/etc/group"
# Names of workers: the files that the container's engine writes, then DNS.
echo 'hosts: files dns' >"$rootfs/etc/nsswitch.conf"

# What the router may write: state (--state-dir), compiled plugins (--aot-cache), files of plugins.
chmod 1777 "$rootfs/tmp"
for dir in var/lib/sgl-router var/cache/sgl-router; do
  mkdir "$rootfs/$dir"
  chmod 700 "$rootfs/$dir"
  if [ "$(id -u)" = 0 ]; then chown $user:$user "$rootfs/$dir"; fi
done
[ "$(id -u)" = 0 ] || echo "warning: not root, so /var/lib/sgl-router and /var/cache/sgl-router belong to $(id -un)" >&2
echo "$rootfs: $(du -sm "$rootfs" | cut -f 1) MB"
