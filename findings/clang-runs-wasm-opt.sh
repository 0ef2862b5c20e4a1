#!/usr/bin/env bash
# clang, when it links wasm32 with -O, runs a `wasm-opt` that it finds in PATH, without a word and without a flag that
# asks for it: the module has no names of functions then. npm's `assemblyscript` puts one there (that of `binaryen`).
#
# clang and lld 14 (Debian 12), binaryen 131.0.0-nightly.20260721 (npm). Seen: a section `name` without it in PATH, none with it.
set -euo pipefail
binaryen=131.0.0-nightly.20260721
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
command -v clang >/dev/null && command -v wasm-ld >/dev/null || { echo "needs clang and lld; Debian: apt-get install clang lld"; exit 1; }
npm install --silent --no-save --prefix "$work" "binaryen@$binaryen"
cat >"$work/add.c" <<'C'
__attribute__((noinline)) static int twice(int number) { return number * 2; }
__attribute__((export_name("add"))) int add(int one, int other) { return twice(one) + other; }
C
build() { clang --target=wasm32 -O2 -nostdlib -Wl,--no-entry -o "$work/$1.wasm" "$work/add.c"; }
# usage: has_names MODULE: it names the function that is not exported
has_names() { grep -aq twice "$work/$1.wasm" && echo yes || echo no; }
build without
PATH=$work/node_modules/.bin:$PATH build with
echo "names of functions: without wasm-opt in PATH $(has_names without), with it $(has_names with)"
[ "$(has_names without) $(has_names with)" = "yes no" ] || { echo "it is not so any more"; exit 1; }
