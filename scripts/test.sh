#!/usr/bin/env bash
# Sets up and runs every check: formatting, plugins, all tests, doc tests, benches once each, the
# end-to-end tests with a client and an engine from PyPI, what is in deploy/ with the programs that read
# it, the operators' page in a browser, lints, the library without its features, documentation, lock files
# and dependencies. Fails if any of it fails, or if a test target runs no test. Up to half an hour on two
# cores from cold; a minute or two after that.
#
# usage: scripts/test.sh [--fast]     --fast leaves out the Python client, the engine, deploy/, the page, lints, the
#                                     library without its features, documentation, lock files and
#                                     dependencies
set -euo pipefail
. "$(dirname "$0")/lib.sh"

case ${1:-} in
'') fast=false ;;
--fast) fast=true ;;
*) die "usage: scripts/test.sh [--fast]" ;;
esac

# Targets that hold no tests by themselves. The libraries are tested by tests/ of their packages;
# check_modules by every build of the plugins; sgl_router, the binary's main, by tests that run it;
# sgl_shipped by tests of the router, sgl_testkit by all tests that use it.
untested='all_columns|bare_picker|cache_aware|embedder|everything|fuzz_targets|hold_back|kv_aware|late|least_connections|least_uncached|least_work|lmetric|misbehaving|most_held|note_outcomes|pd_pair|prefix_affinity|priority|serial_round_robin|slo_aware|token_pools|toll|weighted_scorers|check_modules|sgl_router|sgl_shipped|sgl_testkit'

# The version of cargo-deny that is installed where there is none.
cargo_deny=0.20.2

log=$(mktemp "${TMPDIR:-/tmp}/sgl-router-test.XXXXXX")
trap 'rm -f "$log"' EXIT
summary=''

# Runs a step and says how long it took. usage: step TITLE COMMAND...
step() {
  local title=$1 began=$SECONDS
  shift
  say "$title"
  "$@"
  say "$title: passed, $(minutes $((SECONDS - began)))"
}

# Fails if a target ran no test, but for those above; counts the tests of the others. Reads cargo's
# output. Benches count nothing: criterion prints no number.
count_tests() {
  awk -v untested="^($untested)\$" '
    function close_target() {
      if (target == "" || path ~ /^benches\//) return
      if (count == "") { printf "%s (%s) said nothing of its tests\n", path, target; bad = 1 }
      else if (count == 0 && target !~ untested) { printf "%s (%s) runs no test\n", path, target; bad = 1 }
      else if (count > 0) { targets++; tests += count }
    }
    /^ +Running / {
      close_target()
      path = $2 == "unittests" ? $3 : $2
      target = $NF
      gsub(/.*\/|-[0-9a-f]+(\.exe)?\)$/, "", target)
      count = ""
    }
    /^running [0-9]+ tests?$/ { count += $2 }
    END {
      close_target()
      if (tests == 0) { print "no test ran"; bad = 1 }
      if (bad) exit 1
      printf "%d tests in %d targets\n", tests, targets
    }
  ' "$log"
}

# All targets at once, benches too (criterion runs each once then): one build for all of them.
all_tests() {
  # Without colours, whatever the environment says: the lines are counted below.
  CARGO_TERM_COLOR=never cargo test --workspace --all-features --all-targets --no-fail-fast 2>&1 | tee "$log"
  local counted
  counted=$(count_tests) || die "$counted"
  summary=$counted
}

doc_tests() {
  CARGO_TERM_COLOR=never cargo test --workspace --all-features --doc 2>&1 | tee "$log"
  local tests
  tests=$(awk '/^test result: ok\./ { tests += $4 } END { print tests + 0 }' "$log")
  [ "$tests" -gt 0 ] || die "no doc test ran"
  summary+=", $tests doc tests"
}

python_client() {
  scripts/test_openai_client.sh 2>&1 | tee "$log"
  # The script fails if one of its checks does; this is for the last line.
  summary+=", $(tail -n 1 "$log" | cut -d ' ' -f 1) checks with the openai package"
}

real_engine() {
  scripts/test_llama.sh 2>&1 | tee "$log"
  summary+=", $(tail -n 1 "$log" | cut -d ' ' -f 1) with llama.cpp"
}

# The image, the manifests, the service, dashboard and alerts, the Python package, the quickstart.
deployment() {
  scripts/test_deploy.sh 2>&1 | tee "$log"
  summary+=", $(tail -n 1 "$log" | sed 's/ passed, 0 failed//') of what is deployed"
}

browser() {
  scripts/test_page.sh 2>&1 | tee "$log"
  summary+=", $(tail -n 1 "$log" | cut -d ' ' -f 1) in a browser"
}

# Licences, bans and sources as deny.toml has them; advisories where their database can be reached.
dependencies() {
  cargo deny --version 2>/dev/null || {
    say "installing cargo-deny $cargo_deny; once, for two minutes of a core"
    # Its own folder of work, which `cargo install` removes; unoptimised, since it checks for seconds.
    env -u CARGO_TARGET_DIR cargo install --quiet --locked --debug "cargo-deny@$cargo_deny"
  }
  cargo deny --log-level error check licenses bans sources
  if timeout 60 cargo deny --log-level off fetch db; then
    cargo deny --log-level error --offline check advisories
    summary+=", dependencies with advisories"
  else
    say "ADVISORIES NOT CHECKED: their database cannot be reached from here"
    summary+=", dependencies without advisories"
  fi
}

# Workspaces of their own follow the manifests here, but no build here writes their lock files.
other_lock_files() {
  local other
  for other in fuzz benches/peers; do
    cargo update --workspace --locked --quiet --manifest-path "$other/Cargo.toml" ||
      die "out of date: cargo update --workspace --manifest-path $other/Cargo.toml"
  done
}

# The library as an embedder has it who switches its features off. That is a build of its own, since the
# engine has fewer features there too; unoptimised, for what these tests do, it takes two minutes of two
# cores once. No warning either: code that only the features use must go with them.
bare_library() {
  RUSTFLAGS="${RUSTFLAGS:+$RUSTFLAGS }-D warnings" cargo test --quiet -p embedder --no-default-features \
    --config 'profile.dev.package."*".opt-level = 0'
}

documentation() { RUSTDOCFLAGS="-D warnings" cargo doc --workspace --all-features --no-deps --quiet; }

need_rust
$fast || need_python

step "formatting" cargo fmt --all --check
step "compilers of other languages" scripts/build_languages.sh --install
step "plugins" scripts/build_wasm_plugins.sh build
step "tests" all_tests
step "doc tests" doc_tests
if ! $fast; then
  step "a client that nobody here wrote" python_client
  step "an engine that nobody here wrote" real_engine
  step "what is deployed, with the programs that read it" deployment
  step "the operators' page" browser
  step "lints" cargo clippy --workspace --all-targets --all-features --quiet -- -D warnings
  step "the library without its features" bare_library
  step "documentation" documentation
  step "lock files of other workspaces" other_lock_files
  step "dependencies" dependencies
fi

if $fast; then
  say "passed, without the Python client, the engine, deploy/, the page, lints, the library without its features, documentation, lock files and dependencies: $summary, $(minutes $SECONDS)"
else
  say "all checks passed: $summary, $(minutes $SECONDS)"
fi
