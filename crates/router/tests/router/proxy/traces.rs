//! Traces: what a collector gets of requests, and what workers are told.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use sgl_router::RunningRouter;
use sgl_router::config::RouterConfig;
use sgl_testkit::client::{call, chat, get};
use sgl_testkit::process::Process;
use sgl_testkit::router;
use sgl_testkit::upstream::{self, Upstream};
use sgl_testkit::waits::until;

use crate::proxy::otlp::{Span, spans_of};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT_SPAN: &str = "b7ad6b7169203331";

async fn tracing(
    workers: &[&Upstream],
    collector: &Upstream,
    change: impl FnOnce(&mut RouterConfig),
) -> RunningRouter {
    let entries = workers.iter().map(|worker| worker.entry()).collect();
    let endpoint = collector.url();
    let config = router::config_with(entries, |config| {
        config.traces.endpoint = Some(endpoint);
        change(config);
    });
    router::start(config).await
}

fn of_trace(flags: &str) -> Request<Full<Bytes>> {
    let mut request = chat("hi");
    let parent = format!("00-{TRACE}-{CLIENT_SPAN}-{flags}");
    request.headers_mut().insert("traceparent", HeaderValue::try_from(parent).unwrap());
    request.headers_mut().insert("tracestate", HeaderValue::from_static("vendor=1"));
    request
}

/// All spans that a collector got from a router, which stops for that, by name and in their order.
async fn collected(router: RunningRouter, collector: &Upstream) -> BTreeMap<String, Vec<Span>> {
    router.shut_down().await;
    let mut spans: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    for request in collector.seen() {
        assert_eq!(request.uri.path(), "/v1/traces");
        assert_eq!(request.headers["content-type"], "application/x-protobuf");
        for span in spans_of(&request.body) {
            spans.entry(span.name.clone()).or_default().push(span);
        }
    }
    spans
}

