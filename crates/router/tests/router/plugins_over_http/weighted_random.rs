//! Workers get requests in proportion to their weights.

use std::collections::BTreeMap;

use serde_json::json;
use sgl_router::config::WorkerEntry;

use crate::plugins_over_http::stage::{PluginConfig, Stage};
use crate::plugins_over_http::workers::{entries, instant, start_all};
use sgl_testkit::modules::plugin;

/// Requests of one test.
const REQUESTS: usize = 800;

/// Pearson's statistic of so many answers against shares in proportion to `weights`.
fn chi_square(answered: &[u64], weights: &[f64]) -> f64 {
    let requests = answered.iter().sum::<u64>() as f64;
    let total: f64 = weights.iter().sum();
    let term = |(count, weight): (&u64, &f64)| {
        let expected = requests * weight / total;
        (*count as f64 - expected).powi(2) / expected
    };
    answered.iter().zip(weights).map(term).sum()
}

/// Fails if the spread does not look like the weights, or if it looks as much like equal ones.
///
/// With three workers there are two degrees of freedom, where a statistic of `x` or more has a
/// chance of exp(-x / 2): for 50 one in 72 thousand million.
fn assert_proportional(answered: &[u64], weights: &[f64; 3]) {
    assert!(chi_square(answered, weights) < 50.0, "{answered:?} for {weights:?}");
    assert!(chi_square(answered, &[1.0; 3]) > 50.0, "{answered:?} might as well be even");
}

fn labelled(mut entry: WorkerEntry, key: &str, value: &str) -> WorkerEntry {
    entry.labels = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    entry
}

#[tokio::test]
async fn spread_follows_the_weights_of_the_configuration() {
    let workers = start_all(3, instant()).await;
    let weights = json!({ workers[0].url(): 1, workers[1].url(): 2.5, workers[2].url(): 6.5 });
    let config = PluginConfig::from([("weights".to_owned(), weights)]);
    let stage = Stage::start(plugin("weighted_random"), config, entries(&workers)).await;
    let answered = stage.client.crowd(REQUESTS, 3).await;
    assert_proportional(&answered, &[1.0, 2.5, 6.5]);
    stage.decided(REQUESTS as u64);
}

#[tokio::test]
async fn spread_follows_labels_and_for_workers_without_the_table() {
    let workers = start_all(4, instant()).await;
    let [first, second, third, fourth] = [0, 1, 2, 3].map(|index: usize| entries(&workers)[index].clone());
    let entries = vec![
        labelled(first, "share", "4"),
        labelled(second, "share", "0.5"),
        WorkerEntry { weight: 1.5, ..third },
        // A weight of nothing takes nothing, whatever the table says.
        WorkerEntry { weight: 9.0, ..labelled(fourth, "share", "0") },
    ];
    let config = PluginConfig::from([("label".to_owned(), json!("share"))]);
    let stage = Stage::start(plugin("weighted_random"), config, entries).await;
    let answered = stage.client.crowd(REQUESTS, 4).await;
    assert_eq!(answered[3], 0);
    assert_proportional(&answered[..3], &[4.0, 0.5, 1.5]);
    stage.decided(REQUESTS as u64);
}

#[tokio::test]
async fn workers_that_are_left_share_what_a_drained_one_got() {
    let workers = start_all(4, instant()).await;
    let mut entries = entries(&workers);
    entries.iter_mut().zip([1.0, 20.0, 2.0, 5.0]).for_each(|(entry, weight)| entry.weight = weight);
    let stage = Stage::start(plugin("weighted_random"), PluginConfig::new(), entries).await;
    stage.drain(1);
    let answered = stage.client.crowd(REQUESTS, 4).await;
    assert_eq!(answered[1], 0);
    assert_proportional(&[answered[0], answered[2], answered[3]], &[1.0, 2.0, 5.0]);
    stage.decided(REQUESTS as u64);
}
