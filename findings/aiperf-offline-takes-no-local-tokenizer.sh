#!/usr/bin/env bash
# aiperf takes a tokenizer from a local folder, but not while HF_HUB_OFFLINE is set, which is when one would
# use a local folder: it then takes the path for the name of a repository, and ends before the first request. Set
# to 0 counts as set.
#
# aiperf 0.13.0 (PyPI), a tokenizer made here, an answering machine instead of a model. Seen with HF_HUB_OFFLINE=1
# and =0: exit code 1, "Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/…/tokenizer'"; without
# the variable the same command ends well, without a network too.
set -euo pipefail
. "$(dirname "$0")/../tests/engines/lib.sh"
install aiperf
work=$(mktemp -d)
"$dir/v-aiperf/bin/python" - "$work/tokenizer" <<'PY'
import sys
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

words = Tokenizer(models.BPE())
words.pre_tokenizer = pre_tokenizers.ByteLevel()
words.train_from_iterator(["a small text about nothing"], trainers.BpeTrainer(special_tokens=["<end>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", pad_token="<end>").save_pretrained(sys.argv[1])
PY
port=$(free_port)
python3 - "$port" 2>/dev/null <<'PY' &
import http.server, json, sys

class Machine(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        choice = {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
        body = json.dumps({"id": "1", "object": "chat.completion", "created": 1, "model": "tiny", "choices": [choice],
                           "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Machine).serve_forever()
PY
pids+=($!)
machine=$!
disown
profile() { # usage: profile NAME=VALUE
  env "$1" timeout 300 "$dir/v-aiperf/bin/aiperf" profile --model tiny --url "http://127.0.0.1:$port" --endpoint-type chat \
    --tokenizer "$work/tokenizer" --concurrency 1 --request-count 2 --isl 16 --osl 4 --ui none --artifact-dir "$work/$1" >"$work/$1.log" 2>&1
}
unset HF_HUB_OFFLINE TRANSFORMERS_OFFLINE
one=0 zero=0 without=0
profile HF_HUB_OFFLINE=1 || one=$?
profile HF_HUB_OFFLINE=0 || zero=$?
profile UNRELATED=1 || without=$?
grep -o "HFValidationError: Repo id must be .*" "$work/HF_HUB_OFFLINE=0.log" | head -n 1 || true
echo "exit code with HF_HUB_OFFLINE=1: $one, with 0: $zero, without: $without"
kill $machine
failed=0
[ $one = 1 ] && [ $zero = 1 ] && [ $without = 0 ] && grep -q HFValidationError "$work/HF_HUB_OFFLINE=0.log" || failed=1
rm -rf "$work"
exit $failed
