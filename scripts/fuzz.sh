#!/usr/bin/env bash
# Fuzzes the library: all targets one after the other, or one. A finding ends it with an error; its
# input lies in fuzz/artifacts/TARGET then, and belongs into fuzz/found/TARGET once it is fixed.
# Needs a nightly compiler and cargo-fuzz; the first build takes some twenty minutes of one core.
#
# usage: scripts/fuzz.sh [TARGET|all] [SECONDS]      SECONDS for each target, default 1800
set -euo pipefail
. "$(dirname "$0")/lib.sh"

target=${1:-all} seconds=${2:-1800}
all=(module_bytes structured_modules guest_answers admin_bodies config_files worker_answers request_bodies)

[[ $seconds =~ ^[0-9]+$ ]] || die "usage: scripts/fuzz.sh [TARGET|all] [SECONDS]"
if [ "$target" = all ]; then
  targets=("${all[@]}")
else
  [[ " ${all[*]} " == *" $target "* ]] || die "no target $target; there are: ${all[*]}"
  targets=("$target")
fi

need_rust
cargo +nightly --version >/dev/null 2>&1 ||
  die "libFuzzer needs a nightly compiler: rustup toolchain install nightly"
cargo fuzz --version >/dev/null 2>&1 || die "cargo-fuzz was not found: cargo install --locked cargo-fuzz"

# Its own: nightly and sanitizers have nothing in common with the other builds.
unset CARGO_TARGET_DIR

# What an input may cost before it counts as a finding. Guests may use up several budgets of a
# second each while a module is loaded. The limit of memory is above what the address sanitizer
# holds back for its own sake (256 MB) and the guests' 1 MiB each. What is left behind is counted by
# the targets: a search for leaks after a run, with every thread stopped, takes longer than the run.
limits=(-timeout=300 -rss_limit_mb=3072 -malloc_limit_mb=512 -detect_leaks=0)

# What docs/security.md says of a target: usage: row TARGET LOG SECONDS
row() {
  local runs edges
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$2")
  edges=$(sed -n 's/.* cov: \([0-9]*\) ft: .*/\1/p' "$2" | tail -n 1)
  say "$1: $runs runs, $edges edges, $(minutes "$3") of a core, nothing found"
}

fuzz() {
  # Seeds are read; new inputs are written to the first directory.
  cargo +nightly fuzz run "$1" "fuzz/corpus/$1" "fuzz/seeds/$1" "fuzz/found/$1" -- \
    -max_total_time="$seconds" -print_final_stats=1 "${limits[@]}" -dict="fuzz/dictionaries/$1" \
    >"fuzz/logs/$1.log" 2>&1
}

# Seconds of processor time that `time` shows.
TIMEFORMAT='%U %S'

mkdir -p fuzz/logs
say "building"
cargo +nightly fuzz build >fuzz/logs/build.log 2>&1 || die "the build failed: see fuzz/logs/build.log"
for target in "${targets[@]}"; do
  say "$target: $seconds s; fuzz/logs/$target.log shows how it goes"
  mkdir -p "fuzz/corpus/$target" "fuzz/found/$target"
  spent=$({ time fuzz "$target"; } 2>&1) || die "$target found something: see fuzz/logs/$target.log"
  row "$target" "fuzz/logs/$target.log" "$(awk '{ printf "%d", $1 + $2 }' <<<"$spent")"
done
