//! The policies that the router brings along: they serve by their names, and are replaced like others.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use sgl_testkit::client::{call, get, with_method};
use sgl_testkit::modules;
use sgl_testkit::process::{FREE_PORTS, Process, command, output, stderr, stdout};
use sgl_testkit::small_guests::guest_choosing;
use sha2::{Digest, Sha256};

use crate::admin::api::put;

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn show(router: &Process, name: &str) -> Value {
    call(router.admin, get(&format!("/v1/plugins/{name}"))).await.json()
}

/// Kind of origin and digest of the generation that decides.
async fn serving(router: &Process, name: &str) -> (String, String) {
    let view = show(router, name).await;
    let generations = view["generations"].as_array().unwrap_or_else(|| panic!("{view}"));
    let stable = generations.iter().find(|one| one["role"] == "stable").expect("a stable one");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    (text(&stable["provenance"]["origin"]["kind"]), text(&stable["digest"]))
}

fn digest(name: &str) -> String {
    sgl_shipped::module(name).expect("an embedded module").digest.to_owned()
}

#[tokio::test]
async fn each_plugin_of_this_repository_is_embedded_as_it_was_built() {
    let listed = output(command(&["plugin", "list", "--embedded", "--json"])).await;
    let listed: Value = serde_json::from_str(&stdout(&listed)).unwrap();
    let modules = listed["modules"].as_array().unwrap();
    let names: Vec<&str> = modules.iter().map(|module| module["name"].as_str().unwrap()).collect();
    assert_eq!(names, modules::shipped(), "run scripts/build_wasm_plugins.sh build, then build the router");
    let (table, version) =
        (output(command(&["plugin", "list", "--embedded"])).await, output(command(&["--version"])).await);
    let (table, version) = (stdout(&table), stdout(&version));
    assert!(version.starts_with(concat!("sgl-router ", env!("CARGO_PKG_VERSION"), "\n")), "{version}");
    for (name, module) in names.iter().zip(modules) {
        let digest = sha256(&modules::plugin(name));
        assert_eq!(module["digest"], digest.as_str(), "{name} was built after the router");
        assert!(table.contains(&digest) && version.contains(&format!("{name} sha256:{digest}")), "{name}");
        assert!(module["version"].as_str().is_some_and(|version| !version.is_empty()), "{name}");
    }
    let short = stdout(&output(command(&["-V"])).await);
    assert_eq!(short.lines().count(), 1, "{short}");
}

/// Runs `plugin` against a router; gives the exit code and standard error.
async fn plugin_at(router: &Process, arguments: &[&str]) -> (i32, String) {
    let admin = format!("http://{}", router.admin);
    let output = output(command(&[&["plugin", "--admin-url", admin.as_str()], arguments].concat())).await;
    (output.status.code().expect("a code"), stderr(&output))
}

