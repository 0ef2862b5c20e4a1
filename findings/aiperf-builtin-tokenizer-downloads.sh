#!/usr/bin/env bash
# aiperf's `--tokenizer builtin`, which its help calls a "zero-network-access tokenizer", downloads its vocabulary
# when it is first used: on a machine without a way out it ends before the first request.
#
# aiperf 0.13.0 (PyPI), with a proxy that nobody is at. Seen: exit code 1 and a failed connection to
# openaipublic.blob.core.windows.net for /encodings/o200k_base.tiktoken.
set -euo pipefail
. "$(dirname "$0")/../tests/engines/lib.sh"
install aiperf
work=$(mktemp -d)
port=$(free_port)
help=$("$dir/v-aiperf/bin/aiperf" profile --help 2>&1 | tr -d '│' | tr -s ' \n' ' ' | grep -o 'zero-network-access tokenizer' | head -n 1 || true)
code=0
# No model is needed: it does not come that far. A cache of its own, as on a fresh machine.
env TIKTOKEN_CACHE_DIR="$work/cache" https_proxy="http://127.0.0.1:$port" HTTPS_PROXY="http://127.0.0.1:$port" \
  timeout 300 "$dir/v-aiperf/bin/aiperf" profile --model tiny --url "http://127.0.0.1:$port" --endpoint-type chat --tokenizer builtin \
  --concurrency 1 --request-count 1 --isl 16 --osl 4 --ui none --artifact-dir "$work/out" >"$work/log" 2>&1 || code=$?
asked=$(grep -o "host='openaipublic[^ ]* port=443): Max retries exceeded with url: /encodings/[a-z0-9_.]*" "$work/log" | head -n 1 || true)
echo "help: ${help:-says nothing of it}; exit code $code; ${asked:-nothing was downloaded}"
rm -rf "$work"
[ -n "$help" ] && [ $code = 1 ] && [ -n "$asked" ] || { echo "it needs no network now, or no longer promises so"; exit 1; }
