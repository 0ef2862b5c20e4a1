#!/usr/bin/env bash
# The `tokenizers` package, with which vLLM and SGLang tokenize, normalizes by tables of an old Unicode: NFKC
# leaves the sign of the era Reiwa as it is (new in Unicode 12.1, 2019), and NFC does not put marks in order that only
# later versions know. Whoever normalizes by today's tables gets other ids for such text than the engine.
#
# tokenizers 0.23.3 (PyPI). Seen: U+32FF stays under NFKC, Python's own `unicodedata` makes two characters of it;
# 74 of 912 marks make a difference under NFC.
set -euo pipefail
dir=${ENGINES_DIR:-$(mktemp -d)}
venv=$dir/v-tokenizers
if [ ! -e "$venv/bin/python" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet tokenizers==0.23.3
fi
[ -n "${ENGINES_DIR:-}" ] || trap 'rm -rf "$dir"' EXIT
"$venv/bin/python" - <<'PY'
import unicodedata

from tokenizers import normalizers

sign, letter = "\u32ff", "a\u0301"
kept = normalizers.NFKC().normalize_str(sign)
own = unicodedata.normalize("NFKC", sign)
texts = [f"{letter}{chr(mark)}\u0323" for mark in range(0x110000) if unicodedata.combining(chr(mark))]
moved = sum(normalizers.NFC().normalize_str(text) != unicodedata.normalize("NFC", text) for text in texts)
print(f"NFKC of U+32FF: {kept!r}; by Unicode {unicodedata.unidata_version}: {own!r}; NFC differs for {moved} of {len(texts)} marks")
if not (kept == sign != own and moved):
    raise SystemExit("it has today's tables now")
PY
