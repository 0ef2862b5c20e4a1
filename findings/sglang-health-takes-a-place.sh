#!/usr/bin/env bash
# SGLang's `GET /health` generates a token, and waits for that like any request: while one runs, the check takes
# a place in the queue that `--max-queued-requests` limits, and a client is refused for it.
#
# SGLang 0.5.23 (PyPI sglang==0.5.23), on the CPU, with room for one request and one in the queue. One stream
# runs and one check is asked; seen: a client's request beside them gets 503 "The request queue is full.", and
# without the check it waits its turn and gets 200.
set -euo pipefail
. "$(dirname "$0")/../tests/engines/lib.sh"
start sglang --max-running-requests 1 --max-queued-requests 1
python3 - "$port" <<'PY'
import json, sys, threading, time, urllib.error, urllib.request

URL = f"http://127.0.0.1:{sys.argv[1]}"

def ask(tokens, stream=False):
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": tokens, "stream": stream, "ignore_eos": True}
    request = urllib.request.Request(URL + "/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"})
    try:
        return urllib.request.urlopen(request, timeout=120)
    except urllib.error.HTTPError as error:
        return error

def client(is_checked):
    running = ask(1500, stream=True)
    assert running.readline()
    if is_checked:
        check = threading.Thread(target=lambda: urllib.request.urlopen(URL + "/health", timeout=120).read())
        check.start()
        time.sleep(0.3)
    status = ask(1).status
    running.close()
    if is_checked:
        check.join()
    time.sleep(3)
    return status

alone, checked = client(False), client(True)
print(f"beside a stream: {alone}; beside a stream and GET /health: {checked}")
assert (alone, checked) == (200, 503), "health checks take no place any more"
PY
