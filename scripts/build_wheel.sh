#!/usr/bin/env bash
# Builds the Python package: the router with all plugins, and the module that starts it
# (deploy/python). Makes its own virtual environment in cargo's target directory.
#
# usage: scripts/build_wheel.sh [PROFILE]     default: dist, into target/wheels; release; or dev, which takes
#                                             the build that tests use, for trying the package out, into
#                                             target/dev-wheels
set -euo pipefail
. "$(dirname "$0")/lib.sh"

profile=${1:-dist}
[[ $# -le 1 && $profile =~ ^(dist|release|dev)$ ]] || die "usage: scripts/build_wheel.sh [dist|release|dev]"
need_rust
need_python
# The wheels were seen to work with this version.
maturin=1.16.0
venv=$CARGO_TARGET_DIR/wheel-venv
if [ "$("$venv/bin/maturin" --version 2>/dev/null)" != "maturin $maturin" ]; then
  say "installing maturin $maturin into $venv"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "maturin==$maturin" ||
    die "maturin could not be installed from PyPI (see above); check the network or the proxy."
fi
if [ "$profile" = dev ]; then
  wheels=$CARGO_TARGET_DIR/dev-wheels
  # Maturin builds one package, for which cargo would choose other features of dependencies than for the
  # whole workspace, and would build them all once more: its call is turned into the one of the tests.
  CARGO=$root/scripts/cargo_for_dev_wheel.sh
  export CARGO
else
  wheels=$CARGO_TARGET_DIR/wheels
  scripts/build_wasm_plugins.sh build
  export SGL_ROUTER_EMBED=all
fi
# Those of other versions would be installed by `pip install target/wheels/*.whl`.
rm -rf "$wheels"
# Names of functions stay, for traces of panics.
(cd deploy/python && "$venv/bin/maturin" build --quiet --locked --profile "$profile" --out "$wheels" -- -C strip=debuginfo)
ls "$wheels"/*.whl
