#!/usr/bin/env bash
# End-to-end test with the `openai` Python package: chat, streaming and errors through the router
# with a plugin policy. Makes its own virtual environment under target/.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_rust
need_command python3 python3 python3-venv
target=${CARGO_TARGET_DIR:-target}
venv=$target/openai-venv
if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import openai' 2>/dev/null; then
  say "installing the openai package into $venv"
  python3 -m venv "$venv" 2>/dev/null || { need_command python3-venv python3-venv || true; python3 -m venv "$venv"; }
  "$venv/bin/pip" install --quiet --disable-pip-version-check 'openai>=1,<4'
fi
[ -f dist/plugins/prefix_affinity.wasm ] || scripts/build_wasm_plugins.sh build
cargo build --bin sgl-router
exec "$venv/bin/python" tests/openai_client/run.py "$target/debug/sgl-router" dist/plugins/prefix_affinity.wasm
