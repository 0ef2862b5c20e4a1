#!/usr/bin/env bash
# Builds, tests and cleans the policy plugins of this repository.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/build_wasm_plugins.sh build|test|clean [NAME...]

  build   compile plugins to dist/plugins/NAME.wasm and test fixtures to
          dist/fixtures/NAME.wasm, check them, and print what they are; without a
          name, the policies in other languages too (scripts/build_languages.sh)
  test    run the plugins' native tests, then build and check the modules
  clean   remove what `build` made

NAME is a folder of plugins/ or tests/fixtures/plugins/; without one, all of them.

Environment:
  CARGO_TARGET_DIR   where cargo keeps its work, default target/
  PLUGIN_OPT_LEVEL   opt-level of the plugins, default 3; "s" makes them a
                     sixth smaller and up to ten times slower on large fleets
  PLUGIN_STACK       bytes of stack of each plugin, default 65536; it counts towards
                     the memory that an operator allows
TEXT
}

target=wasm32-unknown-unknown
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
plugin_dir=plugins
fixture_dir=tests/fixtures/plugins
# Modules above this are not wrong, but something big was linked by accident.
max_plugin_bytes=102400
max_fixture_bytes=262144

say() { printf '%s\n' "$*"; }

fail() {
    printf 'build_wasm_plugins: %s\n' "$*" >&2
    exit 1
}

# True for a crate that makes a Wasm module.
is_guest() { [[ -f $1/Cargo.toml ]] && grep -q 'cdylib' "$1/Cargo.toml"; }

# True for a crate that is built on its own, not as a member of the workspace.
is_separate() { [[ -f $1/Cargo.lock ]]; }

# The name that a crate's Cargo.toml gives it.
package_of() { sed -n 's/^name = "\(.*\)"$/\1/p' "$1/Cargo.toml" | head -n 1; }

