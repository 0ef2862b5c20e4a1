//! What a policy is told of what workers hold of a prompt.

use std::sync::Arc;

use parking_lot::Mutex;
use sgl_testkit::client::{TestClient, post};
use sgl_testkit::upstream::Upstream;
use sglang_router_rs::core::{CandidateWorkers, Column};
use sglang_router_rs::policies::{LoadBalancingPolicy, RequestNeeds};

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
