#!/usr/bin/env bash
# Looks at decisions from outside: their system calls (strace) and what one of them writes, locks and
# shares with another thread's (gdb, instruction by instruction). A minute after a release build.
#
# usage: scripts/decision_trace.sh
set -euo pipefail
. "$(dirname "$0")/lib.sh"

[ $# -eq 0 ] || die "usage: scripts/decision_trace.sh"
need_rust
for tool in strace gdb strip addr2line; do
  command -v "$tool" >/dev/null || die "$tool is missing; on Debian: apt-get install strace gdb binutils"
done
[ -e dist/plugins/least_connections.wasm ] || scripts/build_wasm_plugins.sh build
binary=$(cargo bench --quiet --bench runs --no-run --message-format=json |
  sed -n 's/.*"name":"runs".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
[ -x "$binary" ] || die "cargo built no benchmark"
work=$(mktemp -d "${TMPDIR:-/tmp}/sgl-router-trace.XXXXXX")
trap 'rm -rf "$work"' EXIT

strace -f -qq -o "$work/calls" "$binary" --bench trace >/dev/null
# Lines are "TID CALL"; a thread's calls between its marks belong to its decisions.
awk '
  /sgl-router-trace\/begin-/ { match($0, /begin-[a-z-]+/); form[$1] = substr($0, RSTART + 6, RLENGTH - 6); next }
  /sgl-router-trace\/end-/ { printf "%s: %d system calls in 10000 decisions%s\n", form[$1], calls[$1], names[$1]; form[$1] = ""; calls[$1] = 0; names[$1] = ""; next }
  # Not the second half of the mark that began it.
  form[$1] != "" && $2 !~ /^</ { calls[$1]++; names[$1] = names[$1] " " substr($2, 1, index($2, "(") - 1) }
' "$work/calls" | cut -c 1-200
strip -o "$work/stripped" "$binary"
UNSTRIPPED=$binary gdb --batch --nx -x scripts/decision_trace.py --args "$work/stripped" --bench trace >"$work/steps" 2>"$work/errors" || true
grep -q '^REPORT$' "$work/steps" || { cat "$work/errors" >&2; die "gdb stopped early"; }
sed '1,/^REPORT$/d' "$work/steps"