#[tokio::test]
async fn module_that_is_left_settings_of_flags_says_whence_they_come_and_how_to_come_back() {
    let router = Process::serve(&["--policy", "cache_aware", "--cache-threshold", "0.3"]).await;
    let push = ["push", "embedded:toll", "--name", "cache_aware"];
    let (code, said) = plugin_at(&router, &[&push[..], &["--canary", "5"]].concat()).await;
    assert_eq!(code, 1, "{said}");
    for part in ["`cache_threshold`", "come from the plugin that serves under this name", "--config KEY=null"]
    {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let without = ["--config", "cache_threshold=null"];
    let (code, said) = plugin_at(&router, &[&push[..], &["--canary", "5"], &without].concat()).await;
    assert_eq!(code, 0, "{said}");

    // Without a probation nothing is warm at once.
    let settled = ["--options", r#"{"probation": {"secs": 0}}"#];
    let (code, said) = plugin_at(&router, &[&push[..], &without, &settled].concat()).await;
    assert_eq!(code, 0, "{said}");
    let (code, said) = plugin_at(&router, &["rollback", "cache_aware"]).await;
    let command = "`sgl-router plugin push embedded:cache_aware --name cache_aware`";
    assert!(code == 1 && said.contains(command), "{said}");
}

#[tokio::test]
async fn embedded_policy_serves_without_a_file_and_is_replaced_and_rolled_back() {
    let router = Process::serve(&["--policy", "cache_aware"]).await;
    let embedded = ("embedded".to_owned(), digest("cache_aware"));
    assert_eq!(serving(&router, "cache_aware").await, embedded);
    assert_eq!(show(&router, "cache_aware").await["in_use"], true);
    let admin = format!("http://{}", router.admin);
    let plugin = async |arguments: &[&str]| {
        let mut command = command(&["plugin", "--admin-url", &admin]);
        command.args(arguments);
        let output = output(command).await;
        (output.status.code(), stdout(&output) + &stderr(&output))
    };
    let (_, list) = plugin(&["list"]).await;
    assert!(list.contains("embedded") && list.contains(&embedded.1[..12]), "{list}");
    let (_, text) = plugin(&["show", "cache_aware"]).await;
    assert!(text.contains("embedded in the program") && text.contains(&embedded.1), "{text}");
    let pushed = call(router.admin, put("/v1/plugins/cache_aware", guest_choosing(0))).await;
    assert!(pushed.status.is_success(), "{}", pushed.text());
    assert_eq!(serving(&router, "cache_aware").await.0, "push");
    // The files of the configuration have not changed.
    router.signal("-HUP");
    call(router.admin, with_method("POST", "/v1/plugins/cache_aware/rollback")).await;
    assert_eq!(serving(&router, "cache_aware").await, embedded);
    let (code, text) = plugin(&["push", "embedded:toll", "--name", "cache_aware"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(serving(&router, "cache_aware").await, ("embedded".to_owned(), digest("toll")));
    let (code, text) = plugin(&["push", "embedded:late"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(serving(&router, "late").await.1, digest("late"));
    let (code, text) = plugin(&["push", "embedded:nobody"]).await;
    assert!(code == Some(1) && text.contains("cache_aware"), "{text}");
    assert_eq!(plugin(&["push", "embedded:toll", "--signature", "x"]).await.0, Some(2));
}

#[tokio::test]
async fn files_and_what_was_pushed_go_before_an_embedded_policy_of_their_name() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(at("dir")).unwrap();
    std::fs::write(at("dir/toll.wasm"), guest_choosing(0)).unwrap();
    let own = sha256(&guest_choosing(0));
    for arguments in [["--plugin", &format!("toll={}", at("dir/toll.wasm"))], ["--plugin-dir", &at("dir")]] {
        let router = Process::serve(&[&["--policy", "toll"], &arguments[..]].concat()).await;
        assert_eq!(serving(&router, "toll").await, ("file".to_owned(), own.clone()));
    }
    let router = Process::serve(&["--policy", "mine", "--plugin", "mine=embedded:toll"]).await;
    assert_eq!(serving(&router, "mine").await.1, digest("toll"));
    let state = ["--policy", "toll", "--state-dir", &at("state")];
    let router = Process::serve(&state).await;
    assert_eq!(serving(&router, "toll").await.1, digest("toll"));
    let pushed = call(router.admin, put("/v1/plugins/toll", guest_choosing(1))).await.json();
    assert_eq!(pushed["after_restart"], "kept", "{pushed}");
    router.kill();
    let router = Process::serve(&state).await;
    assert_eq!(serving(&router, "toll").await, ("push".to_owned(), sha256(&guest_choosing(1))));
}

/// What serves as `toll` with this configuration and these arguments.
async fn with_config(dir: &Path, config: &str, arguments: &[&str]) -> Value {
    let file = dir.join("router.toml");
    std::fs::write(&file, config).unwrap();
    let router = Process::serve(&[&["--config", file.to_str().unwrap()], arguments].concat()).await;
    show(&router, "toll").await
}

#[tokio::test]
async fn settings_of_an_embedded_policy_need_no_path_and_rules_about_signatures_do_not_bind_it() {
    let root = tempfile::tempdir().unwrap();
    let config = "policy = \"toll\"\n[[plugins]]\nname = \"toll\"\nconfig = { kappa = 4 }\n";
    let view = with_config(root.path(), config, &[]).await;
    assert_eq!(view["config"]["config"], json!({"kappa": 4}));
    assert_eq!(view["config"]["module_path"], "embedded:toll");
    let key = output(command(&["plugin", "keygen", root.path().join("key").to_str().unwrap()])).await;
    assert!(key.status.success(), "{}", stderr(&key));
    let trust = format!("[[trust]]\nkeys = [{:?}]\n", root.path().join("key.pub").to_str().unwrap());
    let view = with_config(root.path(), &trust, &["--policy", "toll"]).await;
    assert_eq!(view["generations"][0]["provenance"]["signature"], "absent", "{view}");
}

#[tokio::test]
async fn flags_set_single_settings_of_the_policy_wherever_it_comes_from() {
    let root = tempfile::tempdir().unwrap();
    let flags = ["--policy", "toll", "--policy-config", "kappa=3"];
    let kappa = |view: Value| view["config"]["config"].clone();
    assert_eq!(kappa(with_config(root.path(), "", &flags).await), json!({"kappa": 3}));
    let config = "[[plugins]]\nname = \"toll\"\nconfig = { kappa = 4, tokens_per_s = 900 }\n";
    let view = with_config(root.path(), config, &flags).await;
    assert_eq!(kappa(view), json!({"kappa": 3, "tokens_per_s": 900}));
    std::fs::create_dir(root.path().join("dir")).unwrap();
    std::fs::write(root.path().join("dir/toll.wasm"), modules::plugin("toll")).unwrap();
    std::fs::write(root.path().join("dir/toll.toml"), "[config]\nkappa = 5\ntokens_per_s = 800\n").unwrap();
    let dir = root.path().join("dir");
    let in_dir = [&flags[..], &["--plugin-dir", dir.to_str().unwrap()]].concat();
    assert_eq!(kappa(with_config(root.path(), "", &in_dir).await), json!({"kappa": 3, "tokens_per_s": 800}));
    let state = root.path().join("state");
    let kept = ["--policy", "toll", "--state-dir", state.to_str().unwrap()];
    let router = Process::serve(&kept).await;
    let path = "/v1/plugins/toll?config=%7B%22kappa%22:6,%22tokens_per_s%22:700%7D";
    let pushed = call(router.admin, put(path, modules::plugin("toll"))).await;
    assert!(pushed.status.is_success(), "{}", pushed.text());
    router.kill();
    let router = Process::serve(&[&kept[..], &["--policy-config", "kappa=3"]].concat()).await;
    assert_eq!(kappa(show(&router, "toll").await), json!({"kappa": 3, "tokens_per_s": 700}));
}

#[tokio::test]
async fn faults_of_settings_of_the_policy_name_the_keys_and_the_page() {
    for (flags, expected) in [
        (&["toll", "--policy-config", "kappa"][..], "--policy-config: found \"kappa\"; allowed: KEY=VALUE"),
        (&["toll", "--policy-config", "a=1", "--policy-config", "a=2"], "--policy-config: found \"a\" twice"),
        (&["random", "--policy-config", "a=1"], "--policy-config: found \"a\"; allowed: nothing: random is"),
        (&["toll", "--policy-config", "kapa=1"], "policy toll (its settings: docs/policies/toll.md)"),
        (&["toll", "--policy-config", "kapa=1"], "`kapa`; known: `kappa`, `tokens_per_s`"),
        (&["toll", "--policy-config", "kappa=x"], "`kappa` is `x`; expected a number from 0 to 100"),
    ] {
        let ended = output(command(&[&["serve", "--policy"], flags, &FREE_PORTS].concat())).await;
        let said = stderr(&ended);
        assert!(ended.status.code() == Some(1) && said.contains(expected), "{expected}: {said}");
    }
}

#[tokio::test]
async fn list_of_the_state_directory_makes_no_module_an_embedded_one() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let arguments = ["--policy", "toll", "--state-dir", &at("state")];
    let router = Process::serve(&arguments).await;
    let pushed = call(router.admin, put("/v1/plugins/toll", guest_choosing(1))).await;
    assert!(pushed.status.is_success(), "{}", pushed.text());
    router.kill();
    let list = std::fs::read_to_string(at("state/plugins")).unwrap();
    let forged = list.split_once('\n').unwrap().1.replace(r#""kind": "push""#, r#""kind": "embedded""#);
    assert!(forged.contains("embedded"), "{forged}");
    std::fs::write(at("state/plugins"), format!("sha256:{}\n{forged}", sha256(forged.as_bytes()))).unwrap();
    output(command(&["plugin", "keygen", &at("key")])).await;
    std::fs::write(at("router.toml"), format!("[[trust]]\nkeys = [{:?}]\n", at("key.pub"))).unwrap();
    let ended =
        output(command(&[&["serve", "--config", &at("router.toml")], &arguments[..], &FREE_PORTS].concat()))
            .await;
    assert!(ended.status.code() == Some(1) && stderr(&ended).contains("sign"), "{}", stderr(&ended));
}

#[tokio::test]
async fn unknown_policy_is_refused_with_all_that_there_are() {
    let arguments = ["serve", "--policy", "nobody", "--plugin", "own=x.wasm"];
    let ended = output(command(&arguments)).await;
    let said = stderr(&ended);
    let expected = r#"policy (--policy): found "nobody"; allowed: one of random, round_robin, power_of_two"#;
    assert!(ended.status.code() == Some(1) && said.contains(expected), "{said}");
    let embedded = format!(
        "(built in); {} (embedded); own (plugins); manual, consistent_hashing, rendezvous_hash, prefix_hash (names of \
         other routers)",
        sgl_shipped::names().join(", ")
    );
    assert!(said.contains(&embedded), "{said}");
    let ended = output(command(&["serve", "--plugin", "own=embedded:nobody"])).await;
    let said = stderr(&ended);
    assert!(said.contains("plugins[0].module_path (--plugin)") && said.contains("toll"), "{said}");
}

#[cfg(feature = "tools")]
#[tokio::test]
async fn every_embedded_policy_is_simulated_by_its_name() {
    let root = tempfile::tempdir().unwrap();
    let trace = root.path().join("trace.jsonl");
    let line = |at: usize| {
        let hash_ids: Vec<usize> = vec![at % 7, at + 10];
        json!({"timestamp": at * 100, "input_length": 1024, "output_length": 8, "hash_ids": hash_ids})
    };
    let lines: BTreeMap<usize, String> = (0..50).map(|at| (at, format!("{}\n", line(at)))).collect();
    std::fs::write(&trace, lines.into_values().collect::<String>()).unwrap();
    let mut arguments = vec!["simulate", "--trace", trace.to_str().unwrap(), "--json"];
    for name in sgl_shipped::names() {
        arguments.extend(["--policy", name]);
    }
    let done = output(command(&arguments)).await;
    assert!(done.status.success(), "{}", stderr(&done));
    let report = stdout(&done);
    for name in sgl_shipped::names() {
        assert!(report.contains(&format!("\"{name}\"")), "{name} is missing in {report}");
    }
}
