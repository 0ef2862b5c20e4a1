//! What policies are told of what came of their requests.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt as _;
use sgl_testkit::client::{TestClient, call, chat, piece, post};
use sgl_testkit::raw::{Act, Raw};
use sgl_testkit::upstream::{self, Upstream};
use sgl_testkit::waits::{soon, until};
use sglang_router_rs::policies::{
    LoadBalancingPolicy as _, RequestCompletion, RequestFirstToken, RequestNeeds, Ticket,
};

use crate::proxy::custom_policy::{self, CustomPolicy};

const CONTENT: &str = "data: {\"choices\": [{\"delta\": {\"content\": \"hi\"}}], \"usage\": null}\n\n";
const USAGE: &str = "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 12, \"completion_tokens\": 3, \"prompt_tokens_details\": {\"cached_tokens\": 8}}}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const ERROR: &str = "data: {\"error\": {\"code\": 500}}\n\n";
const WHOLE: &str = r#"{"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 3}}"#;

const TAG: u64 = u64::MAX - 1;

/// Round robin that hears everything, over one worker.
async fn listening(worker: &Upstream) -> (Arc<CustomPolicy>, SocketAddr) {
    let policy = CustomPolicy::new(RequestNeeds::default(), |inner, table, info| {
        inner.decide(table, info).map(|decision| decision.with_ticket(Ticket::new(Some(TAG), 0.0)))
    });
    let (_, address) = custom_policy::start(&policy, &[worker]).await;
    (policy, address)
}

/// What it was told of its only request.
async fn told(policy: &CustomPolicy) -> (RequestCompletion, Vec<RequestFirstToken>) {
    until(async || policy.completions.lock().len() == 1).await;
    (policy.completions.lock()[0].clone(), policy.first_tokens.lock().clone())
}

fn tokens(done: &RequestCompletion) -> [Option<u32>; 3] {
    [done.prompt_tokens, done.completion_tokens, done.cached_tokens]
}

async fn streaming(pieces: Vec<String>) -> Upstream {
    Upstream::start(move |_| {
        let pieces = pieces.clone();
        async move {
            let (response, send, _) = upstream::stream();
            tokio::spawn(async move {
                for piece in pieces {
                    // A router that has seen enough hangs up.
                    let _ = send.send(Bytes::from(piece)).await;
                }
            });
            response
        }
    })
    .await
}

#[tokio::test]
async fn stream_is_told_of_with_its_tokens_however_it_is_cut_and_passes_as_it_is() {
    let stream = format!(": wait\n\n{CONTENT}{CONTENT}{USAGE}{DONE}");
    for size in [7, 100, 10_000] {
        let pieces: Vec<String> =
            stream.as_bytes().chunks(size).map(|piece| String::from_utf8_lossy(piece).into_owned()).collect();
        let worker = streaming(pieces).await;
        let (policy, address) = listening(&worker).await;
        assert_eq!(call(address, chat("hi")).await.text(), stream);
        let (done, first_tokens) = told(&policy).await;
        assert_eq!(tokens(&done), [Some(12), Some(3), Some(8)]);
        assert_eq!((done.success, done.status), (true, Some(200)));
        let [first] = first_tokens.as_slice() else { panic!("one: {first_tokens:?}") };
        assert_eq!((first.worker_url.as_str(), first.chooser), (worker.url().as_str(), done.chooser));
        assert!(first.after <= done.total);
        assert_eq!((first.tag, done.tag), (Some(TAG), Some(TAG)));
    }
}

#[tokio::test]
async fn answer_in_one_piece_is_told_of_with_its_tokens_and_without_a_first_one() {
    for route in ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/generate"] {
        let worker = Upstream::saying(WHOLE).await;
        let (policy, address) = listening(&worker).await;
        assert_eq!(call(address, post(route, "{}")).await.text(), WHOLE);
        let (done, first_tokens) = told(&policy).await;
        assert_eq!((tokens(&done), first_tokens.len()), ([Some(12), Some(3), None], 0), "{route}");
    }
}

#[tokio::test]
async fn compressed_answer_and_other_kinds_are_told_of_without_tokens() {
    let with = |name: &'static str, value: &'static str, mut response: Response<_>| {
        response.headers_mut().insert(name, value.parse().unwrap());
        response
    };
    let compressed =
        Upstream::start(
            move |_| async move { with("content-encoding", "gzip", upstream::whole(200, WHOLE)) },
        )
        .await;
    let text =
        Upstream::start(
            move |_| async move { with("content-type", "text/plain", upstream::whole(200, WHOLE)) },
        )
        .await;
    let refusal = Upstream::start(|_| async { upstream::whole(400, WHOLE) }).await;
    for (worker, status) in [(compressed, 200), (text, 200), (refusal, 400)] {
        let (policy, address) = listening(&worker).await;
        assert_eq!(call(address, chat("hi")).await.body, WHOLE);
        let (done, first_tokens) = told(&policy).await;
        assert_eq!((tokens(&done), first_tokens.len()), ([None; 3], 0));
        assert_eq!((done.success, done.status), (true, Some(status)));
    }
}

