#!/usr/bin/env bash
# Runs what can be run under Miri and the sanitizers: the wire codecs, and the layers of the router
# below its Wasm engine (tests/layers), whose threads work against each other there. Miri and the
# sanitizers cannot run compiled guests; the fuzzers run those with the address sanitizer.
# Needs a nightly compiler with its components miri and rust-src. A few minutes.
#
# usage: scripts/sanitize.sh [miri|thread|address|all]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

what=${1:-all}
case $what in
miri | thread | address | all) ;;
*) die "usage: scripts/sanitize.sh [miri|thread|address|all]" ;;
esac

need_rust
cargo +nightly --version >/dev/null 2>&1 ||
  die "these tools need a nightly compiler: rustup toolchain install nightly --component miri,rust-src"
[ -d "$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library" ] ||
  die "the nightly compiler has no rust-src: rustup component add --toolchain nightly rust-src"
host=$(rustc +nightly -vV | sed -n 's/^host: //p')

# Nothing in common with the other builds.
export CARGO_TARGET_DIR=$root/fuzz/target/sanitize

wants() { [ "$what" = all ] || [ "$what" = "$1" ]; }

# Undefined behaviour and data races, the threads' in the orders that a few seeds lead to. Left out
# are tests of real time and of tokio's threads, and two that look at thousands of numbers.
if wants miri; then
  cargo +nightly miri --version >/dev/null 2>&1 ||
    die "Miri is missing: rustup component add --toolchain nightly miri"
  say "Miri: the wire codecs"
  MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test -p sgl-policy-abi --lib
  say "Miri: the layers without the engine"
  layers=(cargo +nightly miri test -p layers --lib --)
  MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-permissive-provenance" "${layers[@]}" --skip engine::background --skip engine::clock \
    --skip stress --skip health_bits_are_the_same --skip columns_of_every_length
  MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-permissive-provenance -Zmiri-many-seeds=0..4" "${layers[@]}" stress
fi

# The standard library is built along: without, its own synchronisation would not be seen.
sanitized() {
  RUSTFLAGS="-Zsanitizer=$1" cargo +nightly test -Zbuild-std --target "$host" \
    -p layers --lib --profile sanitized
}

if wants thread; then
  say "thread sanitizer: the layers without the engine"
  sanitized thread
fi
if wants address; then
  say "address sanitizer: the layers without the engine"
  sanitized address
fi
