#!/usr/bin/env bash
# Runs the benchmarks in rounds and writes their tables and plot into docs/benchmarks.md and
# docs/img/decision.svg. Figures are medians of the rounds; ratios are taken within one run.
# Let nothing else run meanwhile. A quarter of an hour after a release build.
#
# usage: scripts/bench.sh [ROUNDS]     default 3
set -euo pipefail
. "$(dirname "$0")/lib.sh"

rounds=${1:-3}
[[ $rounds =~ ^[1-9][0-9]*$ ]] || die "usage: scripts/bench.sh [ROUNDS]"
need_rust
need_python
target=${CARGO_TARGET_DIR:-target}
work=$(mktemp -d "${TMPDIR:-/tmp}/sgl-router-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT

say "building"
[ -e dist/plugins/least_connections.wasm ] || scripts/build_wasm_plugins.sh build
cargo bench --quiet --bench micro --bench runs --no-run

# usage: micro GROUPS SECONDS DIRECTORY
micro() {
  rm -rf "$target/criterion"
  cargo bench --quiet --bench micro -- --warm-up-time 0.5 --measurement-time "$2" "$1" >/dev/null 2>"$work/errors" ||
    { cat "$work/errors" >&2; die "the benchmark failed"; }
  cp -r "$target/criterion" "$work/$3"
}

for round in $(seq "$rounds"); do
  say "decisions, round $round of $rounds"
  micro '^decision/' 1 "round$round"
done
say "parts of a decision"
micro '^(wire|pool|instantiate)/' 1 parts
say "comparisons in rounds"
for part in threads neighbour isolation swap footprint; do
  cargo bench --quiet --bench runs -- $part 2>"$work/errors" | sed 1d >"$work/$part" ||
    { cat "$work/errors" >&2; die "the benchmark failed"; }
done
python3 scripts/bench_report.py "$work" docs/benchmarks.md docs/img/decision.svg
say "wrote docs/benchmarks.md and docs/img/decision.svg"
