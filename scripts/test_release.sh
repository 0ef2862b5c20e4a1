#!/usr/bin/env bash
# The builds of docs/quickstart.md, which other tests take from the test build: the router and the Python
# package, each in profile release, and the embedded way as a crate of its own, outside this workspace. Not
# part of the test command: each builds wasmtime once more, together half an hour on two cores.
#
# usage: scripts/test_release.sh [PART...]     PART: binary, wheel, embedded; default: all
set -euo pipefail
. "$(dirname "$0")/lib.sh"

need_rust
[ $# -gt 0 ] || set -- binary wheel embedded
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

binary() {
  say "scripts/build_release.sh release"
  scripts/build_release.sh release | tee "$work/embedded"
  grep -q cache_aware "$work/embedded" || die "the router was built without its policies"
  "$CARGO_TARGET_DIR/release/sgl-router" serve --check --policy cache_aware --worker-urls http://127.0.0.1:1
}

wheel() {
  need_python
  say "scripts/build_wheel.sh release"
  scripts/build_wheel.sh release
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-index "$CARGO_TARGET_DIR"/wheels/*.whl
  "$work/venv/bin/python" -m sgl_router --version
  "$work/venv/bin/python" -m sgl_router plugin list --embedded | grep -q cache_aware ||
    die "the package's router was built without its policies"
}

# The crate stands beside the checkout, as its manifest has it.
embedded() {
  say "the embedded way as a crate of its own"
  scripts/build_wasm_plugins.sh build least_connections
  mkdir -p "$work/mine/src"
  ln -s "$root" "$work/sgl-router"
  ln -s "$root/dist" "$work/mine/dist"
  cp Cargo.lock rust-toolchain.toml "$work/mine/"
  printf '[package]\nname = "mine"\nversion = "0.1.0"\nedition = "2024"\n\n[workspace]\n\n' >"$work/mine/Cargo.toml"
  block toml >>"$work/mine/Cargo.toml"
  block rust >"$work/mine/src/main.rs"
  (cd "$work/mine" && CARGO_TARGET_DIR=$CARGO_TARGET_DIR/embedded-crate cargo run --quiet) | tee "$work/decisions"
  [ "$(grep -c '^http://10.0.0.[12]:30000 by ' "$work/decisions")" = 2 ] || die "two decisions were to be printed"
}

# The block in this language of the quickstart's section on embedding.
block() {
  sed -n '/^## Embedded/,$p' docs/quickstart.md | sed -n "/^\`\`\`$1\$/,/^\`\`\`\$/p" | sed '1d;$d' | grep . ||
    die "docs/quickstart.md has no block in $1"
}

for part in "$@"; do
  case $part in
  binary | wheel | embedded) "$part" ;;
  *) die "found $part; allowed: binary, wheel, embedded" ;;
  esac
done
say "all parts passed: $*"
