#!/usr/bin/env bash
# The operators' page in Debian's Chromium, driven by npm's playwright-core: it loads, asks for the token,
# shows what comes, a push is seen, its buttons work, and there is no error in the console. Installs
# playwright-core into cargo's target directory.
#
# usage: scripts/test_page.sh [DIR]     DIR gets the screenshots instead of the target directory
set -euo pipefail
pictures=${1:+$(realpath -m "$1")}
. "$(dirname "$0")/lib.sh"

need_rust
playwright=1.65.1
if ! command -v chromium >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  say "installing chromium"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null
fi
browser=$(command -v chromium || command -v google-chrome) ||
  die "no chromium was found. Debian: apt-get install chromium."
command -v npm >/dev/null || die "npm (Node.js 18 or newer) was not found. Debian: apt-get install npm."
home=$CARGO_TARGET_DIR/page-test
mkdir -p "$home"
if ! grep -qs "\"version\": \"$playwright\"" "$home/node_modules/playwright-core/package.json"; then
  say "installing playwright-core $playwright into $home"
  PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm install --silent --no-save --prefix "$home" "playwright-core@$playwright" ||
    die "playwright-core could not be installed from npm (see above); check the network or the proxy."
fi
[ -f dist/plugins/least_connections.wasm ] || scripts/build_wasm_plugins.sh build
build_router
# Modules are looked for beside the program.
cp tests/page/page.mjs "$home/page.mjs"
exec node "$home/page.mjs" "$(router)" "$browser" "$PWD/dist/plugins/least_connections.wasm" "${pictures:-$home/pictures}"
