//! Names that the code knows are in the documents: options, flags, causes, system calls; and those of
//! columns also in the dictionaries of fuzzers.

use clap::Args;
use sgl_router::cli::ServeArgs;
use sgl_router::cli::load::LoadArgs;
use sgl_router::cli::simulate::SimulateArgs;
use sgl_simulate::engine::EngineModel;
use sglang_router_rs::config::KNOWN_SYSCALLS;
use sglang_router_rs::core::Column;
use sglang_router_rs::policies::{FailureCause, NativePolicy, PluginOptions, WasmPolicyConfig};

use crate::docs::pages;

/// Asserts that the document has each of the names between backticks.
fn assert_names(document: &str, what: &str, names: impl IntoIterator<Item = String>) {
    let page = pages::read(document);
    let missing: Vec<String> =
        names.into_iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "{document} does not name these {what}: {missing:?}");
}

/// The keys of a serialised value; those of a map inside it with a dot.
fn keys(value: &serde_json::Value, within: &str) -> Vec<String> {
    let map = value.as_object().into_iter().flatten();
    let key = |(key, value): (&String, &serde_json::Value)| {
        let inner = keys(value, &format!("{within}{key}."));
        if inner.is_empty() { vec![format!("{within}{key}")] } else { inner }
    };
    map.flat_map(key).collect()
}

#[test]
fn every_column_is_in_the_abi_and_in_the_guide() {
    let names = Column::ALL.map(|column| column.name().to_owned());
    assert_names("docs/plugin-abi.md", "columns", names);
    let inputs = Column::ALL.map(|column| format!("{column:?}"));
    assert_names("docs/wasm_plugins.md", "inputs", inputs);
}

#[test]
fn every_column_is_in_the_dictionaries_of_the_fuzzers_that_write_manifests() {
    // A short text of MessagePack: one byte says so and how long it is.
    let word = |column: Column| format!("\"\\x{:x}{}\"", 0xa0 + column.name().len(), column.name());
    for dictionary in ["fuzz/dictionaries/guest_answers", "fuzz/dictionaries/module_bytes"] {
        let words = pages::read(dictionary);
        let missing: Vec<String> = Column::ALL
            .map(word)
            .into_iter()
            .filter(|word| !words.lines().any(|line| line == word))
            .collect();
        assert!(missing.is_empty(), "{dictionary} has no {missing:?}");
    }
}

#[test]
fn every_field_and_option_of_a_plugin_is_in_the_guide() {
    let config = serde_json::to_value(WasmPolicyConfig::new("n", "m")).expect("a map");
    let options = serde_json::to_value(PluginOptions::default()).expect("a map");
    let fields = keys(&config, "");
    assert_eq!(fields.len(), 6);
    assert_names("docs/wasm_plugins.md", "fields", fields);
    let page = pages::read("docs/wasm_plugins.md");
    for option in keys(&options, "") {
        let last = option.rsplit('.').next().unwrap_or_default();
        let named = page.contains(&format!("`{option}`")) || page.contains(&format!("`{last}`"));
        assert!(named, "docs/wasm_plugins.md does not name the option {option}");
    }
}

#[test]
fn every_cause_built_in_policy_and_system_call_is_in_the_guide() {
    let causes = FailureCause::ALL.map(|cause| cause.as_str().to_owned());
    assert_names("docs/wasm_plugins.md", "causes", causes);
    assert_names("docs/wasm_plugins.md", "policies", NativePolicy::NAMES.map(str::to_owned));
    assert_names("docs/operations.md", "policies", NativePolicy::NAMES.map(str::to_owned));
    assert_names("docs/wasm_plugins.md", "system calls", KNOWN_SYSCALLS.map(str::to_owned));
}

#[test]
fn every_flag_of_serve_is_in_the_operations_guide() {
    let page = pages::read("docs/operations.md");
    assert_flags(&page, &ServeArgs::augment_args(clap::Command::new("serve")));
}

#[test]
fn every_flag_of_load_is_in_its_section_of_the_operations_guide() {
    let page = pages::read("docs/operations.md");
    let rest = page.split("## Load-test a router").nth(1).expect("the section");
    let section = rest.split("\n## ").next().unwrap_or_default();
    assert_flags(section, &LoadArgs::augment_args(clap::Command::new("load")));
}

#[test]
fn every_flag_of_simulate_and_every_number_of_its_model_is_in_its_page() {
    assert_flags(
        &pages::read("docs/simulate.md"),
        &SimulateArgs::augment_args(clap::Command::new("simulate")),
    );
    let model = serde_json::to_value(EngineModel::default()).expect("a map");
    assert_names("docs/simulate.md", "numbers", keys(&model, ""));
}

fn assert_flags(page: &str, command: &clap::Command) {
    let flags: Vec<String> =
        command.get_arguments().filter_map(|flag| flag.get_long()).map(|flag| format!("--{flag}")).collect();
    assert!(flags.len() > 15, "{flags:?}");
    let missing: Vec<&String> = flags
        .iter()
        .filter(|flag| !page.contains(&format!("`{flag}`")) && !page.contains(&format!("`{flag} ")))
        .collect();
    assert!(missing.is_empty(), "the documents do not name these flags: {missing:?}");
}
