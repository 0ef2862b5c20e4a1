//! What decides while the policy is out of the path, wherever operators look.

use http::StatusCode;
use serde_json::{Value, json};
use sgl_testkit::client::{call, chat, get};
use sgl_testkit::process::{command, output, stdout};
use sgl_testkit::router;
use sgl_testkit::small_guests::guest_with;
use sgl_testkit::text::answer;

use crate::admin::api::{Setup, json as json_request, options};

async fn policy(setup: &Setup) -> Value {
    setup.admin(get("/v1/policy")).await.json()
}

async fn has(setup: &Setup, line: &str) -> bool {
    router::metrics(&setup.router).await.text().lines().any(|found| found == line)
}

#[tokio::test]
async fn what_decides_while_the_policy_is_out_of_the_path_is_told() {
    let (setup, stand_in) = (Setup::new().await, json!({"because": "paused", "policy": "round_robin"}));
    let share = |policy, kind, role, share: f64| {
        format!("sgl_router_policy_share{{policy=\"{policy}\",kind=\"{kind}\",role=\"{role}\"}} {share:?}")
    };
    assert!(has(&setup, &share("mine", "plugin", "in_use", 1.0)).await);
    assert_eq!(setup.admin(get("/v1/status")).await.json()["policy_stand_in"], Value::Null);
    setup.post("/v1/plugins/mine/pause").await;
    assert_eq!(setup.admin(get("/v1/status")).await.json()["policy_stand_in"], stand_in);
    assert_eq!(policy(&setup).await["stand_in"], stand_in);
    let list = setup.admin(get("/v1/policies")).await.json();
    let mine = list["policies"].as_array().unwrap().iter().find(|one| one["name"] == "mine").unwrap();
    assert_eq!(mine["stand_in"], stand_in);
    assert!(has(&setup, &share("mine", "plugin", "in_use", 0.0)).await);
    assert!(has(&setup, &share("round_robin", "built_in", "fallback", 1.0)).await);
    let admin = format!("http://{}", setup.router.addresses().admin);
    for (arguments, expected) in [
        (&["status"][..], "policy mine (plugin; paused: round_robin decides)"),
        (&["policy", "show"], "policy mine (plugin; paused: round_robin decides)"),
        (&["policy", "list"], "in use (paused: round_robin decides)"),
    ] {
        let output = output(command(&[arguments, &["--admin-url", &admin]].concat())).await;
        assert!(stdout(&output).contains(expected), "{expected} is not in {}", stdout(&output));
    }
    setup.post("/v1/plugins/mine/resume").await;
    assert!(has(&setup, &share("mine", "plugin", "in_use", 1.0)).await);
    assert_eq!(policy(&setup).await["stand_in"], Value::Null);
}

#[tokio::test]
async fn policy_whose_breaker_is_open_is_told_of_too() {
    let setup = Setup::new().await;
    // It always chooses a worker that is not there.
    let wrong = guest_with(r#"(data (i32.const 16) "\64")"#, &answer(16, 1));
    let refusing = json!({"self_test": false, "breaker": {"failures": 1}, "on_failure": "reject"});
    let pushed = setup.put("bad", &options(&refusing), wrong).await;
    assert_eq!(pushed.status, StatusCode::CREATED, "{}", pushed.text());
    call(setup.router.addresses().admin, json_request("PUT", "/v1/policy", &json!({"name": "bad"}))).await;
    assert_eq!(policy(&setup).await["stand_in"], Value::Null);
    call(setup.router.addresses().data, chat("hi")).await;
    let stand_in = json!({"because": "breaker_open", "policy": null});
    assert_eq!(policy(&setup).await["stand_in"], stand_in);
}
