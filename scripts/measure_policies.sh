#!/usr/bin/env bash
# Writes docs/policies/measured_tables.md: what `sgl-router simulate` says of every policy on Mooncake's and Azure's
# traces and on two that are made up, five seeds each. The figures are of virtual time, so any machine finds the
# same; 15 minutes of one core with an optimised router. Not part of scripts/test.sh, which has no traces.
#
# usage: scripts/measure_policies.sh --mooncake conversation_trace.jsonl --azure AzureLLMInferenceTrace_code.csv [--out FILE]
# SGL_ROUTER=FILE in the environment is a router that was built already, with the shipped policies in it.
set -euo pipefail
# Relative paths are the caller's.
caller=$PWD router=${SGL_ROUTER:+$(realpath -m "$SGL_ROUTER")}
. "$(dirname "$0")/lib.sh"

need_python
need_optimised_router
tables=$root/docs/policies/measured_tables.md
cd "$caller"
exec python3 -B "$root/scripts/measure_policies.py" --router "$router" --out "$tables" "$@"
