//! The plugin of the first README, which counts its decisions in the state that the host keeps
//! for it and takes turns by that count: the worker of a request tells the count.

use crate::plugins_over_http::answer::Form;
use crate::plugins_over_http::stage::{PluginConfig, Stage};
use crate::plugins_over_http::workers::{entries, instant, start_all};
use sgl_testkit::modules::fixture;

#[tokio::test]
async fn each_request_finds_the_count_of_those_before_it() {
    let workers = start_all(3, instant()).await;
    let stage = Stage::start(fixture("first_readme"), PluginConfig::new(), entries(&workers)).await;
    for count in 0..20 {
        let worker = stage.client.chat(&format!("chat {count}"), Form::of(count)).await;
        assert_eq!(worker, count % 3, "request {count}");
    }
    stage.decided(20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_count_is_lost_or_taken_twice_under_concurrent_requests() {
    let workers = start_all(3, instant()).await;
    let stage = Stage::start(fixture("first_readme"), PluginConfig::new(), entries(&workers)).await;
    // 301 turns: one more for the worker that begins.
    assert_eq!(stage.client.crowd(301, 3).await, [101, 100, 100]);
    assert_eq!(stage.client.chat("the next", Form::Plain).await, 301 % 3);
    stage.decided(302);
}

#[tokio::test]
async fn count_goes_on_in_the_next_generation() {
    let workers = start_all(3, instant()).await;
    let stage = Stage::start(fixture("first_readme"), PluginConfig::new(), entries(&workers)).await;
    assert_eq!(stage.client.crowd(100, 3).await.iter().sum::<u64>(), 100);
    stage.replace(fixture("first_readme"), PluginConfig::new()).await;
    for count in 100..104 {
        assert_eq!(stage.client.chat("after", Form::of(count)).await, count % 3);
    }
    stage.decided(104);
}
