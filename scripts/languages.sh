#!/usr/bin/env bash
# Measures the policy least_work in all languages (scripts/languages.py), and prints the table of
# docs/languages/README.md. Builds the modules first, and gets compilers that are missing.
#
# usage: scripts/languages.sh [ROUNDS]     default 101
set -euo pipefail
. "$(dirname "$0")/lib.sh"

rounds=${1:-101}
[[ $rounds =~ ^[1-9][0-9]*$ ]] || die "usage: scripts/languages.sh [ROUNDS]"
need_python
[ -f dist/plugins/least_work.wasm ] || scripts/build_wasm_plugins.sh build least_work >&2
scripts/build_languages.sh --install >&2
venv=$CARGO_TARGET_DIR/languages/venv
[ -d "$venv" ] || python3 -m venv "$venv"
# The version of the engine that the router has.
"$venv/bin/pip" install --quiet 'wasmtime==48.*'
module() { printf 'dist/languages/%s/least_work.wasm' "$1"; }
modules=("Rust=dist/plugins/least_work.wasm=plugins/least_work/src/lib.rs")
add() { [ ! -f "$(module "$2")" ] || modules+=("$1=$(module "$2")=sdks/$2/examples/$3"); }
add C c least_work.c
add Zig zig least_work.zig
add AssemblyScript assemblyscript least_work.ts
add Go go least_work/main.go
exec "$venv/bin/python" scripts/languages.py "$rounds" "${modules[@]}"
