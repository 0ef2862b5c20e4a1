//! Pages of policies name what their modules declare and what can be set.

use std::collections::HashMap;
use std::error::Error;

use serde_json::json;
use sgl_policy_abi::Input;
use sglang_router_rs::config::WasmPolicyConfig;
use sglang_router_rs::policies::{Load, PolicyFactory, check_module};

use crate::docs::pages;

/// The page of a policy: that of the documents, or its plugin's own. One that says that something is as of `toll` has
/// what is on that one's, too.
fn page(name: &str) -> String {
    let own = format!("docs/policies/{name}.md");
    let is_there = pages::root().join(&own).exists();
    let text = pages::read(if is_there { own } else { format!("plugins/{name}/README.md") });
    if text.contains("of `toll`") { text + &pages::read("docs/policies/toll.md") } else { text }
}

/// The keys of a module's configuration, as it lists them where it is given another.
async fn keys(name: &str, wasm: &[u8]) -> Vec<String> {
    let config = HashMap::from([("no_such_key".to_owned(), json!(1))]);
    let config = WasmPolicyConfig { config, ..WasmPolicyConfig::new(name, "module.wasm") };
    let Err(error) = PolicyFactory::new().load(Load::bytes(config, wasm.to_vec())).await else {
        // It looks at no configuration at all.
        return Vec::new();
    };
    let mut said = String::new();
    let mut cause: Option<&dyn Error> = Some(&error);
    while let Some(one) = cause {
        said.push_str(&one.to_string());
        cause = one.source();
    }
    let Some((_, known)) = said.split_once("known: ") else {
        assert!(said.contains("there are none"), "{name}: {said}");
        return Vec::new();
    };
    // Causes repeat what came of them.
    let known = known.split("unknown").next().unwrap_or_default();
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_input_and_every_setting_of_a_shipped_policy_is_on_its_page() {
    let (mut missing, mut settings) = (Vec::new(), 0);
    for module in sgl_shipped::MODULES {
        let page = page(module.name);
        let facts = check_module(module.wasm, WasmPolicyConfig::DEFAULT_MEMORY_BYTES, &[]).expect("a module");
        // What nearly all declare is told once, in the guide.
        let is_told =
            |input: &&Input| !matches!(input, Input::Healthy | Input::Excluded | Input::Random | Input::Leg);
        let inputs = facts.manifest.inputs.iter().filter(is_told).map(|input| match input {
            Input::Header(name) | Input::ConfigHeader(name) | Input::Field(name) => name.to_string(),
            other => other.name().into_owned(),
        });
        let keys = keys(module.name, module.wasm).await;
        settings += keys.len();
        let names = inputs.chain(keys);
        missing.extend(
            names.filter(|name| !page.contains(&format!("`{name}`"))).map(|name| (module.name, name)),
        );
    }
    assert!(missing.is_empty(), "{missing:?}");
    assert!(settings > 40, "{settings}");
}
