#!/usr/bin/env bash
# Whether policies do in real time what a simulation says of them: a router for each policy in turn over the same
# workers, Mooncake's trace, and a table of cached tokens and times to the first token, with what holds of the
# order and what does not. Workers are simulated, or with --engines DIR four vLLM on the CPU, which are installed
# into DIR if they are not there (6 GB; 10 GB of memory). Not part of scripts/test.sh: let nothing else run
# meanwhile. A run of each policy for each seed takes --seconds: 5 minutes with the defaults, 9 with --seconds 45.
#
# usage: scripts/policy_order.sh --trace mooncake-conversation.jsonl [--engines DIR] [--json FILE] …   (--help)
# SGL_ROUTER=FILE in the environment is a router that was built already, by `cargo build --profile dist` if times
# are to count: nothing is compiled then.
# Exit codes: 0 the order holds, 1 it does not or a run failed, 2 wrong usage.
set -euo pipefail
# Relative paths are the caller's.
caller=$PWD router=${SGL_ROUTER:+$(realpath -m "$SGL_ROUTER")}
. "$(dirname "$0")/lib.sh"

need_python
engines='' help=''
arguments=("$@")
while [ $# -gt 0 ]; do
  case $1 in
  --engines) engines=${2:-} && shift ;;
  --engines=*) engines=${1#*=} ;;
  -h | --help) help=1 ;;
  esac
  shift
done
if [ -z "$help" ]; then
  need_optimised_router
  if [ -n "$engines" ]; then
    (cd "$caller" && "$root/tests/engines/setup.sh" "$engines" vllm) ||
      die "vLLM could not be installed from PyPI (see above); check the network, the proxy or the room on the disk."
  fi
fi
cd "$caller"
# However much hangs: an hour is enough for a slow machine.
exec timeout --kill-after=60 3600 python3 -B "$root/benches/policy_order" --binary "${router:-none}" "${arguments[@]}"
