#!/usr/bin/env bash
# Thirty days of a public trace in a loop, in virtual time, under each shipped policy: whether a plugin's memory or
# the index of prefixes grows with the number of requests. Prompts and sessions of each repetition are unlike those
# of the others, and a plugin has 1 MiB (`--memory-mib`): one that keeps something of each request fails, and the
# fallback decides. The index must take no more in the last quarter of the time than in the second, and an eighth.
# Not part of scripts/test.sh.
#
# usage: scripts/month.sh TRACE … [--repeat 720] [--load 1] [--memory-mib 1] [--policies toll,late,…]
# SGL_ROUTER=FILE in the environment is a router that was built already: nothing is compiled then.
# Exit codes: 0 nothing grows, 1 something does or a run failed, 2 wrong usage.
set -euo pipefail
# Relative paths are the caller's.
caller=$PWD router=${SGL_ROUTER:+$(realpath -m "$SGL_ROUTER")}
. "$(dirname "$0")/lib.sh"

need_python
need_optimised_router
cd "$caller"
exec python3 "$root/scripts/month.py" --router "$router" "$@"
