//! What the features `wasi` and `signatures` of the library are for: with them, and without them
//! (`cargo test -p embedder --no-default-features`).

use sglang_router_rs::config::{Require, TrustRule};
use sglang_router_rs::policies::{
    Load, ModuleBytes, Origin, PluginInfo, PolicyFactory, TrustPolicy, WasmPolicyConfig,
};

const EXPORTS: &str = r#"
  (memory (export "memory") 1)
  (func (export "init"))
  (func (export "alloc") (param i32) (result i32) (i32.const 4096))
  (func (export "dealloc") (param i32 i32))
  (data (i32.const 16) "\01")
  (func (export "select_worker") (param i32 i32) (result i64) (i64.const 0x1000000001))"#;

const RANDOM: &str = r#"(import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))"#;

/// Made by OpenSSL; it has signed nothing here.
const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEA+nsa89EBeVyS0p16ChNGhahdEEExpxexqR6XeIcIYAo=\n\
    -----END PUBLIC KEY-----\n";

/// Loads a module: what came of it.
async fn load(
    factory: &PolicyFactory,
    imports: &str,
    syscalls: &[&str],
    signature: Option<Vec<u8>>,
) -> Result<PluginInfo, String> {
    let wasm = wat::parse_str(format!("(module {imports} {EXPORTS})")).expect("a valid module");
    let mut config = WasmPolicyConfig::new("policy", "policy.wasm");
    config.allowed_syscalls = syscalls.iter().map(ToString::to_string).collect();
    let module = ModuleBytes { wasm, signature, origin: Origin::Push };
    let loaded = factory.load(Load::module(config, module));
    loaded.await.map_err(|error| error.to_string())
}

fn trusting(require: Require) -> PolicyFactory {
    let factory = PolicyFactory::new();
    factory.set_trust(TrustPolicy::new(vec![TrustRule {
        require,
        keys: vec![KEY.to_owned()],
        ..TrustRule::default()
    }]));
    factory
}

/// A signature of nobody: 64 zero bytes, of a hash that no module has.
fn bogus_signature() -> Vec<u8> {
    let one = [&[0, 1, 64][..], &[0; 64]].concat();
    let signed = [&[1][..], &[0; 32], &[1, 67], &one].concat();
    [&[1, 1, 1, 1, 102][..], &signed].concat()
}

#[track_caller]
fn says(refusal: Result<PluginInfo, String>, expected: &str) {
    let refusal = refusal.expect_err("it must be refused");
    assert!(refusal.contains(expected), "{refusal}");
}

#[tokio::test]
async fn plugin_without_system_calls_loads_in_every_build() {
    load(&PolicyFactory::new(), "", &[], None).await.expect("it needs nothing");
}

#[tokio::test]
async fn plugin_with_system_calls_needs_the_feature_wasi_and_is_told_so() {
    let factory = PolicyFactory::new();
    let allowed = load(&factory, RANDOM, &["random_get"], None).await;
    let settings_alone = load(&factory, "", &["random_get"], None).await;
    let module_alone = load(&factory, RANDOM, &[], None).await;
    if cfg!(feature = "wasi") {
        allowed.expect("it is allowed what it imports");
        settings_alone.expect("it may use less");
        says(module_alone, "allowed_syscalls = [\"random_get\"]");
    } else {
        for refusal in [allowed, settings_alone, module_alone] {
            says(refusal, "switch on the feature `wasi`");
        }
    }
}

#[tokio::test]
async fn rule_that_requires_signatures_is_met_in_no_build_by_a_module_without_a_valid_one() {
    for require in [Require::AnyOfKeys, Require::AllOfKeys] {
        let factory = trusting(require);
        let (unsigned, bogus) = if cfg!(feature = "signatures") {
            ("it is not signed", "not among the keys")
        } else {
            ("switch on the feature `signatures`", "switch on the feature `signatures`")
        };
        says(load(&factory, "", &[], None).await, unsigned);
        says(load(&factory, "", &[], Some(bogus_signature())).await, bogus);
    }
}

#[tokio::test]
async fn signed_module_loads_where_no_signature_is_required_and_does_not_count_as_verified() {
    let loaded = load(&trusting(Require::Nothing), "", &[], Some(bogus_signature())).await;
    let loaded = loaded.expect("nobody has to have signed it");
    assert_eq!(format!("{:?}", loaded.provenance.signature), "Unverified");
}

#[tokio::test]
async fn keys_of_a_rule_are_checked_at_the_start() {
    let policy = |require| {
        TrustPolicy::new(vec![TrustRule { require, keys: vec![KEY.to_owned()], ..TrustRule::default() }])
    };
    let found = policy(Require::AnyOfKeys).check_keys().map_err(|fault| fault.to_string());
    if cfg!(feature = "signatures") {
        assert_eq!(found, Ok(1));
    } else {
        assert!(found.expect_err("it cannot be met").contains("switch on the feature `signatures`"));
    }
    policy(Require::Nothing).check_keys().expect("it is met by everything");
}
