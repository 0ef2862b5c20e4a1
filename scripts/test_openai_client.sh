#!/usr/bin/env bash
# End-to-end test with the `openai` Python package: chat, streaming, embeddings and errors through
# the router with a plugin policy, over plain HTTP/1.1 and over TLS and HTTP/2. Makes its own virtual environment in cargo's target directory.
#
# usage: scripts/test_openai_client.sh
set -euo pipefail
. "$(dirname "$0")/lib.sh"

need_rust
need_python
venv=$CARGO_TARGET_DIR/openai-venv
if ! "$venv/bin/python" -c 'import openai, h2' 2>/dev/null; then
  say "installing the openai package into $venv"
  # What is there, if anything, is broken or half made.
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check 'openai>=1.60,<4' 'httpx[http2]' ||
    die "the openai package could not be installed from PyPI (see above); check the network or the proxy."
fi
module=dist/plugins/prefix_affinity.wasm
[ -f "$module" ] || scripts/build_wasm_plugins.sh build
build_router
exec "$venv/bin/python" tests/openai_client/run.py "$(router)" "$module"