fn told(worker: &Upstream) -> Vec<String> {
    let seen = worker.seen();
    seen.iter().map(|seen| seen.headers["traceparent"].to_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn trace_of_the_client_is_continued_through_decision_and_attempt_to_the_worker() {
    let collector = Upstream::saying("").await;
    let worker = Upstream::start(|_| async {
        let (response, send, _) = upstream::stream();
        tokio::spawn(async move {
            let usage =
                "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 12, \"completion_tokens\": 3}}\n\n";
            for piece in ["data: {\"choices\": [{}]}\n\n", usage, "data: [DONE]\n\n"] {
                let _ = send.send(Bytes::from(piece)).await;
            }
        });
        response
    })
    .await;
    let router = tracing(&[&worker], &collector, |config| config.traces.sample = 0.0).await;
    assert_eq!(call(router.addresses().data, of_trace("01")).await.status, StatusCode::OK);
    let spans = collected(router, &collector).await;
    let ([request], [decision], [attempt]) = (
        spans["POST /v1/chat/completions"].as_slice(),
        spans["decision"].as_slice(),
        spans["attempt"].as_slice(),
    ) else {
        panic!("one of each: {spans:#?}")
    };
    for span in [request, decision, attempt] {
        assert_eq!((span.trace.as_str(), span.state.as_str()), (TRACE, "vendor=1"));
        assert!(
            span.begin <= span.end && request.begin <= span.begin && span.end <= request.end,
            "{spans:#?}"
        );
    }
    assert_eq!((request.parent.as_str(), request.kind), (CLIENT_SPAN, 2));
    assert_eq!((decision.parent.as_str(), decision.kind), (request.id.as_str(), 1));
    assert_eq!((attempt.parent.as_str(), attempt.kind), (request.id.as_str(), 3));
    assert_eq!(told(&worker), [format!("00-{TRACE}-{}-01", attempt.id)]);
    assert_eq!(worker.seen()[0].headers["tracestate"], "vendor=1");
    let url = worker.url();
    for (span, key, value) in [
        (request, "http.response.status_code", "200"),
        (request, "http.request.method", "POST"),
        (request, "http.route", "/v1/chat/completions"),
        (request, "sgl.worker", url.as_str()),
        (request, "sgl.end", "complete"),
        (request, "gen_ai.usage.input_tokens", "12"),
        (request, "gen_ai.usage.output_tokens", "3"),
        (request, "client.address", "127.0.0.1"),
        (decision, "sgl.policy", "round_robin"),
        (decision, "sgl.chooser", "native"),
        (attempt, "sgl.worker", url.as_str()),
        (attempt, "server.address", "127.0.0.1"),
        (attempt, "http.response.status_code", "200"),
    ] {
        assert_eq!(span.attributes.get(key).map(String::as_str), Some(value), "{key} of {span:#?}");
    }
    assert_eq!(decision.attributes["sgl.chosen"], format!("[{url}]"));
    assert_eq!(request.events, ["first token"]);
    assert_eq!((request.status, attempt.status), (0, 0));
    assert_eq!(request.service, "sgl-router");
}

#[tokio::test]
async fn each_attempt_is_a_span_of_which_its_worker_is_told() {
    let collector = Upstream::saying("").await;
    let [ill, well] = [Upstream::failing(502).await, Upstream::saying("{}").await];
    let router = tracing(&[&ill, &well], &collector, |_| ()).await;
    let data = router.addresses().data;
    // One of the two begins at the worker that fails.
    for _ in 0..2 {
        assert_eq!(call(data, chat("hi")).await.status, StatusCode::OK);
    }
    let spans = collected(router, &collector).await;
    let failed: Vec<&Span> = spans["attempt"].iter().filter(|span| span.status == 2).collect();
    let retried: Vec<&Span> =
        spans["attempt"].iter().filter(|span| span.attributes.contains_key("sgl.retry_reason")).collect();
    assert!(!failed.is_empty() && failed.len() == retried.len(), "{spans:#?}");
    assert_eq!(spans["decision"].len(), spans["attempt"].len());
    for (first, second) in failed.iter().zip(&retried) {
        assert_eq!(first.attributes["http.response.status_code"], "502");
        assert_eq!(second.attributes["sgl.retry_reason"], "status");
        assert_eq!((&first.trace, &first.parent), (&second.trace, &second.parent));
        assert!(told(&ill).contains(&format!("00-{}-{}-01", first.trace, first.id)));
        assert!(told(&well).contains(&format!("00-{}-{}-01", second.trace, second.id)));
    }
}

#[tokio::test]
async fn request_that_is_not_sampled_has_no_spans_and_its_trace_goes_on() {
    let collector = Upstream::saying("").await;
    let worker = Upstream::saying("{}").await;
    let router = tracing(&[&worker], &collector, |config| config.traces.sample = 0.0).await;
    let data = router.addresses().data;
    call(data, of_trace("00")).await;
    call(data, chat("hi")).await;
    // A trace that is none begins anew, and with it what vendors say of it ends.
    let mut odd = of_trace("01");
    odd.headers_mut().insert("traceparent", HeaderValue::from_static("00-nonsense"));
    call(data, odd).await;
    let told = told(&worker);
    assert_eq!(told[0], format!("00-{TRACE}-{CLIENT_SPAN}-00"));
    assert!(told[1].ends_with("-00") && told[2].ends_with("-00"), "workers begin no trace either: {told:?}");
    assert!(!told[1].contains(TRACE) && told[1] != told[2], "{told:?}");
    assert!(!worker.seen()[2].headers.contains_key("tracestate"));
    assert_eq!(collected(router, &collector).await, BTreeMap::new());
}

#[tokio::test]
async fn refusals_are_spans_and_probes_are_none() {
    let collector = Upstream::saying("").await;
    let router = tracing(&[], &collector, |_| ()).await;
    let data = router.addresses().data;
    call(data, get("/readiness")).await;
    call(data, get("/liveness")).await;
    assert_eq!(call(data, chat("hi")).await.code(), "no_worker_available");
    assert_eq!(call(data, get("/nowhere")).await.code(), "not_found");
    let spans = collected(router, &collector).await;
    assert_eq!(spans.keys().collect::<Vec<_>>(), ["GET", "POST /v1/chat/completions", "decision"]);
    let [request] = spans["POST /v1/chat/completions"].as_slice() else { panic!("one: {spans:#?}") };
    assert_eq!((request.status, request.attributes["error.type"].as_str()), (2, "no_worker_available"));
    // What clients do wrong is no error of a server's span.
    assert_eq!((spans["GET"][0].status, spans["GET"][0].attributes["error.type"].as_str()), (0, "not_found"));
}

#[tokio::test]
async fn collector_that_is_down_costs_spans_and_no_requests_and_is_tried_again() {
    let worker = Upstream::saying("{}").await;
    let collector = Upstream::saying("").await;
    let address = collector.address;
    let router = tracing(&[&worker], &collector, |_| ()).await;
    drop(collector);
    let data = router.addresses().data;
    let count = async |outcome: &str| {
        let page = router::metrics(&router).await;
        let name = format!("sgl_router_trace_spans_total{{outcome=\"{outcome}\"}} ");
        let line = page.text().lines().find_map(|line| line.strip_prefix(&name).map(str::to_owned));
        line.expect("the metric").parse::<u64>().unwrap()
    };
    assert_eq!(call(data, chat("hi")).await.status, StatusCode::OK);
    until(async || count("failed").await == 3).await;
    assert_eq!((count("sent").await, count("dropped").await), (0, 0));
    let collector = Upstream::start_at(address, |_| async { upstream::whole(200, "") }).await;
    assert_eq!(call(data, chat("hi")).await.status, StatusCode::OK);
    until(async || count("sent").await == 3).await;
    assert_eq!(count("failed").await, 3);
    assert_eq!(collected(router, &collector).await.len(), 3);
}

#[tokio::test]
async fn log_says_once_that_traces_are_lost() {
    let worker = Upstream::saying("{}").await;
    let (worker, url) = (worker.url(), "http://127.0.0.1:9");
    let flags = ["--worker-urls", &worker, "--otlp-traces-endpoint", url, "--otel-sampling-ratio", "1"];
    let (mut router, _) = Process::from_flags(&flags).await;
    router.ready().await;
    assert_eq!(call(router.data, chat("hi")).await.status, StatusCode::OK);
    let line = router.logged("traces are lost").await;
    assert_eq!(line["fields"]["collector"], "http://127.0.0.1:9/v1/traces");
    assert!(line["fields"]["error"].as_str().is_some_and(|error| !error.is_empty()), "{line}");
    // The next batch fails too, with the end of the router, and is not told of again.
    assert_eq!(call(router.data, chat("hi")).await.status, StatusCode::OK);
    router.signal("-TERM");
    let rest = router.lines_to_the_end().await;
    assert!(!rest.iter().any(|line| line.contains("traces are lost")), "{rest:#?}");
}
