#!/usr/bin/env bash
# Compares whole routers on the same simulated workers: CPU time per request in a closed loop, and
# latency at a fixed rate. Installs the other routers from PyPI into target/venvs, and nginx if it
# is missing. Twelve minutes; with --quick about two. Let nothing else run meanwhile. With --prefix:
# policies that look at prompts, on prompts of 8 KB. With --tls: this router and nginx, with TLS and without.
# With --watched: this router with an access log, with traces of one request in a hundred, and without.
# With --operations: all of these side by side, with --token-metrics too, and nginx with TLS and without.
# With --recorded: this router with decision records, of what its policy declares and of all inputs, and without.
#
# usage: benches/peers/routers.sh [--quick] [--prefix | --tls | --watched | --operations | --recorded] [--json FILE] [--only NAME,…] [--rounds N] …   (--help)
set -euo pipefail
json_base=$PWD
# shellcheck source=../../scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"

# What was compared last. Newer ones may have other flags.
peers=(sglang-router==0.3.2 smg==1.13.0 vllm-router==0.1.17)
venvs=$root/benches/peers/target/venvs

install_peer() {
  local name=${1%%==*}
  [ "$(cat "$venvs/$name/installed" 2>/dev/null)" = "$1" ] && return
  say "installing $1 from PyPI"
  rm -rf "${venvs:?}/$name"
  python3 -m venv "$venvs/$name"
  "$venvs/$name/bin/pip" install --quiet --disable-pip-version-check "$1"
  printf '%s' "$1" >"$venvs/$name/installed"
}

install_nginx() {
  command -v nginx >/dev/null 2>&1 && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    say "installing nginx"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq nginx-light >/dev/null
  fi
  command -v nginx >/dev/null 2>&1 || die "nginx was not found. Debian: apt-get install nginx-light."
}

# The file that --json names is the caller's, who may be in another directory.
arguments=()
while [ $# -gt 0 ]; do
  case $1 in
  --json)
    [ $# -gt 1 ] || die "--json: no file"
    case $2 in /*) arguments+=("$1" "$2") ;; *) arguments+=("$1" "$json_base/$2") ;; esac
    shift
    ;;
  *) arguments+=("$1") ;;
  esac
  shift
done

[ "$(uname)" = Linux ] || die "CPU times are read from Linux's clocks of processes."
need_rust
need_python
case " ${arguments[*]-} " in
*" --recorded "*) ;;
*" --tls "* | *" --watched "* | *" --operations "*) command -v openssl >/dev/null 2>&1 || die "openssl was not found. Debian: apt-get install openssl." ;;
*) for peer in "${peers[@]}"; do install_peer "$peer"; done ;;
esac
install_nginx
[ -e dist/plugins/least_connections.wasm ] || scripts/build_wasm_plugins.sh build
# SGL_ROUTER: a binary that is there already.
router=${SGL_ROUTER:-$CARGO_TARGET_DIR/dist/sgl-router}
if [ -z "${SGL_ROUTER:-}" ]; then
  say "building the router"
  cargo build --quiet --profile dist --bin sgl-router
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/sgl-router-peers.XXXXXX")
compare=''
# Ends what was started also if only this shell gets the signal; Python ends the routers.
clean() {
  [ -z "$compare" ] || { kill "$compare" 2>/dev/null && wait "$compare"; } || true
  rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM HUP
say "comparing routers"
python3 benches/peers/routers --binary "$router" \
  --plugins dist/plugins --environments "$venvs" --work "$work" \
  ${arguments[@]+"${arguments[@]}"} &
compare=$!
status=0
wait "$compare" || status=$?
compare=''
exit "$status"
