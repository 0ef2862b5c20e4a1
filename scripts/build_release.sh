#!/usr/bin/env bash
# Builds the plugins, then a router that brings all of them along; a plugin without a module is an error.
#
# usage: scripts/build_release.sh [PROFILE]     default: dist, slower to build and faster; or release
set -euo pipefail
. "$(dirname "$0")/lib.sh"

profile=${1:-dist}
[[ $# -le 1 && $profile =~ ^(dist|release)$ ]] || die "usage: scripts/build_release.sh [dist|release]"
need_rust
scripts/build_wasm_plugins.sh build
SGL_ROUTER_EMBED=all cargo build --locked --profile "$profile" --bin sgl-router
"$CARGO_TARGET_DIR/$profile/sgl-router" plugin list --embedded
