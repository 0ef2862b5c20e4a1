#!/usr/bin/env bash
# Sets up and runs every check: formatting, lints, docs, plugins, Rust tests, benches as tests,
# and the end-to-end test with a client from PyPI. Takes up to half an hour on two cores from
# cold; a minute or two when the dependencies are built.
#
# usage: scripts/test.sh [--fast]     --fast leaves out clippy, docs and the Python client
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

fast=false
[ "${1:-}" = "--fast" ] && fast=true

need_rust

say "formatting"
cargo fmt --all --check

say "plugins"
scripts/build_wasm_plugins.sh build
scripts/build_wasm_plugins.sh test

say "tests (unit, integration, property, plugins' native tests)"
cargo test --workspace --all-features --lib --bins --tests --examples

say "benches, once each"
cargo test --benches

say "doc tests"
cargo test --workspace --doc

if ! $fast; then
  say "a client that nobody here wrote"
  scripts/test_openai_client.sh

  say "lints"
  cargo clippy --workspace --all-targets --all-features -- -D warnings

  say "documentation"
  RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
fi

say "all checks passed"
