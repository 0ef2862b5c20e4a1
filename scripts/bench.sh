#!/usr/bin/env bash
# Runs the benchmarks in rounds and writes their tables and plot into docs/benchmarks.md and
# docs/img/decision.svg. Figures are medians of the rounds; ratios are taken within one run.
# Let nothing else run meanwhile. About ten minutes after a release build.
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
cargo bench --quiet --bench decision --bench swap --no-run
for round in $(seq "$rounds"); do
  say "decisions, round $round of $rounds"
  rm -rf "$target/criterion/decision"
  cargo bench --quiet --bench decision -- --warm-up-time 0.5 --measurement-time 1 >/dev/null 2>"$work/errors" ||
    { cat "$work/errors" >&2; die "the benchmark failed"; }
  cp -r "$target/criterion/decision" "$work/round$round"
done
say "swaps"
cargo bench --quiet --bench swap 2>"$work/errors" >"$work/swap" || { cat "$work/errors" >&2; die "the benchmark failed"; }
python3 scripts/bench_report.py "$work" docs/benchmarks.md docs/img/decision.svg
say "wrote docs/benchmarks.md and docs/img/decision.svg"
