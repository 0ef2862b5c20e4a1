#!/usr/bin/env bash
# SGLang's `GET /health` takes at least a second on an idle server, because it waits in whole seconds for a
# token that it has generated: a health check with a limit of 1 s never passes.
#
# SGLang 0.5.23 (PyPI sglang==0.5.23), on the CPU, no requests. Seen: five times 200 after 1.002 to 1.007 s,
# while `/ready` answers in 1 to 3 ms.
set -euo pipefail
. "$(dirname "$0")/../tests/engines/lib.sh"
start sglang
fast=0
for _ in 1 2 3 4 5; do
  curl -s -o /dev/null -w '/health %{http_code} after %{time_total} s\n' "http://127.0.0.1:$port/health" | tee "$dir/took"
  awk '{ exit !($2 == 200 && $4 >= 1.0) }' "$dir/took" || fast=1
done
curl -s -o /dev/null -w '/ready %{http_code} after %{time_total} s\n' "http://127.0.0.1:$port/ready"
[ $fast = 0 ] || { echo "/health is faster than a second now"; exit 1; }
