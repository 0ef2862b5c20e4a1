#!/usr/bin/env bash
# Runs both comparisons, with other plugin hosts and with other routers, and writes their tables into
# docs/benchmarks.md. Half an hour after the builds; with --quick a few minutes, and the page is left
# as it is. Let nothing else run meanwhile.
#
# usage: benches/peers/run.sh [--quick]
set -euo pipefail
# shellcheck source=../../scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"

quick=()
case "$#:${1:-}" in
0:) ;;
1:--quick) quick=(--quick) ;;
*) die "usage: benches/peers/run.sh [--quick]" ;;
esac

need_rust
need_python
here=$root/benches/peers
results=$here/target/results
mkdir -p "$results"

say "building guests"
[ -e dist/plugins/least_connections.wasm ] || scripts/build_wasm_plugins.sh build
rustup target add --toolchain "$(rustup show active-toolchain | cut -d' ' -f1)" \
  wasm32-unknown-unknown wasm32-wasip1 >/dev/null 2>&1 || true
guest() { (cd "$here" && cargo build --quiet --profile plugin --target-dir "$here/target/guests" "$@"); }
guest --target wasm32-unknown-unknown -p peer_extism -p peer_per_call
guest --target wasm32-wasip1 -p peer_per_call
(cd "$here" && cargo run --quiet -p encode --target-dir target/guests -- \
  target/guests/wasm32-wasip1/plugin/peer_per_call.wasm target/guests/component.wasm)

say "building the other hosts"
(cd "$here" && cargo build --quiet --release -p extism_host -p peers --target-dir target)
venv=$here/target/venvs/extism-sys
extism='extism-sys==1.41.0'
if [ "$(cat "$venv/installed" 2>/dev/null)" != "$extism" ]; then
  say "installing $extism from PyPI"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "$extism"
  printf '%s' "$extism" >"$venv/installed"
fi
library=$(find "$venv" -name 'libextism_sys.so' | head -n 1)
[ -n "$library" ] || die "$extism has no libextism_sys.so"
say "comparing plugin hosts"
"$here/target/release/peers" ${quick[@]+"${quick[@]}"} --extism "$library" --json "$results/peers.json"

"$here/routers.sh" ${quick[@]+"${quick[@]}"} --json "$results/routers.json"

if [ "${#quick[@]}" = 0 ]; then
  python3 "$here/page.py" docs/benchmarks.md peers "$results/peers.json" routers "$results/routers.json"
  say "wrote docs/benchmarks.md"
else
  say "results are in $results"
fi
