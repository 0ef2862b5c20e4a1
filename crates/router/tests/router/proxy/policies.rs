//! What policies are told of a request, through the HTTP router.

use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;
use parking_lot::Mutex;
use sgl_testkit::client::{TestClient, call, chat, post};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;
use sgl_testkit::{router, upstream};
use sglang_router_rs::policies::{
    LoadBalancingPolicy, PolicyHandle, PromptTokens, RequestNeeds, WantedNames,
};
use sglang_router_rs::types::JsonPointer;

use crate::proxy::custom_policy::{self, CustomPolicy};

#[tokio::test]
async fn consistent_hash_keeps_a_prompt_at_its_worker() {
    let workers = [Upstream::saying("0").await, Upstream::saying("1").await, Upstream::saying("2").await];
    let mut config = router::config(workers.iter().map(Upstream::entry).collect());
    config.policy = "consistent_hash".to_owned();
    let router = router::start(config).await;
    assert!(
        matches!(router.proxy().policy(), PolicyHandle::Native(policy) if router.proxy().policy().needs().text && !format!("{policy:?}").is_empty())
    );
    let mut client = TestClient::connect(router.addresses().data).await;
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
    let mut client = TestClient::connect(router.addresses().data).await;
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

/// Round robin that remembers what it was told.
struct Listening {
    asked: Arc<Mutex<Vec<Asked>>>,
    policy: Arc<CustomPolicy>,
}

#[derive(Clone, Debug, PartialEq)]
struct Asked {
    text: Option<String>,
    tokens: Option<Vec<u32>>,
    prompt_tokens: Option<PromptTokens>,
    model: Option<String>,
    header: Option<String>,
    excluded: Vec<usize>,
}

/// A data plane with that policy.
async fn listening(needs: RequestNeeds, workers: &[&Upstream]) -> (Listening, SocketAddr) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&asked);
    let policy = CustomPolicy::new(needs, move |inner, table, info| {
        told.lock().push(Asked {
            text: info.request_text.map(str::to_owned),
            tokens: info.tokens.map(<[u32]>::to_vec),
            prompt_tokens: info.prompt_tokens,
            model: info.model.map(str::to_owned),
            header: info.header("x-tenant").map(str::to_owned),
            excluded: (0..table.workers().len()).filter(|index| !info.admits(*index)).collect(),
        });
        inner.decide(table, info)
    });
    let (_, address) = custom_policy::start(&policy, workers).await;
    (Listening { asked, policy }, address)
}

