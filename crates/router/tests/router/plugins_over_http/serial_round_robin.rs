//! A plugin that keeps whose turn it is in its own memory: one instance, callers in a queue.

use crate::plugins_over_http::answer::Form;
use crate::plugins_over_http::stage::{PluginConfig, Stage};
use crate::plugins_over_http::workers::{entries, instant, start_all};
use sgl_testkit::modules::fixture;

#[tokio::test]
async fn turns_are_taken_in_order_and_pass_over_a_drained_worker() {
    let workers = start_all(4, instant()).await;
    let stage = Stage::start(fixture("serial_round_robin"), PluginConfig::new(), entries(&workers)).await;
    for turn in 0..12 {
        assert_eq!(stage.client.chat("turn", Form::of(turn)).await, turn % 4);
    }
    stage.drain(1);
    for turn in 12..21 {
        assert_eq!(stage.client.chat("turn", Form::of(turn)).await, [0, 2, 3][turn % 3]);
    }
    stage.decided(21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn turn_is_kept_over_swaps_under_concurrent_requests() {
    let workers = start_all(3, instant()).await;
    let stage = Stage::start(fixture("serial_round_robin"), PluginConfig::new(), entries(&workers)).await;
    let swaps = async {
        for _ in 0..5 {
            stage.replace(fixture("serial_round_robin"), PluginConfig::new()).await;
        }
    };
    let (answered, ()) = tokio::join!(stage.client.crowd(600, 3), swaps);
    assert_eq!(answered, [200, 200, 200]);
    assert_eq!(stage.client.chat("the next", Form::Plain).await, 0);
    stage.decided(601);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_turn_is_lost_or_taken_twice_under_concurrent_requests() {
    let workers = start_all(3, instant()).await;
    let stage = Stage::start(fixture("serial_round_robin"), PluginConfig::new(), entries(&workers)).await;
    assert_eq!(stage.client.crowd(301, 3).await, [101, 100, 100]);
    assert_eq!(stage.client.chat("the next", Form::Plain).await, 301 % 3);
    stage.decided(302);
}
