//! What a policy is told of what workers hold of a prompt.

use std::sync::Arc;

use parking_lot::Mutex;
use sgl_router::{DataPlane, Metrics};
use sgl_testkit::client::{TestClient, post};
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;
use sglang_router_rs::core::{CandidateWorkers, Column};
use sglang_router_rs::policies::{LoadBalancingPolicy, NativePolicy, PolicyHandle, RequestNeeds};

use crate::proxy::custom_policy::{self, CustomPolicy};

/// Forty tokens that begin with `first`: two whole blocks.
fn prompt(first: u32) -> String {
    let tokens: Vec<String> = (first..first + 40).map(|token| token.to_string()).collect();
    format!(r#"{{"input_ids": [{}]}}"#, tokens.join(","))
}

#[tokio::test]
async fn worker_is_believed_to_hold_what_was_sent_to_it() {
    let workers = [Upstream::saying("0").await, Upstream::saying("1").await];
    let told = Arc::new(Mutex::new(Vec::new()));
    let needs = RequestNeeds { prefix_hashes: true, prefix_match: true, ..RequestNeeds::default() };
    let noted = Arc::clone(&told);
    let policy = CustomPolicy::new(needs, move |inner, table, info| {
        let mut column = vec![0; table.len() * Column::WIDTH];
        table.fill_prefix_match(info.prefix_hashes.unwrap_or_default(), info.block_tokens(), &mut column);
        let cells = column.as_chunks().0.iter().map(|cell| i32::from_le_bytes(*cell));
        noted.lock().push(cells.collect::<Vec<i32>>());
        inner.decide(table, info)
    });
    let (router, address) = custom_policy::start(&policy, &[&workers[0], &workers[1]]).await;
    let mut client = TestClient::connect(address).await;
    let mut served = Vec::new();
    for first in [1, 1, 500] {
        let answer = client.call(post("/generate", &prompt(first))).await;
        served.push(usize::from(answer.text() == "1"));
    }
    let told = told.lock().clone();
    let held = |worker: usize| if served[0] == worker { 32 } else { 0 };
    assert_eq!(told, [vec![0, 0], vec![held(0), held(1)], vec![0, 0]]);
    let index = router.backends().prefix_index().expect("it was started");
    assert_eq!(index.stats().sent_blocks, 6);
}

#[tokio::test]
async fn index_is_not_there_while_nobody_wants_it() {
    let worker = Upstream::saying("{}").await;
    let policy = CustomPolicy::new(RequestNeeds::default(), |inner, table, info| inner.decide(table, info));
    let (router, address) = custom_policy::start(&policy, &[&worker]).await;
    TestClient::connect(address).await.call(post("/generate", &prompt(1))).await;
    assert!(router.backends().prefix_index().is_none());
}

#[tokio::test]
async fn worker_is_believed_to_hold_as_much_text_as_the_learnt_ratio_says() {
    let worker = Upstream::saying(r#"{"usage": {"prompt_tokens": 800}}"#).await;
    let place = Arc::new(Mutex::new(None));
    let needs = RequestNeeds {
        prompt_tokens: true,
        prefix_hashes: true,
        prefix_match: true,
        ..RequestNeeds::default()
    };
    let noted = Arc::clone(&place);
    let policy = CustomPolicy::new(needs, move |inner, table, info| {
        *noted.lock() = table.workers()[0].indexed();
        inner.decide(table, info)
    });
    let (router, address) = custom_policy::start(&policy, &[&worker]).await;
    let mut client = TestClient::connect(address).await;
    let text = format!(r#"{{"model": "m", "prompt": "{}"}}"#, "x".repeat(4000));
    client.call(post("/v1/completions", &text)).await;
    until(async || policy.completions.lock().len() == 1).await;
    let (index, place) = (router.backends().prefix_index().expect("it was started"), place.lock().take());
    index.set_token_capacity(place.expect("it has one"), 480, 12);
    assert_eq!(index.stats().sent_blocks, 40, "nothing was known of the model");
    // One answer said five bytes a token, beside the four of the assumption: 14.4 tokens a block.
    client.call(post("/v1/completions", &text)).await;
    assert_eq!(index.stats().sent_blocks, 34);
    let learnt: Vec<&str> = router.token_ratios().learnt().map(|(model, _)| model).collect();
    assert_eq!(learnt, ["m"]);
}

#[tokio::test]
async fn learnt_ratios_are_among_the_metrics() {
    let metrics = Metrics::new();
    let native = NativePolicy::by_name("random").expect("a built-in policy");
    let settings = router::config(Vec::new()).proxy;
    let proxy = DataPlane::new(settings, PolicyHandle::Native(Arc::new(native)), &metrics, None);
    assert!(!metrics.page().expect("a page").contains("bytes_per_token"));
    (0..500).for_each(|_| proxy.token_ratios().learn(Some("a \"b\""), 5000, 1000));
    let page = metrics.page().expect("a page");
    let line =
        page.lines().find(|line| line.starts_with("sgl_router_model_bytes_per_token{")).expect("a sample");
    let (name, ratio) = line.rsplit_once(' ').expect("a value");
    assert_eq!(name, r#"sgl_router_model_bytes_per_token{model="a \"b\""}"#);
    assert!((4.9..5.1).contains(&ratio.parse::<f64>().expect("a number")), "{line}");
}
