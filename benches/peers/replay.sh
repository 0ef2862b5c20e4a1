#!/usr/bin/env bash
# Compares `sgl-router simulate` with the replay of traces that Dynamo brings, on the same engines: times to
# the first token and hits of round_robin, which must be alike, speed on one core, and memory. Installs
# ai-dynamo-runtime from PyPI into target/venvs (300 MB). Two minutes. Let nothing else run meanwhile. Ends with 3
# where round_robin's times or hits differ by more than a tenth.
#
# usage: benches/peers/replay.sh --trace mooncake-conversation.jsonl [--json FILE] [--rounds N] …   (--help)
set -euo pipefail
base=$PWD
# shellcheck source=../../scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"

# What was compared last. Newer ones may have other arguments.
peer=ai-dynamo-runtime==1.6.1
environment=$root/benches/peers/target/venvs/${peer%%==*}

# Files are the caller's, who may be in another directory.
arguments=()
while [ $# -gt 0 ]; do
  case $1 in
  --json | --trace)
    [ $# -gt 1 ] || die "$1: no file"
    case $2 in /*) arguments+=("$1" "$2") ;; *) arguments+=("$1" "$base/$2") ;; esac
    shift
    ;;
  *) arguments+=("$1") ;;
  esac
  shift
done

[ "$(uname)" = Linux ] || die "Processes are bound to a core as Linux has it."
need_rust
need_python
if [ "$(cat "$environment/installed" 2>/dev/null)" != "$peer" ]; then
  say "installing $peer from PyPI"
  rm -rf "${environment:?}"
  python3 -m venv "$environment"
  "$environment/bin/pip" install --quiet --disable-pip-version-check "$peer"
  printf '%s' "$peer" >"$environment/installed"
fi
# SGL_ROUTER: a binary that is there already.
binary=${SGL_ROUTER:-$CARGO_TARGET_DIR/dist/sgl-router}
if [ -z "${SGL_ROUTER:-}" ]; then
  say "building the router"
  cargo build --quiet --profile dist --bin sgl-router
fi
[ -e dist/plugins/toll.wasm ] || scripts/build_wasm_plugins.sh build
work=$(mktemp -d "${TMPDIR:-/tmp}/sgl-router-replay.XXXXXX")
trap 'rm -rf "$work"' EXIT
say "comparing simulations"
python3 benches/peers/replay --binary "$binary" --plugins dist/plugins \
  --python "$environment/bin/python" --work "$work" ${arguments[@]+"${arguments[@]}"}
