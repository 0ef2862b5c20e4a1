//! Everything that an operator does with a plugin that is loaded.

use http::StatusCode;
use serde_json::json;
use sgl_testkit::client::with_method;
use sgl_testkit::small_guests::guest_choosing;

use crate::admin::api::{Setup, generation_of, json};

#[tokio::test]
async fn rollback_brings_the_previous_generation_back() {
    let setup = Setup::new().await;
    let before = generation_of(&setup.show("mine").await, "stable");
    setup.put("mine", "", guest_choosing(1)).await;
    assert_eq!(setup.ask().await, "second");
    let answer = setup.post("/v1/plugins/mine/rollback").await;
    assert_eq!(generation_of(&answer.json(), "stable"), before, "{}", answer.text());
    assert_eq!(setup.ask().await, "first");
    let twice = setup.post("/v1/plugins/mine/rollback").await;
    assert_eq!((twice.status, &twice.json()["code"]), (StatusCode::CONFLICT, &json!("nothing_to_roll_back")));
    let promote = setup.post("/v1/plugins/mine/promote").await;
    assert_eq!(
        (promote.status, &promote.json()["code"]),
        (StatusCode::CONFLICT, &json!("nothing_to_promote"))
    );
}

#[tokio::test]
async fn paused_plugin_is_out_of_the_path_until_it_is_resumed() {
    let setup = Setup::new().await;
    assert_eq!(setup.post("/v1/plugins/mine/pause").await.json()["state"], "paused");
    let answers = [setup.ask().await, setup.ask().await];
    assert!(answers.contains(&"second".to_owned()), "round robin decides: {answers:?}");
    assert_eq!(setup.post("/v1/plugins/mine/resume").await.json()["state"], "serving");
    assert_eq!([setup.ask().await, setup.ask().await], ["first", "first"]);
}

#[tokio::test]
async fn changed_settings_are_a_new_generation_of_the_same_module() {
    let setup = Setup::new().await;
    let before = setup.show("mine").await;
    let patch = json!({"max_execution_time_ms": 55, "config": {"a": 1}, "options": {"max_waiting": 7}});
    let answer = setup.admin(json("PATCH", "/v1/plugins/mine/config", &patch)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let after = setup.show("mine").await;
    assert!(generation_of(&after, "stable") > generation_of(&before, "stable"));
    assert_eq!(answer.json()["digest"], before["generations"][0]["digest"]);
    assert_eq!(
        (&after["config"]["max_execution_time_ms"], &after["config"]["config"]),
        (&json!(55), &json!({"a": 1}))
    );
    assert_eq!(after["options"]["max_waiting"], 7);
    let patch = json!({"max_execution_time_ms": null});
    setup.admin(json("PATCH", "/v1/plugins/mine/config", &patch)).await;
    let reset = setup.show("mine").await;
    assert_eq!(
        (&reset["config"]["max_execution_time_ms"], &reset["options"]["max_waiting"]),
        (&json!(10), &json!(7))
    );
    let unknown = setup.admin(json("PATCH", "/v1/plugins/mine/config", &json!({"speed": 1}))).await;
    assert_eq!((unknown.status, &unknown.json()["code"]), (StatusCode::BAD_REQUEST, &json!("bad_settings")));
}

#[tokio::test]
async fn policy_in_use_is_only_unloaded_by_force() {
    let setup = Setup::new().await;
    setup.put("other", "", guest_choosing(1)).await;
    let delete = |path: &str| setup.admin(with_method("DELETE", path));
    assert_eq!(delete("/v1/plugins/other").await.status, StatusCode::NO_CONTENT);
    let refused = delete("/v1/plugins/mine").await;
    assert_eq!((refused.status, &refused.json()["code"]), (StatusCode::CONFLICT, &json!("in_use")));
    assert_eq!(setup.ask().await, "first");
    assert_eq!(delete("/v1/plugins/mine?force=true").await.status, StatusCode::NO_CONTENT);
    // Its failure policy decides, until something is loaded under its name.
    setup.ask().await;
    assert_eq!(setup.put("mine", "", guest_choosing(1)).await.status, StatusCode::CREATED);
    for _ in 0..4 {
        assert_eq!(setup.ask().await, "second");
    }
}

#[tokio::test]
async fn nothing_can_be_done_with_a_plugin_that_is_not_there() {
    let setup = Setup::new().await;
    for (method, path) in [
        ("GET", "/v1/plugins/none"),
        ("DELETE", "/v1/plugins/none"),
        ("POST", "/v1/plugins/none/rollback"),
        ("POST", "/v1/plugins/none/promote"),
        ("POST", "/v1/plugins/none/pause"),
        ("POST", "/v1/plugins/none/resume"),
        ("PATCH", "/v1/plugins/none/config"),
    ] {
        let answer = setup.admin(json(method, path, &json!({}))).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (StatusCode::NOT_FOUND, &json!("plugin_not_found")),
            "{path}"
        );
    }
}
