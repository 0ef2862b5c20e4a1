# shellcheck shell=bash disable=SC2034
# Shared by the scripts: messages, where things are, and what a fresh machine may lack.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# One target directory for everything, whoever calls: a relative one is the caller's.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
[[ $CARGO_TARGET_DIR == /* ]] || CARGO_TARGET_DIR=$PWD/$CARGO_TARGET_DIR
cd "$root" || exit

if [ -t 1 ]; then
  bold=$'\033[1m' red=$'\033[31m' plain=$'\033[0m'
else
  bold='' red='' plain=''
fi

say() { printf '%s==>%s %s\n' "$bold" "$plain" "$*"; }

die() {
  printf '%serror:%s %s\n' "$red" "$plain" "$*" >&2
  exit 1
}

# Stops with advice unless Rust is there.
need_rust() {
  command -v cargo >/dev/null 2>&1 ||
    die "cargo was not found. Install Rust from https://rustup.rs, open a new shell, and run this again."
  command -v cc >/dev/null 2>&1 ||
    die "no C compiler (cc) was found. Debian: apt-get install build-essential; macOS: xcode-select --install."
}

# Stops with advice unless Python can make virtual environments. Root gets it installed.
need_python() {
  python3 -c 'import venv, ensurepip' 2>/dev/null && return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    say "installing python3 and python3-venv"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3 python3-venv >/dev/null
  fi
  python3 -c 'import venv, ensurepip' 2>/dev/null ||
    die "python3 with its venv module was not found. Debian: apt-get install python3 python3-venv."
}

# Seconds as "3 min 20 s".
minutes() {
  if (($1 < 60)); then printf '%d s' "$1"; else printf '%d min %d s' $(($1 / 60)) $(($1 % 60)); fi
}

# The router. The whole workspace is named so that dependencies have the features that they have for the
# tests, and are not built twice; only what the router itself needs is built.
build_router() { cargo build --workspace --all-features --bin sgl-router "$@"; }
router() { printf '%s/debug/sgl-router' "$CARGO_TARGET_DIR"; }

# Stops unless $router, which the variable SGL_ROUTER names, is a program.
need_named_router() {
  { [ -f "$router" ] && [ -x "$router" ]; } || die "SGL_ROUTER is $SGL_ROUTER, which is no program that can be run."
}

# An optimised router in $router, with the shipped policies in it, so that names are enough: the one that is named
# there by now, or one that is built.
need_optimised_router() {
  if [ -n "$router" ]; then
    need_named_router
    return
  fi
  need_rust
  scripts/build_wasm_plugins.sh build >/dev/null
  cargo build --profile dist -p sgl-router
  router=$CARGO_TARGET_DIR/dist/sgl-router
}
