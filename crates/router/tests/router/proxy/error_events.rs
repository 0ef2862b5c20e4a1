//! Streams whose events tell of errors.

use bytes::Bytes;
use http::StatusCode;
use sgl_router::RunningRouter;
use sgl_router::config::RecordSettings;
use sgl_router::internals::Verdict;
use sgl_testkit::client::{TestClient, call, chat, get, piece, post};
use sgl_testkit::raw::{Act, Raw};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use sgl_testkit::{raw, router, upstream};

const FULL: &str = "data: {\"error\": {\"message\": \"full\", \"code\": 503}}\n\n";
const CONTENT: &str = "data: {\"choices\": [{\"delta\": {\"content\": \"hi\"}}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// A worker that answers every request with a stream of these pieces.
async fn streaming(pieces: &'static [&'static str]) -> Upstream {
    Upstream::start(move |_| async move {
        let (response, send, _) = upstream::stream();
        tokio::spawn(async move {
            for piece in pieces {
                // A router that has seen enough hangs up.
                let _ = send.send(Bytes::from_static(piece.as_bytes())).await;
            }
        });
        response
    })
    .await
}

async fn line(router: &RunningRouter, line: &str) {
    let page = router::metrics(router).await;
    assert!(page.text().contains(line), "{line}\n{}", page.text());
}

#[tokio::test]
async fn stream_that_begins_with_a_refusal_is_tried_elsewhere() {
    let forms: [&[&str]; 8] = [
        &[FULL, DONE],
        &["data:{\"object\":\"error\",\"message\":\"full\",\"code\":\"429\"}\r\n\r\n"],
        &[
            "data: {\"text\": \"\", \"meta_info\": {\"finish_reason\": {\"type\": \"abort\", \"status_code\": 503}}}\n\n",
            DONE,
        ],
        &[": keep-alive\n\n", ": keep-alive\n\n", "da", "ta: {\"error\": {\"co", "de\": 503}}\n", "\n"],
        &["event: error\ndata: {\"error\": {\"code\": 502}}\n\n"],
        &["event: error\n", "data: {\"message\": \"full\", \"code\": 503}\n\n"],
        &["data: {\"error\":\n", "data: {\"code\": 503}}\n", "\n"],
        &["\u{feff}data: {\"error\": {\"code\": 503}}\n\n"],
    ];
    for form in forms {
        let full = streaming(form).await;
        let free = streaming(&[CONTENT, DONE]).await;
        let router = router::over(&[&full, &free]).await;
        let answer = call(router.addresses().data, chat("hi")).await;
        assert_eq!(answer.text(), format!("{CONTENT}{DONE}"), "{form:?}");
        assert_eq!(full.seen()[0].body, free.seen()[0].body);
    }
}

