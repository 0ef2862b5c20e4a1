#!/usr/bin/env bash
# Cargo for maturin, from scripts/build_wheel.sh: `cargo rustc` of the binary becomes the build of the whole
# workspace with all features, as tests have it. Everything else is cargo's.
set -euo pipefail
[ "$1" = rustc ] || exec cargo "$@"
exec cargo build --workspace --all-features --bin sgl-router --message-format json-render-diagnostics
