//! Canaries and shadows over HTTP, with real traffic.

use serde_json::json;
use sgl_testkit::router;
use sgl_testkit::small_guests::{guest_choosing, guest_with};
use sgl_testkit::text::answer;
use sgl_testkit::waits::until;

use crate::admin::api::{Setup, generation_of, json, options};

fn canary() -> serde_json::Value {
    // Bounds on time are for the benchmarks: nothing here may depend on the machine's speed.
    json!({"self_test": false, "rollout": {"mode": "canary", "percent": 50.0, "min_secs": 0,
           "min_decisions": 40, "max_p99_ratio": 1000.0, "p99_slack_us": 60_000_000}})
}

#[tokio::test]
async fn good_canary_is_promoted_under_traffic() {
    let setup = Setup::new().await;
    let pushed = setup.put("mine", &options(&canary()), guest_choosing(1)).await;
    assert_eq!(pushed.json()["rollout"], "canary", "{}", pushed.text());
    let candidate = pushed.json()["generation"].as_u64();
    let view = setup.show("mine").await;
    assert_eq!((&view["state"], &view["canary_percent"]), (&json!("canary"), &json!(50.0)));
    let page = router::metrics(&setup.router).await;
    assert!(page.text().contains(r#"sgl_router_plugin_canary_share{plugin="mine"} 0.5"#), "{}", page.text());
    until(async || {
        setup.ask().await;
        generation_of(&setup.show("mine").await, "stable") == candidate
    })
    .await;
    assert_eq!(setup.ask().await, "second");
    let line = format!(
        r#"sgl_router_plugin_generation_decisions_total{{plugin="mine",generation="{}"}}"#,
        candidate.unwrap()
    );
    let page = router::metrics(&setup.router).await;
    assert!(page.text().contains(&line), "{line} is missing in\n{}", page.text());
    assert!(page.text().contains(r#"sgl_router_plugin_swaps_total{plugin="mine"} 1"#));
}

#[tokio::test]
async fn canary_that_chooses_nobody_is_rolled_back_and_no_client_sees_it() {
    let setup = Setup::new().await;
    let stable = generation_of(&setup.show("mine").await, "stable");
    let wrong = guest_with(r#"(data (i32.const 16) "\64")"#, &answer(16, 1));
    let pushed = setup.put("mine", &options(&canary()), wrong).await;
    assert_eq!(pushed.json()["rollout"], "canary", "{}", pushed.text());
    until(async || {
        setup.ask().await;
        setup.show("mine").await["state"] == "serving"
    })
    .await;
    let view = setup.show("mine").await;
    assert_eq!((generation_of(&view, "stable"), &view["rollbacks"]), (stable, &json!(1)));
    assert!(view["last_event"].as_str().unwrap().contains("failure rate"), "{view}");
}

#[tokio::test]
async fn change_of_settings_says_which_canary_it_ends() {
    let setup = Setup::new().await;
    let on_trial = json!({"rollout": {"mode": "canary", "percent": 1.0}});
    let pushed = setup.put("mine", &options(&on_trial), guest_choosing(1)).await.json();
    assert_eq!(pushed["displaced"], json!(null));
    let patch = json!({"max_execution_time_ms": 55});
    let answer = setup.admin(json("PATCH", "/v1/plugins/mine/config", &patch)).await;
    assert_eq!(answer.json()["displaced"], pushed["generation"], "{}", answer.text());
    let page = router::metrics(&setup.router).await;
    assert!(page.text().contains(r#"sgl_router_plugin_rollbacks_total{plugin="mine"} 1"#), "{}", page.text());
}

#[tokio::test]
async fn shadow_reports_its_disagreement_exactly_and_is_promoted_by_hand() {
    let setup = Setup::new().await;
    let shadow = options(&json!({"rollout": {"mode": "shadow", "every": 1}}));
    let pushed = setup.put("mine", &shadow, guest_choosing(1)).await;
    assert_eq!(pushed.json()["rollout"], "shadow", "{}", pushed.text());
    for _ in 0..10 {
        assert_eq!(setup.ask().await, "first");
    }
    until(async || setup.show("mine").await["shadow"]["compared"] == 10).await;
    let report = setup.show("mine").await["shadow"].clone();
    assert_eq!((&report["agreed"], &report["agreement_rate"]), (&json!(0), &json!(0.0)));
    let page = router::metrics(&setup.router).await;
    assert!(page.text().contains(r#"sgl_router_plugin_shadow_compared_total{plugin="mine"} 10"#));
    let promoted = setup.post("/v1/plugins/mine/promote").await;
    assert_eq!(promoted.status.as_u16(), 200, "{}", promoted.text());
    assert_eq!(setup.ask().await, "second");
}
