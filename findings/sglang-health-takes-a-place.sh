#!/usr/bin/env bash
# SGLang's `GET /health` generates a token: on an idle server the check is a request that waits for the next step,
# and takes a place in the queue that `--max-queued-requests` limits. A client's request that comes in the same
# moment is refused, though nobody else is there.
#
# SGLang 0.5.23 (PyPI sglang==0.5.23), on the CPU, with room for one request and one in the queue. One request at
# a time, each some milliseconds after a check, 100 times; then the same without checks. Seen: 5 of 100 get 503
# "The request queue is full.", and none without checks.
set -euo pipefail
. "$(dirname "$0")/../tests/engines/lib.sh"
start sglang --max-running-requests 1 --max-queued-requests 1
python3 - "$port" <<'PY'
import json, sys, threading, time, urllib.error, urllib.request

URL = f"http://127.0.0.1:{sys.argv[1]}"

def ask():
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    request = urllib.request.Request(URL + "/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"})
    try:
        return urllib.request.urlopen(request, timeout=120).status
    except urllib.error.HTTPError as error:
        return error.code

def check():
    try:
        urllib.request.urlopen(URL + "/health", timeout=120).read()
    except urllib.error.HTTPError:
        pass

def refused(is_checked):
    count = 0
    for number in range(100):
        if is_checked:
            threading.Thread(target=check).start()
        time.sleep(number % 20 / 2000)
        count += ask() == 503
        time.sleep(0.2)
    return count

checked, alone = refused(True), refused(False)
print(f"refused beside a check: {checked} of 100; without: {alone} of 100")
assert checked > 0 and alone == 0, "health checks take no place any more"
PY
