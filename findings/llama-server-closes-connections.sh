#!/usr/bin/env bash
# llama.cpp's server ends connections sooner than its peers: it closes one after 100 requests, after five idle
# seconds, and after every answer that is an error, 400 and 501 alike. A pool of connections that does not heed
# `keep-alive` meets a closed one at each of the three.
#
# llama.cpp's own server in the wheel xllamacpp==2026.10.11549 (PyPI), a model of random weights. Seen:
# `Keep-Alive: timeout=5, max=100`, the end of the connection with the 100th answer, and `Connection: close` with 400
# and with the 501 of `/v1/embeddings`, which the server does not have without `--embeddings`.
set -euo pipefail
. "$(dirname "$0")/../tests/engines/lib.sh"
dir=$(mktemp -d) temporary=$dir
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: xllamacpp==2026.10.11549 'gguf>=0.17,<1'
"$dir/venv/bin/python" "$engines/bytes_gguf.py" "$dir/model.gguf"
port=$(free_port)
setsid "$dir/venv/bin/python" "$engines/llama_server.py" "$dir/model.gguf" 1 2048 "$port" >"$dir/log" 2>&1 &
pids+=($!)
disown
until curl -sf -o /dev/null "http://127.0.0.1:$port/health"; do kill -0 "${pids[0]}" && sleep 0.1; done
python3 - "$port" <<'PY'
import http.client, json, sys

def ask(path, body):
    connection.request("POST", path, body, {"content-type": "application/json"})
    response = connection.getresponse()
    response.read()
    return response.status, response.getheader("connection"), response.getheader("keep-alive")

connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
chat = json.dumps({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1})
answers = []
while not answers or connection.sock:
    answers.append(ask("/v1/chat/completions", chat))
    assert len(answers) < 500, "it keeps the connection now"
print(f"{len(answers)} answers on one connection: the first {answers[0]}, the last {answers[-1]}")
assert len(answers) == 100 and answers[0] == (200, None, "timeout=5, max=100") and answers[-1][:2] == (200, "close")
for path, body, status in [("/v1/embeddings", '{"input": "a"}', 501), ("/v1/chat/completions", '{"mess', 400)]:
    answer = ask(path, body)
    print(path, answer)
    assert answer[:2] == (status, "close"), "it keeps the connection now"
PY
