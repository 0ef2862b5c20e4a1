//! What policies are told of a request, through the HTTP router.

use http::StatusCode;
use sglang_router_rs::policies::Policy;

use crate::client::Client;
use crate::client::call;
use crate::client::chat;
use crate::client::post;
use crate::router;
use crate::upstream::Upstream;

#[tokio::test]
async fn consistent_hash_keeps_a_prompt_at_its_worker() {
    let workers = [Upstream::saying("0").await, Upstream::saying("1").await, Upstream::saying("2").await];
    let mut config = router::config(workers.iter().map(Upstream::entry).collect());
    config.policy = "consistent_hash".to_owned();
    let router = router::start(config).await;
    assert!(
        matches!(router.proxy().policy(), Policy::Native(policy) if router.proxy().policy().needs().text && !format!("{policy:?}").is_empty())
    );
    let mut client = Client::connect(router.addresses().data).await;
    let mut used = std::collections::BTreeSet::new();
    for prompt in 0..20 {
        let prompt = format!("prompt {prompt}");
        let first = client.call(chat(&prompt)).await.text().to_owned();
        for _ in 0..3 {
            assert_eq!(client.call(chat(&prompt)).await.text(), first);
        }
        used.insert(first);
    }
    assert!(used.len() > 1, "twenty prompts do not share one worker");
}

#[tokio::test]
async fn routing_header_wins_over_the_prompt() {
    let workers = [Upstream::saying("0").await, Upstream::saying("1").await, Upstream::saying("2").await];
    let mut config = router::config(workers.iter().map(Upstream::entry).collect());
    config.policy = "consistent_hash".to_owned();
    let router = router::start(config).await;
    let mut client = Client::connect(router.addresses().data).await;
    let mut answers = std::collections::BTreeSet::new();
    for prompt in 0..20 {
        let mut request = chat(&format!("prompt {prompt}"));
        request.headers_mut().insert("x-routing-key", "one".parse().unwrap());
        answers.insert(client.call(request).await.text().to_owned());
    }
    assert_eq!(answers.len(), 1);
}

#[tokio::test]
async fn body_that_is_not_json_is_left_to_the_worker() {
    let worker = Upstream::failing(400).await;
    let mut config = router::config(vec![worker.entry()]);
    config.policy = "consistent_hash".to_owned();
    let router = router::start(config).await;
    let answer = call(router.addresses().data, post("/v1/completions", "not json")).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::BAD_REQUEST, r#"{"error":"scripted"}"#));
    assert_eq!(worker.seen()[0].body, "not json");
}
