#!/usr/bin/env bash
# End-to-end test with the `openai` Python package: chat, streaming, embeddings and errors through
# the router with a plugin policy. Makes its own virtual environment in cargo's target directory.
#
# usage: scripts/test_openai_client.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_rust
need_python
target=$(target_dir)
venv=$target/openai-venv
if ! "$venv/bin/python" -c 'import openai' 2>/dev/null; then
  say "installing the openai package into $venv"
  # A broken one is not worth repairing.
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check 'openai>=1.60,<4' ||
    die "the openai package could not be installed from PyPI (see above); check the network or proxy"
fi
need_plugins prefix_affinity
cargo build --quiet --bin sgl-router
exec "$venv/bin/python" tests/openai_client/run.py "$target/debug/sgl-router" dist/plugins/prefix_affinity.wasm
