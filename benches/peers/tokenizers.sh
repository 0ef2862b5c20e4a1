#!/usr/bin/env bash
# Compares tokenizers for prompts: time, and ids beside those of the package that engines have. Ten minutes
# with the builds, 300 MB of packages from PyPI. The figures are in docs/signals.md.
#
# usage: benches/peers/tokenizers.sh
set -euo pipefail
# shellcheck source=../../scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"
[ $# = 0 ] || die "usage: benches/peers/tokenizers.sh"

need_rust
need_python
here=$root/benches/peers
work=$here/target/tokenizers
venv=$here/target/venvs/tokenizers
packages=(tokenizers==0.23.3 transformers==5.19.0 sentencepiece==0.2.3 mistral-common==1.13.1 dashscope==2.0.2 litellm==1.110.2)
if [ "$(cat "$venv/installed" 2>/dev/null)" != "${packages[*]}" ]; then
  say "installing ${packages[*]} from PyPI"
  rm -rf "$venv"
  python3 -m venv "$venv"
  # Of the last two only the files that they ship are used.
  "$venv/bin/pip" install --quiet "${packages[@]:0:4}"
  "$venv/bin/pip" install --quiet --no-deps "${packages[@]:4}"
  echo "${packages[*]}" >"$venv/installed"
fi
[ -e "$work/anthropic.ids.json" ] || (cd "$root" && "$venv/bin/python" "$here/tokenizers/prepare.py" "$work")
(cd "$here/tokenizers" && cargo build --quiet --release --target-dir "$here/target")
for crate in fastokens tokenizers_v1 llm-tokenizer tokenizers; do
  FASTOKENS_BPE_THREADS=1 RAYON_NUM_THREADS=1 "$here/target/release/peer_tokenizers" "$work" "$crate"
done
