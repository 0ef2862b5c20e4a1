//! Loading and replacing.

use http::StatusCode;
use serde_json::{Value, json};
use sgl_testkit::client::get;
use sgl_testkit::small_guests::guest_choosing;

use crate::admin::api::{Setup, generation_of, json, options, put};

#[tokio::test]
async fn upload_replaces_what_serves_and_keeps_its_settings() {
    let setup = Setup::new().await;
    assert_eq!(setup.ask().await, "first");
    let before = setup.show("mine").await;
    let pushed = setup.put("mine", "max_execution_time_ms=77", guest_choosing(1)).await;
    assert_eq!(pushed.status, StatusCode::OK, "{}", pushed.text());
    assert_eq!(setup.ask().await, "second");
    let after = setup.show("mine").await;
    assert_eq!(generation_of(&after, "stable"), pushed.json()["generation"].as_u64());
    assert_eq!(generation_of(&after, "previous"), generation_of(&before, "stable"));
    assert_eq!((&after["state"], &after["in_use"]), (&json!("probation"), &json!(true)));
    assert_eq!(after["config"]["max_execution_time_ms"], 77);
    assert_eq!(after["config"]["max_memory_bytes"], before["config"]["max_memory_bytes"]);
    assert_eq!(pushed.json()["rollout"], "immediate");
}

#[tokio::test]
async fn upload_under_a_new_name_is_a_new_plugin() {
    let setup = Setup::new().await;
    let pushed = setup.put("other", "", guest_choosing(1)).await;
    assert_eq!((pushed.status, &pushed.json()["created"]), (StatusCode::CREATED, &json!(true)));
    let list = setup.admin(get("/v1/plugins")).await.json();
    let shown: Vec<(&str, bool)> = list["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["in_use"].as_bool().unwrap()))
        .collect();
    assert_eq!(shown, [("mine", true), ("other", false)]);
    assert_eq!(setup.ask().await, "first");
}

#[tokio::test]
async fn steps_are_streamed_in_their_order_and_the_result_comes_last() {
    let setup = Setup::new().await;
    let mut request = put("/v1/plugins/mine", guest_choosing(1));
    request.headers_mut().insert("accept", "application/x-ndjson".parse().unwrap());
    let answer = setup.admin(request).await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let lines: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let steps: Vec<&str> = lines.iter().filter_map(|line| line["step"].as_str()).collect();
    assert_eq!(steps, ["read", "verify", "compile", "self_test", "warm", "swap", "drain"]);
    let times: Vec<u64> = lines.iter().filter_map(|line| line["elapsed_ms"].as_u64()).collect();
    assert!(times.len() == steps.len() && times.is_sorted(), "{times:?}");
    assert_eq!(lines.last().unwrap()["result"]["name"], "mine");

    let mut refused = put("/v1/plugins/mine", b"nonsense".to_vec());
    refused.headers_mut().insert("accept", "application/x-ndjson".parse().unwrap());
    let answer = setup.admin(refused).await;
    let last: Value = serde_json::from_str(answer.text().lines().last().unwrap()).unwrap();
    assert_eq!(last["problem"]["code"], "not_wasm", "{last}");
}

#[tokio::test]
async fn file_is_loaded_by_name_but_never_from_outside_the_plugin_directory() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("plugins");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("b.wasm"), guest_choosing(1)).unwrap();
    std::fs::write(root.path().join("secret.wasm"), guest_choosing(1)).unwrap();
    let setup = Setup::with(|config| config.plugin_dir = Some(dir)).await;
    let named =
        |file: &str| json("PUT", "/v1/plugins/mine", &json!({"file": file, "options": {"min_warm": 1}}));
    for (file, status, code) in [
        ("../secret.wasm", StatusCode::BAD_REQUEST, "outside_plugin_dir"),
        ("/etc/passwd", StatusCode::BAD_REQUEST, "outside_plugin_dir"),
        ("missing.wasm", StatusCode::NOT_FOUND, "file_not_found"),
    ] {
        let answer = setup.admin(named(file)).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (status, Some(code)), "{file}");
    }
    assert_eq!(setup.ask().await, "first");
    let answer = setup.admin(named("b.wasm")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(setup.ask().await, "second");
    assert_eq!(setup.show("mine").await["options"]["min_warm"], 1);
    let without = Setup::new().await;
    let answer = without.admin(named("b.wasm")).await;
    assert_eq!((answer.status, &answer.json()["code"]), (StatusCode::CONFLICT, &json!("no_plugin_dir")));
}

#[tokio::test]
async fn pinned_digest_belongs_to_its_load_only() {
    let setup = Setup::new().await;
    let wrong = options(&json!({"digest": "0".repeat(64)}));
    let refused = setup.put("mine", &wrong, guest_choosing(1)).await;
    assert_eq!(refused.json()["code"], "digest_mismatch", "{}", refused.text());
    let digest = setup.put("mine", "", guest_choosing(1)).await.json()["digest"].as_str().unwrap().to_owned();
    let pinned = setup.put("mine", &options(&json!({"digest": digest})), guest_choosing(1)).await;
    assert_eq!(pinned.status, StatusCode::OK, "{}", pinned.text());
    assert_eq!(setup.put("mine", "", guest_choosing(0)).await.status, StatusCode::OK);
}
