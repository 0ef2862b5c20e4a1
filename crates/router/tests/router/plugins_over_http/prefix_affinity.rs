//! Requests that begin alike go to the same worker, unless it is overloaded.

use std::collections::BTreeMap;

use serde_json::json;

use crate::plugins_over_http::answer::Form;
use crate::plugins_over_http::client::CHAT;
use crate::plugins_over_http::stage::{PluginConfig, Stage};
use crate::plugins_over_http::workers::{chat, entries, holding, instant, start_all};
use sgl_testkit::modules::plugin;

/// A prompt of a session: 8 KiB that all its prompts share, which is what the plugin looks at
/// by default, and then something else.
fn prompt(session: usize, turn: usize) -> String {
    format!("{:-<8192}turn {turn}", format!("session {session} "))
}

#[tokio::test]
async fn prompts_that_begin_alike_go_to_the_same_worker_whatever_the_endpoint() {
    let workers = start_all(4, instant()).await;
    let stage = Stage::start(plugin("prefix_affinity"), PluginConfig::new(), entries(&workers)).await;
    let mut asked = 0;
    for session in 0..10 {
        let home = stage.client.chat(&prompt(session, 0), Form::Plain).await;
        for turn in 1..5 {
            let form = Form::of(turn);
            assert_eq!(stage.client.chat(&prompt(session, turn), form).await, home);
            let text = prompt(session, turn);
            for (path, request) in [
                ("/v1/completions", json!({ "model": "sim-model", "prompt": text, "max_tokens": 3 })),
                ("/generate", json!({ "text": text, "sampling_params": { "max_new_tokens": 3 } })),
            ] {
                let answer = stage.client.ask(path, &form.asked(request)).await;
                assert_eq!(answer.whole_from(form), home, "{path}, turn {turn} of session {session}");
            }
            asked += 3;
        }
        asked += 1;
    }
    stage.decided(asked);
}

#[tokio::test]
async fn sessions_spread_over_all_workers() {
    let workers = start_all(3, instant()).await;
    let stage = Stage::start(plugin("prefix_affinity"), PluginConfig::new(), entries(&workers)).await;
    let mut sessions_of = BTreeMap::<usize, usize>::new();
    for session in 0..90 {
        let worker = stage.client.chat(&prompt(session, 0), Form::of(session)).await;
        *sessions_of.entry(worker).or_default() += 1;
    }
    // Where a session lives depends on hashes of ports. The chance that fair hashes give one of
    // three workers none of 90 is below 1e-15.
    assert_eq!(sessions_of.len(), 3, "{sessions_of:?}");
    stage.decided(90);
}

#[tokio::test]
async fn overloaded_worker_spills_in_one_order_and_gets_its_session_back() {
    let workers = start_all(4, holding()).await;
    let bound = [("factor".to_owned(), json!(1.0)), ("slack".to_owned(), json!(2.0))];
    let stage = Stage::start(plugin("prefix_affinity"), PluginConfig::from(bound), entries(&workers)).await;
    let home = stage.client.chat(&prompt(1, 0), Form::Plain).await;
    stage.loads_are(&[0; 4]).await;
    // The workers in the order in which this session came to them.
    let mut order = vec![home];
    let mut held = Vec::new();
    for turn in 1..=16 {
        let loads = stage.loads();
        // The bound that the configuration sets: the mean with this request, and two more.
        let limit = 1.0 * (loads.iter().sum::<usize>() + 1) as f64 / 4.0 + 2.0;
        let stream = stage.client.hold(CHAT, &chat(&prompt(1, turn))).await;
        let chosen = stream.worker();
        match order.iter().find(|worker| loads[**worker] as f64 <= limit) {
            Some(first) => assert_eq!(chosen, *first, "it had room at {loads:?}, {order:?}"),
            // Only now that there is no room where this session has been does it go elsewhere.
            None => {
                assert!(!order.contains(&chosen), "it had no room at {loads:?}, {order:?}");
                order.push(chosen);
            }
        }
        held.push(stream);
    }
    assert!(order.len() > 1, "the limit was reached");
    drop(held);
    stage.loads_are(&[0; 4]).await;
    assert_eq!(stage.client.chat(&prompt(1, 17), Form::Plain).await, home);
    stage.decided(18);
}

#[tokio::test]
async fn prompt_that_is_larger_than_the_plugins_memory_is_decided_by_it_and_closes_nothing() {
    let workers = start_all(3, instant()).await;
    let stage = Stage::start(plugin("prefix_affinity"), PluginConfig::new(), entries(&workers)).await;
    let long = "x".repeat(9 << 20);
    for text in [json!(long), json!([long.clone(), "\u{e9}".repeat(1 << 20)])] {
        let request = json!({ "model": "sim-model", "prompt": text, "max_tokens": 1 });
        stage.client.ask("/v1/completions", &Form::Plain.asked(request)).await;
    }
    stage.client.chat(&prompt(1, 0), Form::Plain).await;
    stage.decided(3);
}