#[tokio::test]
async fn error_within_a_stream_is_told_with_its_code_and_a_refusal_has_no_first_token() {
    for (pieces, status, success, begun) in [
        (vec![CONTENT, ERROR, DONE], 500, false, 1),
        (vec![CONTENT, USAGE, ERROR], 500, false, 1),
        (vec![CONTENT, "data: {\"error\": {\"code\": 400}}\n\n", DONE], 400, false, 1),
        (vec!["data: {\"error\": {\"code\": 400}}\n\n"], 400, true, 0),
    ] {
        let worker = streaming(pieces.iter().map(|piece| (*piece).to_owned()).collect()).await;
        let (policy, address) = listening(&worker).await;
        call(address, chat("hi")).await;
        let (done, first_tokens) = told(&policy).await;
        assert_eq!(
            (done.status, done.success, first_tokens.len()),
            (Some(status), success, begun),
            "{pieces:?}"
        );
        assert_eq!(tokens(&done), [None; 3]);
    }
}

#[tokio::test]
async fn cancelled_request_has_no_status_and_one_that_broke_off_has() {
    let (response, send, _) = upstream::stream();
    let worker = Upstream::once(response).await;
    let (policy, address) = listening(&worker).await;
    let mut client = TestClient::connect(address).await;
    let begun = async { send.send(Bytes::from_static(CONTENT.as_bytes())).await.unwrap() };
    let (response, ()) = tokio::join!(client.send(chat("hi")), begun);
    let mut body = response.unwrap().into_body();
    assert!(piece(&mut body).await.is_some());
    drop((body, client));
    let (done, first_tokens) = soon(told(&policy)).await;
    assert_eq!((done.success, done.status, first_tokens.len()), (false, None, 1), "cancelled");

    let broken = Raw::start(|_| {
        Act::SayAndClose(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{CONTENT}\r\n",
            CONTENT.len()
        ))
    })
    .await;
    let policy = CustomPolicy::new(RequestNeeds::default(), |inner, table, info| inner.decide(table, info));
    let (proxy, address) = custom_policy::start(&policy, &[]).await;
    proxy.backends().add(&broken.entry()).expect("a worker");
    let mut client = TestClient::connect(address).await;
    let response = client.send(chat("hi")).await.unwrap();
    let mut body = response.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    let (done, _) = told(&policy).await;
    assert_eq!((done.success, done.status), (false, Some(502)), "broke off");
}

#[tokio::test]
async fn worker_without_an_answer_is_told_of_as_a_gateway_says_it() {
    let worker = Upstream::failing(500).await;
    let (policy, address) = listening(&worker).await;
    call(address, chat("hi")).await;
    assert_eq!(told(&policy).await.0.status, Some(500));

    let silent = Raw::start(|_| Act::Crash).await;
    let policy = CustomPolicy::new(RequestNeeds::default(), |inner, table, info| inner.decide(table, info));
    let (proxy, address) = custom_policy::start(&policy, &[]).await;
    proxy.backends().add(&silent.entry()).expect("a worker");
    call(address, chat("hi")).await;
    until(async || !policy.completions.lock().is_empty()).await;
    let done = policy.completions.lock()[0].clone();
    assert_eq!((done.success, done.status, done.first_byte), (false, Some(502), None));
}

#[tokio::test]
async fn tokens_of_an_answer_teach_how_many_a_prompt_has() {
    let worker = Upstream::saying(r#"{"usage": {"prompt_tokens": 5000}}"#).await;
    let needs = RequestNeeds { prompt_tokens: true, ..RequestNeeds::default() };
    let policy = CustomPolicy::new(needs, |inner, table, info| inner.decide(table, info));
    let (proxy, address) = custom_policy::start(&policy, &[&worker]).await;
    let prompt = "x".repeat(40_000);
    let estimate = || proxy.token_ratios().estimate(Some("m"), 40_000);
    assert_eq!(estimate(), 10_000);
    call(address, chat(&prompt)).await;
    told(&policy).await;
    assert!((5_000..9_000).contains(&estimate()), "{}", estimate());
    assert_eq!(proxy.token_ratios().estimate(Some("other"), 40_000), 10_000);
}