# Fills `guests` with the folders to work on: all of them, or those named.
choose_guests() {
    guests=()
    local dir name
    if (($# == 0)); then
        for dir in "$plugin_dir"/*/ "$fixture_dir"/*/; do
            dir=${dir%/}
            if is_guest "$dir"; then guests+=("$dir"); fi
        done
        ((${#guests[@]} > 0)) || fail "no plugin found in $root/$plugin_dir"
        return
    fi
    for name in "$@"; do
        if is_guest "$plugin_dir/$name"; then
            guests+=("$plugin_dir/$name")
        elif is_guest "$fixture_dir/$name"; then
            guests+=("$fixture_dir/$name")
        else
            fail "no plugin named '$name' in $plugin_dir/ or $fixture_dir/ (a folder whose Cargo.toml has crate-type cdylib)"
        fi
    done
}

# Where the module of a folder goes.
module_of() {
    case $1 in
        "$fixture_dir"/*) say "dist/fixtures/${1##*/}.wasm" ;;
        *) say "dist/plugins/${1##*/}.wasm" ;;
    esac
}

need_cargo() {
    command -v cargo >/dev/null || fail "cargo not found; install Rust from https://rustup.rs and run this again"
}

# Makes sure that the compiler can build for Wasm.
need_target() {
    local libraries
    libraries=$(rustc --print sysroot)/lib/rustlib/$target/lib
    if [[ -d $libraries ]]; then return; fi
    if ! command -v rustup >/dev/null; then
        fail "the Rust toolchain ($(rustc --version)) has no $target target, and there is no rustup to add it;
  either install the toolchain with rustup (https://rustup.rs) and run: rustup target add $target
  or install your distribution's package for it (Debian: libstd-rust-dev-wasm32)"
    fi
    say "adding the $target target with rustup"
    rustup target add "$target" ||
        fail "rustup could not add $target (see above); check the network or proxy, then run: rustup target add $target"
    [[ -d $libraries ]] || fail "rustup added $target, but $libraries is still missing; does 'which rustc' point to rustup's?"
}

# Runs cargo with what every module needs: a small stack, since the default of 1 MiB
# alone fills what operators allow, and vectors.
cargo_wasm() {
    local flags="-C link-arg=-zstack-size=${PLUGIN_STACK:-65536} -C target-feature=+simd128"
    RUSTFLAGS="${RUSTFLAGS:+$RUSTFLAGS }$flags" cargo "$@" --target "$target" --target-dir "$target_dir"
}

# Copies a module to its place in one step: a running router may be watching it.
install_module() {
    local from=$1 to=$2
    [[ -f $from ]] || fail "cargo reported success, but $from is missing"
    # One that is the same stays as it is: the router is not built again for it, nor loaded by one that watches.
    if cmp -s "$from" "$to"; then return; fi
    mkdir -p "$(dirname "$to")"
    cp "$from" "$to.new"
    mv "$to.new" "$to"
}

build() {
    need_target
    local dir members=() modules=()
    for dir in "${guests[@]}"; do
        if is_separate "$dir"; then
            cargo_wasm build --release --locked --manifest-path "$dir/Cargo.toml"
        else
            members+=(-p "$(package_of "$dir")")
        fi
    done
    if ((${#members[@]} > 0)); then
        CARGO_PROFILE_PLUGIN_OPT_LEVEL=${PLUGIN_OPT_LEVEL:-3} cargo_wasm build --profile plugin "${members[@]}"
    fi
    local profile file
    for dir in "${guests[@]}"; do
        if is_separate "$dir"; then profile=release; else profile=plugin; fi
        file=$(package_of "$dir")
        install_module "$target_dir/$target/$profile/${file//-/_}.wasm" "$(module_of "$dir")"
        modules+=("$(module_of "$dir")")
    done
    check "${modules[@]}"
}

# Prints a table of the modules and holds them to the rules of the ABI and of this repository.
check() {
    local module plugins=() fixtures=()
    for module in "$@"; do
        case $module in
            dist/plugins/*) plugins+=("$module") ;;
            *) fixtures+=("$module") ;;
        esac
    done
    # The whole workspace is named so that what it needs is built as for the router, and not twice.
    cargo build --quiet --target-dir "$target_dir" --workspace --all-features --bin check_modules
    "$target_dir/debug/check_modules" \
        --max-bytes "$max_plugin_bytes" ${plugins[@]+"${plugins[@]}"} \
        --max-bytes "$max_fixture_bytes" ${fixtures[@]+"${fixtures[@]}"} ||
        fail "a module breaks a rule of the ABI or of this repository (see above)"
}

run_tests() {
    local dir members=()
    for dir in "${guests[@]}"; do
        if ! is_separate "$dir"; then members+=(-p "$(package_of "$dir")"); fi
    done
    # Without names, what all plugins stand on is tested too.
    if (($# == 0)); then members+=(-p sgl-policy-abi -p sgl-policy-sdk); fi
    if ((${#members[@]} > 0)); then
        cargo test --target-dir "$target_dir" "${members[@]}"
    fi
    build
}

clean() {
    local dir
    for dir in "${guests[@]}"; do
        rm -f -- "$(module_of "$dir")" "$(module_of "$dir").new"
    done
    # With everything gone, cargo's part goes as well; native builds stay.
    if (($# == 0)); then
        rm -rf -- dist/plugins dist/fixtures dist/languages "$target_dir/$target/plugin"
        rmdir dist 2>/dev/null || true
    fi
    say "removed the modules of ${#guests[@]} plugin(s)"
}

main() {
    local command=${1:-}
    case $command in
        build | test | clean) shift ;;
        -h | --help | help) usage && return ;;
        '')
            usage >&2
            exit 2
            ;;
        *)
            usage >&2
            fail "unknown command '$command'"
            ;;
    esac
    case " $* " in *' -h '* | *' --help '*) usage && return ;; esac
    # A relative target directory is the caller's, not the repository's.
    target_dir=${CARGO_TARGET_DIR:-$root/target}
    [[ $target_dir == /* ]] || target_dir=$PWD/$target_dir
    cd "$root"
    choose_guests "$@"
    case $command in
        build)
            need_cargo
            build
            # Those whose compiler is here; with CI=true all.
            if (($# == 0)); then scripts/build_languages.sh; fi
            ;;
        test) need_cargo && run_tests "$@" ;;
        clean) clean "$@" ;;
    esac
}

main "$@"
