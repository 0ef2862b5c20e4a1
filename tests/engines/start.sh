#!/usr/bin/env bash
# Starts an engine that setup.sh installed in DIR, on loopback, in a session of its own, and waits until it
# is healthy. Prints its process number; its log is DIR/ENGINE-PORT.log.
#
# usage: tests/engines/start.sh DIR (vllm | sglang) PORT [FLAGS...]
set -euo pipefail
cd "$1"
kind=$2 port=$3 log=$2-$3.log
shift 3
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 CUDA_VISIBLE_DEVICES='' OMP_NUM_THREADS=1 VLLM_NO_USAGE_STATS=1
unset PYTHONDONTWRITEBYTECODE # without bytecode a start takes 80 s instead of 23
case $kind in
vllm)
  export VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind VLLM_CACHE_ROOT=$PWD/cache PATH=$PWD/v-vllm/bin:$PATH
  # Else a worker process of its own: it and the engine's core wait for each other in loops that keep a core each
  # busy, which is more than a small machine has for HTTP and clients besides.
  case " $* " in *" --distributed-executor-backend uni "*) export VLLM_ENABLE_V1_MULTIPROCESSING=0 ;; esac
  command=(vllm serve "$PWD/model" --served-model-name tiny --dtype float32 --enforce-eager --max-model-len 4096)
  ;;
sglang)
  # It compiles with ninja, which is in its own folder.
  export LD_LIBRARY_PATH=$PWD/stub SGLANG_USE_CPU_ENGINE=1 PATH=$PWD/v-sglang/bin:$PATH
  # It wants a NUMA node for each rank, or to be told which cores are whose.
  case " $* " in *" --dp-size 2 "*) export SGLANG_CPU_OMP_THREADS_BIND='0|1' ;; esac
  command=(python -m sglang.launch_server --model-path "$PWD/model" --served-model-name tiny --device cpu --dtype float32
    --attention-backend torch_native --disable-cuda-graph --mem-fraction-static 0.1 --max-total-tokens 65536
    --context-length 4096 --enable-metrics)
  ;;
*) echo "usage: start.sh DIR (vllm | sglang) PORT [FLAGS...]" >&2 && exit 2 ;;
esac
setsid nohup "${command[@]}" --host 127.0.0.1 --port "$port" "$@" >"$log" 2>&1 </dev/null &
pid=$!
for _ in $(seq 1800); do
  kill -0 $pid 2>/dev/null || { tail -n 20 "$log" >&2; exit 1; }
  if [ "$(curl -s -m 3 -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/health")" = 200 ]; then
    echo $pid
    exit 0
  fi
  sleep 0.2
done
echo "$kind was not healthy in time:" >&2
tail -n 20 "$log" >&2
kill -- -$pid
exit 1
