# Shared by the scripts: messages, and what a fresh machine may lack.

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }

die() {
  printf '\033[31merror:\033[0m %s\n' "$*" >&2
  exit 1
}

# Stops with advice unless Rust is there.
need_rust() {
  command -v cargo >/dev/null 2>&1 ||
    die "cargo was not found. Install Rust from https://rustup.rs, open a new shell, and run this again."
  command -v cc >/dev/null 2>&1 ||
    die "no C compiler (cc) was found. Debian: apt-get install build-essential; macOS: xcode-select --install."
}

# Makes sure that a Debian package's command is there: installs it when root, else says how.
# usage: need_command COMMAND PACKAGE...
need_command() {
  local command=$1
  shift
  command -v "$command" >/dev/null 2>&1 && return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    say "installing $*"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
  fi
  command -v "$command" >/dev/null 2>&1 ||
    die "$command was not found. Debian: apt-get install $*"
}
