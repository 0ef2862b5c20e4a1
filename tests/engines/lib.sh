# shellcheck shell=bash
# For scripts that look at a real engine by itself: installs it into $ENGINES_DIR, or into a folder that goes
# away again, starts it on a free port, and ends it with the script.
engines=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=${ENGINES_DIR:-}
temporary=''
pids=()

# The processes of a session: vLLM leaves some behind when its first one ends.
members() { ps -eo sid=,pid= | awk -v sid="$1" '$1 == sid { print $2 }'; }

clean_up() {
  local pid
  for pid in "${pids[@]}"; do kill -KILL $(members "$pid") 2>/dev/null || true; done
  if [ -n "$temporary" ]; then rm -rf "$temporary"; fi
}
trap clean_up EXIT

# usage: install NAME...
install() {
  if [ -z "$dir" ]; then dir=$(mktemp -d) temporary=$dir; fi
  "$engines/setup.sh" "$dir" "$@" >&2
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# usage: start (vllm | sglang) [FLAGS...]; sets `port` and `pid`.
start() {
  local kind=$1
  shift
  install "$kind"
  port=$(free_port)
  pid=$("$engines/start.sh" "$dir" "$kind" "$port" "$@")
  pids+=("$pid")
}
