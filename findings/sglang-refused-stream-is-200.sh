#!/usr/bin/env bash
# SGLang refuses a streamed request with status 200 and an error event, where the same request without
# `stream` gets 503: what looks at the status counts it as a fast success and sends more there.
#
# SGLang 0.5.23 (PyPI sglang==0.5.23), on the CPU. With room for one request and one in the queue, of eight at
# once; seen: 200 with `data: {"error": {…, "message": "The request queue is full.", "code": 503}}` and
# `data: [DONE]` for six streams, and 503 for plain ones.
set -euo pipefail
. "$(dirname "$0")/../tests/engines/lib.sh"
start sglang --max-running-requests 1 --max-queued-requests 1
python3 - "$port" <<'PY'
import json, sys, threading, urllib.error, urllib.request

def ask(is_stream):
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 400, "stream": is_stream, "ignore_eos": True}
    request = urllib.request.Request(f"http://127.0.0.1:{sys.argv[1]}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"})
    try:
        answer = urllib.request.urlopen(request, timeout=120)
        seen.append((answer.status, answer.readline().decode()))
        answer.read()
    except urllib.error.HTTPError as error:
        seen.append((error.code, error.read().decode()))

def refused(is_stream):
    global seen
    seen = []
    threads = [threading.Thread(target=ask, args=(is_stream,)) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return [(status, text) for status, text in seen if '"code": 503' in text or '"code":503' in text]

plain, streamed = refused(False), refused(True)
print(f"plain: {len(plain)} refused, such as {plain[:1]}")
print(f"streamed: {len(streamed)} refused, such as {streamed[:1]}")
assert plain and all(status == 503 for status, _ in plain), "plain refusals are no longer 503"
assert streamed and all(status == 200 for status, _ in streamed), "streamed refusals are no longer 200"
PY