#[tokio::test]
async fn policy_is_told_what_it_needs_and_nothing_else() {
    let worker = Upstream::saying("{}").await;
    let all = RequestNeeds {
        text: true,
        tokens: true,
        prompt_tokens: true,
        model: true,
        ..RequestNeeds::default()
    };
    let (policy, address) = listening(all, &[&worker]).await;
    let mut client = TestClient::connect(address).await;
    let mut request = chat("hi");
    request.headers_mut().insert("x-tenant", "t1".parse().unwrap());
    client.call(request).await;
    client.call(post("/generate", r#"{"input_ids": [1, 2]}"#)).await;
    let asked = policy.asked.lock().clone();
    assert_eq!((asked[0].text.as_deref(), asked[0].model.as_deref()), (Some("hi"), Some("m")));
    assert_eq!(asked[0].header.as_deref(), Some("t1"));
    assert_eq!((asked[1].tokens.as_deref(), asked[1].text.as_deref()), (Some(&[1, 2][..]), None));
    assert_eq!(asked[0].prompt_tokens, Some(PromptTokens { count: 1, exact: false }));
    assert_eq!(asked[1].prompt_tokens, Some(PromptTokens { count: 2, exact: true }));

    let (policy, address) = listening(RequestNeeds::default(), &[&worker]).await;
    call(address, chat("hi")).await;
    let asked = policy.asked.lock().clone();
    assert_eq!((&asked[0].text, &asked[0].model, &asked[0].tokens), (&None, &None, &None));
    assert_eq!(asked[0].prompt_tokens, None);
}

#[tokio::test]
async fn policy_is_told_what_a_request_says() {
    let worker = Upstream::saying("{}").await;
    let needs = RequestNeeds {
        max_tokens: true,
        stream: true,
        session: true,
        prefix_hashes: true,
        arrival_rate: true,
        names: true,
        ..RequestNeeds::default()
    };
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let rates = Arc::new(Mutex::new(Vec::new()));
    let rating = Arc::clone(&rates);
    let policy = CustomPolicy::naming(
        needs,
        WantedNames {
            fields: vec![JsonPointer::parse("/a/1").unwrap()],
            query: vec!["q".to_owned()],
            ..WantedNames::default()
        },
        move |inner, table, info| {
            let text = |text: Option<&str>| text.map(str::to_owned);
            telling.lock().push((
                info.max_tokens,
                info.stream,
                text(info.route),
                text(info.session),
                info.prefix_hashes.map(<[u64]>::len),
                text(info.fields.unwrap().field("/a/1")),
                text(info.query.unwrap().parameter("q")),
            ));
            rating.lock().push(info.arrival_rate);
            inner.decide(table, info)
        },
    );
    let (_, address) = custom_policy::start(&policy, &[&worker]).await;
    let mut client = TestClient::connect(address).await;
    let long = "x".repeat(640);
    let body = format!(
        r#"{{"messages": [{{"role": "user", "content": "{long}"}}], "stream": true, "max_tokens": 7, "a": [0, 1.0],
            "user": "u"}}"#
    );
    client.call(post("/v1/chat/completions?p=1&q=%41&q=2", &body)).await;
    let mut request =
        post("/generate", r#"{"input_ids": [1], "sampling_params": {"max_new_tokens": 3}, "user": "u"}"#);
    request.headers_mut().insert("x-session-id", "s".parse().unwrap());
    client.call(request).await;
    client.call(post("/v1/embeddings", "{")).await;
    let text = |text: &str| Some(text.to_owned());
    let expected = [
        (Some(7), true, text("/v1/chat/completions"), text("u"), Some(10), text("1.0"), text("A")),
        (Some(3), false, text("/generate"), text("s"), Some(0), None, None),
        (None, false, text("/v1/embeddings"), None, None, None, None),
    ];
    assert_eq!(*told.lock(), expected);
    // Not known in the first moment.
    until(async || {
        client.call(chat("hi")).await;
        rates.lock().last().copied().flatten().is_some_and(|rate| rate > 0.0 && rate.is_finite())
    })
    .await;
}

#[tokio::test]
async fn policy_hears_of_every_request_that_it_placed_and_of_what_was_tried() {
    let [ill, well] = [Upstream::failing(503).await, Upstream::saying("{}").await];
    let (policy, address) = listening(RequestNeeds::default(), &[&ill, &well]).await;
    assert_eq!(call(address, chat("hi")).await.status, StatusCode::OK);
    let excluded: Vec<_> = policy.asked.lock().iter().map(|asked| asked.excluded.clone()).collect();
    assert_eq!(excluded, [vec![], vec![0]]);
    until(async || policy.policy.completions.lock().len() == 2).await;
    let completions = policy.policy.completions.lock().clone();
    let of = |worker: &Upstream| completions.iter().find(|c| c.worker_url == worker.url()).unwrap().clone();
    assert!(!of(&ill).success && of(&well).success);
    assert!(!of(&ill).judged && of(&well).judged, "a worker without room says nothing of the choice");
    assert!(of(&ill).first_byte.is_none());
    assert!(of(&well).first_byte.unwrap() <= of(&well).total);
}

#[tokio::test]
async fn policy_hears_of_a_refusal_as_served_unless_the_stream_had_begun() {
    const REFUSAL: &str = "data: {\"error\": {\"code\": 400}}\n\n";
    for (pieces, success) in [(&[REFUSAL][..], true), (&["data: {}\n\n", REFUSAL][..], false)] {
        let worker = Upstream::start(move |_| async move {
            let (response, send, _) = upstream::stream();
            tokio::spawn(async move {
                for piece in pieces {
                    send.send((*piece).into()).await.expect("the router reads on");
                }
            });
            response
        })
        .await;
        let (policy, address) = listening(RequestNeeds::default(), &[&worker]).await;
        assert_eq!(call(address, chat("hi")).await.text(), pieces.concat());
        until(async || policy.policy.completions.lock().len() == 1).await;
        assert_eq!(policy.policy.completions.lock()[0].success, success);
    }
}