#[tokio::test]
async fn refusal_in_a_stream_is_the_answer_if_nobody_does_better_and_no_success() {
    let worker = streaming(&[": x\n\n", FULL, DONE]).await;
    let router = router::over(&[&worker]).await;
    let answer = call(router.addresses().data, chat("hi")).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, format!(": x\n\n{FULL}{DONE}").as_str()));
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    line(&router, r#"sgl_router_requests_total{route="chat_completions",status="5xx"} 1"#).await;
    line(&router, r#"sgl_router_error_events_total{route="chat_completions"} 1"#).await;
    let url = worker.url();
    line(&router, &format!(r#"sgl_router_worker_requests_total{{worker="{url}",outcome="full"}} 1"#)).await;
    line(&router, &format!(r#"sgl_router_worker_requests_total{{worker="{url}",outcome="success"}} 0"#))
        .await;
}

#[tokio::test]
async fn error_that_is_too_long_to_be_read_whole_is_no_success() {
    let begin = "data: {\"error\": {\"message\": \"";
    let stream = format!("{begin}{}\"}}}}\n\n", "x".repeat(20_000));
    for cut in [stream.len(), 10_000] {
        let (first, second) = stream.split_at(cut);
        let chunks: Vec<&str> = [first, second].into_iter().filter(|piece| !piece.is_empty()).collect();
        let answer = format!("{}0\r\n\r\n", raw::events(&chunks));
        let worker = Raw::start(move |_| Act::Say(answer.clone())).await;
        let router = router::start(router::config(vec![worker.entry()])).await;
        assert_eq!(call(router.addresses().data, chat("hi")).await.text(), stream);
        assert_eq!(router::target(&router, &worker.entry().url).unwrap().outcomes(), (0, 1), "{cut}");
        line(&router, r#"sgl_router_error_events_total{route="chat_completions"} 1"#).await;
    }
}

#[tokio::test]
async fn error_of_the_client_in_a_stream_is_passed_on_at_once() {
    let event = "data: {\"error\": {\"message\": \"too long\", \"code\": 400}}\n\n";
    let worker = streaming(&["data: {\"error\": {\"message\": \"too long\", \"code\": 400}}\n\n"]).await;
    let other = streaming(&[CONTENT]).await;
    let router = router::over(&[&worker, &other]).await;
    assert_eq!(call(router.addresses().data, chat("hi")).await.text(), event);
    assert!(other.seen().is_empty());
    line(&router, r#"sgl_router_requests_total{route="chat_completions",status="4xx"} 1"#).await;
}

#[tokio::test]
async fn failures_in_streams_open_the_circuit_as_those_at_their_heads_do() {
    let worker = streaming(&[CONTENT, CONTENT, "data: {\"error\": {\"code\": 500}}\n\n", DONE]).await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.circuit.failures = 3;
    let router = router::start(config).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    for _ in 0..3 {
        let answer = client.call(chat("hi")).await;
        assert!(answer.text().starts_with(CONTENT) && answer.text().ends_with(DONE), "passed on as it came");
    }
    assert_eq!(client.call(chat("hi")).await.code(), "no_worker_available");
    assert_eq!(router::target(&router, &worker.url()).unwrap().outcomes(), (0, 3));
    line(&router, r#"sgl_router_error_events_total{route="chat_completions"} 3"#).await;
}

#[tokio::test]
async fn streams_that_break_off_open_the_circuit_although_their_heads_were_fine() {
    let worker = Raw::start(|_| Act::SayAndClose(raw::events(&[CONTENT]))).await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.circuit.failures = 4;
    let router = router::start(config).await;
    for _ in 0..4 {
        let mut client = TestClient::connect(router.addresses().data).await;
        let mut body = soon(client.send(chat("hi"))).await.unwrap().into_body();
        assert_eq!(piece(&mut body).await.as_deref(), Some(CONTENT));
        client.closed().await;
    }
    assert_eq!(call(router.addresses().data, chat("hi")).await.code(), "no_worker_available");
    assert_eq!(worker.runs(), 4);
}

#[tokio::test]
async fn stream_that_breaks_before_its_first_event_is_tried_elsewhere() {
    let worker = Raw::start(|_| Act::SayAndClose(raw::events(&[": keep-alive\n\n", "data: {\"cho"]))).await;
    let other = Upstream::saying("fine").await;
    let router = router::start(router::config(vec![worker.entry(), other.entry()])).await;
    assert_eq!(call(router.addresses().data, chat("hi")).await.text(), "fine");
    line(&router, r#"sgl_router_retries_total{reason="broken"} 1"#).await;
}

#[tokio::test]
async fn stream_that_ends_without_an_event_is_tried_elsewhere_and_a_failure() {
    let forms: [&[&str]; 4] = [
        &[],
        &[": keep-alive\n\n", ": keep-alive\n\n"],
        &["\n", ": cut"],
        &["retry: 3000\n\n", "id: 7\nevent: end\n\n"],
    ];
    for form in forms {
        let [empty, free] = [streaming(form).await, streaming(&[CONTENT, DONE]).await];
        let router = router::over(&[&empty, &free]).await;
        assert_eq!(call(router.addresses().data, chat("hi")).await.text(), format!("{CONTENT}{DONE}"));
        let outcomes = router::target(&router, &empty.url()).unwrap().outcomes();
        assert_eq!(outcomes, (0, 1), "{form:?}");
        let alone = router::over(&[&empty]).await;
        let answer = call(alone.addresses().data, chat("hi")).await;
        let code = answer.code();
        assert_eq!((answer.status, code.as_str()), (StatusCode::BAD_GATEWAY, "upstream_closed"), "{form:?}");
    }
}

#[tokio::test]
async fn stream_without_an_event_that_says_something_is_passed_on_as_it_came() {
    let worker = streaming(&["[no event]\n\n"]).await;
    let router = router::over(&[&worker]).await;
    assert_eq!(call(router.addresses().data, chat("hi")).await.text(), "[no event]\n\n");
    assert_eq!(router::target(&router, &worker.url()).unwrap().outcomes(), (1, 0));
}

#[tokio::test]
async fn error_behind_content_is_no_refusal_although_both_come_in_one_piece() {
    for (no_retry, code, verdict) in
        [("0", 503, Verdict::Full), ("1", 503, Verdict::Full), ("0", 502, Verdict::Failed)]
    {
        let stream = format!("{CONTENT}data: {{\"error\": {{\"code\": {code}}}}}\n\n{DONE}");
        let answer = format!("{}0\r\n\r\n", raw::events(&[&stream]));
        let worker = Raw::start(move |_| Act::Say(answer.clone())).await;
        let other = streaming(&[CONTENT]).await;
        let router = router::start(router::config(vec![worker.entry(), other.entry()])).await;
        let mut request = chat("hi");
        request.headers_mut().insert("x-sgl-no-retry", no_retry.parse().unwrap());
        assert_eq!(call(router.addresses().data, request).await.text(), stream);
        assert!(other.seen().is_empty(), "{code}: the worker has worked on it");
        let target = router::target(&router, &worker.entry().url).unwrap();
        assert_eq!((target.counted(verdict), target.counted(Verdict::Served)), (1, 0));
        line(&router, r#"sgl_router_requests_total{route="chat_completions",status="2xx"} 1"#).await;
        line(&router, r#"sgl_router_error_events_total{route="chat_completions"} 1"#).await;
    }
}

#[tokio::test]
async fn compressed_stream_is_not_held_for_an_event_that_would_not_be_found() {
    let answer = raw::events(&["\u{1f}8 no line of data"]);
    let answer = answer.replacen("\r\n", "\r\ncontent-encoding: gzip\r\n", 1);
    let worker = Raw::start(move |_| Act::SayAndClose(answer.clone())).await;
    let other = Upstream::saying("fine").await;
    let router = router::start(router::config(vec![worker.entry(), other.entry()])).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    let response = soon(client.send(chat("hi"))).await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    assert_eq!(piece(&mut response.into_body()).await.as_deref(), Some("\u{1f}8 no line of data"));
    assert!(other.seen().is_empty(), "what has begun is not tried elsewhere");
}

#[tokio::test]
async fn events_that_are_no_errors_are_passed_on_as_they_come() {
    let (response, pieces, _) = upstream::stream();
    let worker = Upstream::once(response).await;
    let router = router::over(&[&worker]).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    let said = "data: {\"choices\": [{\"delta\": {\"content\": \"\\\"error\\\": 1\"}}], \"error\": null}\n\n";
    pieces.send(Bytes::from_static(said.as_bytes())).await.unwrap();
    let mut body = soon(client.send(post("/generate", "{}"))).await.unwrap().into_body();
    assert_eq!(piece(&mut body).await.as_deref(), Some(said));
    for text in ["data: \"abo", "rt\"\n\n", "no event"] {
        pieces.send(Bytes::from_static(text.as_bytes())).await.unwrap();
        assert_eq!(piece(&mut body).await.as_deref(), Some(text));
    }
    drop(pieces);
    assert_eq!(piece(&mut body).await, None);
    assert_eq!(router::target(&router, &worker.url()).unwrap().outcomes(), (1, 0));
}

#[tokio::test]
async fn stream_that_ends_in_comments_after_it_was_passed_on_has_broken_off() {
    let worker = Upstream::start(|_| async {
        let (response, send, _) = upstream::stream();
        tokio::spawn(async move {
            // More than is held back until the first event.
            for _ in 0..40 {
                let _ = send.send(Bytes::from(format!(": {}\n\n", "x".repeat(1000)))).await;
            }
        });
        response
    })
    .await;
    let router = router::over(&[&worker]).await;
    let answer = call(router.addresses().data, chat("hi")).await;
    assert_eq!((answer.status, answer.text().len()), (StatusCode::OK, 40 * 1004));
    let broken = r#"sgl_router_broken_answers_total{route="chat_completions"} 1"#;
    until(async || router::metrics(&router).await.text().contains(broken)).await;
    line(&router, r#"outcome="failure"} 1"#).await;
}

#[tokio::test]
async fn recorded_stream_tells_the_code_of_its_error() {
    let worker = streaming(&[CONTENT, "data: {\"error\": {\"code\": 507}}\n\n"]).await;
    let mut config = router::config(vec![worker.entry()]);
    config.records = Some(RecordSettings {
        sample: 1.0,
        file: None,
        keep: 10,
        header: false,
        inputs: sgl_api::RecordedInputs::Declared,
    });
    let router = router::start(config).await;
    let mut request = chat("hi");
    request.headers_mut().insert("x-request-id", "seven".parse().unwrap());
    call(router.addresses().data, request).await;
    until(async || {
        let shown = call(router.addresses().admin, get("/v1/decisions/seven")).await;
        shown.status == StatusCode::OK && {
            let outcome = shown.json().get("outcome").cloned().expect("an outcome");
            let told = outcome["error"].as_str().is_some_and(|error| error.contains("507"));
            outcome["end"] == "error_event" && outcome["status"] == 200 && told
        }
    })
    .await;
}
