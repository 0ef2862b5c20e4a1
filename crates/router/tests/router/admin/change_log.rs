//! Every change over HTTP is in the log, with who and what; so is every refused attempt.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use sgl_testkit::client::{call, with_method};
use sgl_testkit::process::Process;
use sgl_testkit::small_guests::{guest, guest_choosing};

use crate::admin::api::{json, options, put};

/// Sends it under a name of its own, and waits for the line that says so.
async fn logged(router: &mut Process, agent: &str, mut request: Request<Full<Bytes>>) -> Value {
    request.headers_mut().insert("user-agent", agent.parse().unwrap());
    call(router.admin, request).await;
    router.logged(agent).await
}

#[tokio::test]
async fn loads_and_refused_loads_are_logged_with_who_and_what() {
    let mut router = Process::serve(&[]).await;
    let line = logged(&mut router, "agent/1", put("/v1/plugins/p", guest_choosing(0))).await;
    let fields = &line["fields"];
    assert_eq!(
        (&line["level"], &fields["plugin"], &fields["generation"]),
        (&json!("INFO"), &json!("p"), &json!(1))
    );
    assert_eq!(
        (fields["strategy"].as_str(), fields["digest"].as_str().unwrap().len()),
        (Some("immediate"), 64)
    );
    let who = fields["who"].as_str().unwrap();
    assert!(who.starts_with("127.0.0.1:") && who.ends_with(" without a token (agent/1)"), "{who}");

    let canary = options(&json!({"rollout": {"mode": "canary"}}));
    let bad = put(&format!("/v1/plugins/p?{canary}"), guest("unreachable"));
    let line = logged(&mut router, "agent/2", bad).await;
    let fields = &line["fields"];
    assert_eq!((&line["level"], &fields["code"]), (&json!("WARN"), &json!("self_test_failed")), "{line}");
    assert_eq!((&fields["plugin"], &fields["strategy"]), (&json!("p"), &json!("canary")));
    assert_eq!(fields["module"].as_str().unwrap().len(), "sha256 ".len() + 64);
    assert!(fields["reason"].as_str().unwrap().contains("trap"), "{line}");

    // The status of a stream says nothing of the outcome; the log does.
    let mut streamed = put("/v1/plugins/p", b"nonsense".to_vec());
    streamed.headers_mut().insert("accept", "application/x-ndjson".parse().unwrap());
    let line = logged(&mut router, "agent/3", streamed).await;
    assert_eq!(line["fields"]["code"], "not_wasm", "{line}");

    let patch = json("PATCH", "/v1/plugins/p/config", &json!({"max_execution_time_ms": 20}));
    let line = logged(&mut router, "agent/4", patch).await;
    assert_eq!(line["level"], "INFO", "{line}");
    assert!(line["fields"]["generation"].as_u64() > Some(1), "{line}");
    assert_eq!(line["fields"]["settings"], "max_execution_time_ms", "{line}");

    // Names only: a value may be a secret.
    let secret = json!({"config": {"a\n\u{202e}": "hush"}, "options": {"min_warm": -1}});
    let line = logged(&mut router, "agent/5", json("PATCH", "/v1/plugins/p/config", &secret)).await;
    let named = r"config.a\n\u{202e}, options.min_warm";
    assert_eq!((&line["level"], &line["fields"]["settings"]), (&json!("WARN"), &json!(named)), "{line}");
    assert!(!line.to_string().contains("hush"), "{line}");
}

#[tokio::test]
async fn other_changes_and_what_never_reached_an_endpoint_are_logged() {
    let mut router = Process::serve(&[]).await;
    let worker = json!({"url": "http://127.0.0.1:1"});
    let line = logged(&mut router, "agent/1", json("POST", "/workers", &worker)).await;
    assert_eq!(
        (&line["fields"]["change"], &line["fields"]["status"], &line["fields"]["what"]),
        (&json!("POST /workers"), &json!(201), &json!("worker http://127.0.0.1:1, role regular"))
    );
    let worker = json!({"url": "http://127.0.0.1:2", "role": "decode", "model": "m\n\u{202e}"});
    let line = logged(&mut router, "agent/1b", json("POST", "/workers", &worker)).await;
    assert_eq!(line["fields"]["what"], r"worker http://127.0.0.1:2, role decode, model m\n\u{202e}");
    let secret = json!({"url": "http://user:hush@127.0.0.1:3"});
    let line = logged(&mut router, "agent/1c", json("POST", "/workers", &secret)).await;
    assert_eq!((&line["level"], &line["fields"]["status"]), (&json!("WARN"), &json!(400)), "{line}");
    assert!(!line.to_string().contains("hush"), "{line}");
    let drain = with_method("POST", "/workers/drain?url=http://127.0.0.1:1&force=true");
    let line = logged(&mut router, "agent/2", drain).await;
    assert_eq!(line["fields"]["change"], "POST /workers/drain?url=http://127.0.0.1:1&force=true");
    let line = logged(&mut router, "agent/3", with_method("DELETE", "/v1/plugins/none")).await;
    assert_eq!((&line["level"], &line["fields"]["status"]), (&json!("WARN"), &json!(404)));
    assert!(line["fields"]["reason"].as_str().unwrap().starts_with("plugin_not_found: "), "{line}");

    let mut foreign = put("/v1/plugins/p", guest_choosing(0));
    foreign.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
    let line = logged(&mut router, "agent/4", foreign).await;
    assert_eq!((&line["fields"]["status"], &line["fields"]["message"]), (&json!(403), &json!("refused")));
    assert!(line["fields"]["reason"].as_str().unwrap().contains("evil.example"), "{line}");
}
