//! Names that the code knows are in the documents: inputs, options, flags, causes, system calls; and
//! those of inputs also in the dictionaries of fuzzers.

use clap::Args;
use sgl_policy_abi::Input;
use sgl_router::cli::ServeArgs;
use sgl_router::cli::calibrate::CalibrateArgs;
use sgl_router::cli::load::LoadArgs;
use sgl_router::cli::picker::PickerArgs;
use sgl_router::cli::simulate::SimulateArgs;
use sgl_router::config::{RouterConfig, TokenizerEntry, WorkerEntry};
use sgl_simulate::engine::EngineModel;
use sglang_router_rs::config::KNOWN_SYSCALLS;
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
fn every_input_is_in_the_abi_in_the_guide_and_among_the_signals() {
    let prefixed = ["header:<name>", "config_header:<key>", "field:<JSON pointer>", "query:<name>"];
    let names = || Input::named().map(|input| input.static_name().to_owned());
    assert_names("docs/plugin-abi.md", "inputs", names().chain(prefixed.map(str::to_owned)));
    let variant = |input: Input| match input {
        Input::Column(column) => format!("{column:?}"),
        other => format!("{other:?}"),
    };
    assert_names("docs/wasm_plugins.md", "inputs", Input::named().map(variant));
    // A section there is about one or several; tables name the others.
    let page = pages::read("docs/signals.md");
    let heads: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("### ")).flat_map(|head| head.split(", ")).collect();
    let untold = names().filter(|name| !heads.contains(&name.as_str()));
    assert_names("docs/signals.md", "inputs", untold.chain(prefixed.map(str::to_owned)));
}

#[test]
fn every_input_is_in_the_dictionaries_of_the_fuzzers_that_write_manifests() {
    // A short text of MessagePack: one byte says so and how long it is.
    let word = |input: Input| format!("\"\\x{:x}{}\"", 0xa0 + input.static_name().len(), input.static_name());
    for dictionary in ["fuzz/dictionaries/guest_answers", "fuzz/dictionaries/module_bytes"] {
        let words = pages::read(dictionary);
        let missing: Vec<String> =
            Input::named().map(word).filter(|word| !words.lines().any(|line| line == word)).collect();
        assert!(missing.is_empty(), "{dictionary} has no {missing:?}");
    }
}

#[test]
fn every_key_of_the_configuration_is_in_the_dictionaries_of_the_fuzzers_that_read_it() {
    let json = |value: Result<serde_json::Value, serde_json::Error>| keys(&value.expect("a map"), "");
    let mut plugin = json(serde_json::to_value(WasmPolicyConfig::new("n", "m")));
    plugin.extend(json(serde_json::to_value(PluginOptions::default())));
    let worker = json(serde_json::to_value(WorkerEntry::default()));
    let tokenizer = json(serde_json::to_value(TokenizerEntry::default()));
    let config = json(serde_json::to_value(RouterConfig::default()));
    let words = pages::read("fuzz/dictionaries/config_files");
    let all = [&plugin, &worker, &tokenizer, &config].into_iter().flatten().flat_map(|key| key.split('.'));
    // Alone, or as the head of its table.
    let is_there = |key: &&str| words.contains(&format!("\"{key}\"")) || words.contains(&format!("[{key}]"));
    let missing: Vec<&str> = all.filter(|key| !is_there(key)).collect();
    assert!(missing.is_empty(), "config_files has no {missing:?}");
    let words = pages::read("fuzz/dictionaries/admin_bodies");
    let all = plugin.iter().chain(&worker).flat_map(|key| key.split('.'));
    let missing: Vec<&str> = all.filter(|key| !words.contains(&format!("\\\"{key}\\\":"))).collect();
    assert!(missing.is_empty(), "admin_bodies has no {missing:?}");
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

#[test]
fn every_flag_of_calibrate_is_in_its_section_of_the_page() {
    let page = pages::read("docs/simulate.md");
    let rest = page.split("## Measuring an engine").nth(1).expect("the section");
    let section = rest.split("\n## ").next().unwrap_or_default();
    assert_flags(section, &CalibrateArgs::augment_args(clap::Command::new("calibrate")));
}

#[test]
fn every_flag_that_only_the_picker_has_is_on_its_page() {
    let names = |command: clap::Command| -> Vec<String> {
        command.get_arguments().filter_map(|flag| flag.get_long()).map(|flag| format!("--{flag}")).collect()
    };
    let of_serve = names(ServeArgs::augment_args(clap::Command::new("serve")));
    let own = names(PickerArgs::augment_args(clap::Command::new("picker")));
    let own: Vec<String> = own.into_iter().filter(|flag| !of_serve.contains(flag)).collect();
    let page = pages::read("docs/envoy.md");
    let missing: Vec<&String> = own.iter().filter(|flag| !page.contains(&format!("| `{flag}"))).collect();
    assert!(own.len() == 3 && missing.is_empty(), "{missing:?} of {own:?}");
}

fn assert_flags(page: &str, command: &clap::Command) {
    let shown = command.get_arguments().filter(|flag| !flag.is_hide_set());
    let flags: Vec<String> =
        shown.filter_map(|flag| flag.get_long()).map(|flag| format!("--{flag}")).collect();
    assert!(flags.len() > 10, "{flags:?}");
    let missing: Vec<&String> = flags
        .iter()
        .filter(|flag| !page.contains(&format!("`{flag}`")) && !page.contains(&format!("`{flag} ")))
        .collect();
    assert!(missing.is_empty(), "the documents do not name these flags: {missing:?}");
}
