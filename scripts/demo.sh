#!/usr/bin/env bash
# Shows the router at work: builds everything, starts three simulated workers and the router with
# the plugin least_connections as its policy, sends real requests, and replaces the plugin's module
# by weighted_random while they flow. Leaves nothing running.
#
# usage: scripts/demo.sh [REQUESTS]     default: 600
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requests=${1:-600}
[[ $requests =~ ^[1-9][0-9]{1,5}$ ]] || die "usage: scripts/demo.sh [REQUESTS]; REQUESTS is 10 to 999999"
plugin=least_connections
replacement=weighted_random
# Weights of the workers: least_connections does not look at them, weighted_random does.
weights=(1 2 5)

logs=$(mktemp -d "${TMPDIR:-/tmp}/sgl-router-demo.XXXXXX")
pids=()

# Ends every process that was started, the last one first, and waits for it.
stop_all() {
  local i
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
    kill -TERM "${pids[i]}" 2>/dev/null || true
    wait "${pids[i]}" 2>/dev/null || true
  done
  pids=()
}

finish() {
  local status=$?
  trap - EXIT
  trap '' INT TERM
  stop_all
  if [ "$status" = 0 ]; then
    rm -rf "$logs"
  else
    for log in "$logs"/*.log; do
      [ -s "$log" ] && printf -- '--- last lines of %s\n' "$log" >&2 && tail -n 5 "$log" >&2
    done
    printf '%serror:%s the demo ended early; all logs are in %s\n' "$red" "$plain" "$logs" >&2
  fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Starts a process in the background. usage: start NAME COMMAND...; its output goes to NAME.log.
start() {
  local name=$1
  shift
  : >"$logs/$name.log"
  "$@" >"$logs/$name.log" 2>&1 &
  last_pid=$!
  pids+=("$last_pid")
}

# Prints what `sed -n EXPRESSION` finds in a log, as soon as it finds something.
# usage: found_in NAME PID EXPRESSION
found_in() {
  local found
  while :; do
    found=$(sed -n "$3" "$logs/$1.log" | head -n 1)
    if [ -n "$found" ]; then
      printf '%s' "$found"
      return
    fi
    kill -0 "$2" 2>/dev/null || die "$1 ended by itself"
    sleep 0.05
  done
}

need_rust
if [ ! -x "$(router)" ]; then
  say "first build: some 300 crates, 10 to 20 minutes on two cores; later ones take seconds"
fi
say "building the plugins"
scripts/build_wasm_plugins.sh build
say "building the router and the demo's client"
build_router --bin sgl-demo

say "starting three simulated workers"
workers=''
for i in 1 2 3; do
  start "worker-$i" "$(router)" sim-worker --worker-id "worker-$i" --seed "$i"
  url=$(found_in "worker-$i" "$last_pid" 's/^listening on //p')
  weight=${weights[i - 1]}
  printf '    worker-%s  %s  weight %s\n' "$i" "$url" "$weight"
  workers+="[[workers]]"$'\n'"url = \"$url\""$'\n'"weight = $weight.0"$'\n'"labels = { name = \"worker-$i\" }"$'\n'
done

say "starting the router with the plugin $plugin as its policy"
cat >"$logs/router.toml" <<TOML
policy = "$plugin"
[server]
port = 0
worker_header = true
[metrics]
port = 0
[admin]
port = 0
[[plugins]]
name = "$plugin"
module_path = "$root/dist/plugins/$plugin.wasm"
$workers
TOML
start router "$(router)" serve --config "$logs/router.toml" --log-format json
address() { found_in router "$last_pid" 's/.*"'"$1"'":"\([^"]*\)".*/\1/p'; }
clients=$(address clients) metrics=$(address metrics) admin=$(address admin)
printf '    clients %s, operators %s, metrics %s\n' "$clients" "$admin" "$metrics"

say "sending requests"
"$CARGO_TARGET_DIR/debug/sgl-demo" --requests "$requests" \
  --router "$clients" --admin "$admin" --metrics "$metrics" \
  --plugin "$plugin" --replacement "dist/plugins/$replacement.wasm" &
# In the background and waited for: a signal is seen at once then, not after the last request.
pids+=($!)
wait $!

say "stopping the router and the workers"
stop_all
say "done; nothing is left running"
