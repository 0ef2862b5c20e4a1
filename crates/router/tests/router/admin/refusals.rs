//! What is refused, and that traffic does not notice.

use http::{Method, StatusCode};
use sgl_testkit::client::{TestClient, call, chat, get};
use sgl_testkit::small_guests::{BASICS, guest, guest_choosing, guest_with};
use tokio::sync::oneshot;

use crate::admin::api::Setup;

fn module(fields: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {fields})")).expect("a module")
}

#[tokio::test]
async fn bad_modules_are_refused_by_name_and_traffic_does_not_notice() {
    let setup = Setup::new().await;
    let (stop, mut stopped) = oneshot::channel::<()>();
    let address = setup.router.addresses().data;
    let traffic = tokio::spawn(async move {
        let mut client = TestClient::connect(address).await;
        let mut answers = 0_u32;
        while stopped.try_recv().is_err() {
            let answer = client.call(chat("hi")).await;
            assert_eq!((answer.status, answer.text()), (StatusCode::OK, "first"));
            answers += 1;
        }
        answers
    });
    let generation = setup.show("mine").await["generations"].clone()[0]["generation"].clone();
    let mut corrupt = guest_choosing(1);
    corrupt.truncate(corrupt.len() - 3);
    let trapping_init = format!(
        r#"{BASICS} (func (export "init") unreachable)
           (func (export "select_worker") (param i32 i32) (result i64) (i64.const 0))"#
    );
    let bad: [(&str, &str, Vec<u8>); 7] = [
        ("not_wasm", "", b"nonsense".to_vec()),
        ("invalid_module", "", corrupt),
        ("missing_export", "", module(BASICS)),
        ("start_trapped", "", module(&trapping_init)),
        ("self_test_failed", "", guest("unreachable")),
        ("refused_import", "", guest_with(r#"(import "env" "secret" (func))"#, "(i64.const 0)")),
        ("memory_limit_exceeded", "max_memory_bytes=65536", guest_choosing(1)),
    ];
    for (code, query, wasm) in bad {
        let answer = setup.put("mine", query, wasm).await;
        assert_eq!(answer.json()["code"], code, "{}", answer.text());
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{code}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.json()["type"], format!("urn:sgl-router:problem:{code}"));
    }
    stop.send(()).unwrap();
    assert!(traffic.await.unwrap() > 0);
    let view = setup.show("mine").await;
    assert_eq!(view["generations"][0]["generation"], generation);
    assert_eq!((&view["swaps"], &view["rollbacks"]), (&0.into(), &0.into()));
}

#[tokio::test]
async fn bad_requests_say_what_is_wrong() {
    let setup = Setup::new().await;
    for (name, query, status, code) in [
        ("mine", "max_time=1", 400, "bad_settings"),
        ("mine", "name=%22x%22", 400, "bad_settings"),
        ("mine", "config=nonsense", 400, "bad_query"),
        ("mine", "max_execution_time_ms=0&max_memory_bytes=1", 422, "config_faults"),
        ("round_robin", "", 422, "reserved_name"),
        ("no%20name", "", 422, "config_faults"),
        ("mine", "options=%7B%22if_loaded%22%3A%22refuse%22%7D", 409, "duplicate"),
    ] {
        let answer = setup.put(name, query, guest_choosing(1)).await;
        assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (status, Some(code)), "{query}");
    }
    let faults = setup.put("mine", "max_execution_time_ms=0&max_memory_bytes=1", guest_choosing(1)).await;
    assert_eq!(faults.json()["faults"].as_array().unwrap().len(), 2, "{}", faults.text());
    let options = r#"{"breaker":{"backoff_ms":0},"rollout":{"mode":"canary","percent":0,"max_p99_ratio":0}}"#;
    let query = format!("allowed_syscalls=[\"clock\"]&options={options}");
    let query = query.replace('"', "%22").replace('{', "%7B").replace('}', "%7D");
    let faults = setup.put("mine", &query, guest_choosing(1)).await.json()["faults"].clone();
    let keys: Vec<&str> =
        faults.as_array().unwrap().iter().map(|fault| fault["key"].as_str().unwrap()).collect();
    let expected = [
        "allowed_syscalls[0]",
        "options.rollout.percent",
        "options.rollout.max_p99_ratio",
        "options.breaker.backoff_ms",
    ];
    assert_eq!(keys, expected, "{faults}");
    let empty = setup.put("mine", "", Vec::new()).await;
    assert_eq!((empty.status, empty.json()["code"].as_str()), (StatusCode::BAD_REQUEST, Some("no_module")));
}

#[tokio::test]
async fn unknown_parameters_of_a_query_are_refused_with_those_that_there_are() {
    let setup = Setup::new().await;
    let admin = setup.router.addresses().admin;
    let known = ["/v1/events", "/v1/decisions", "/v1/audit", "/v1/queue"];
    let other =
        |method, path, expected| (method, path, format!("unknown field `forse`, expected `{expected}`"));
    let unread = known.map(|path| other(Method::GET, path, "limit"));
    let changes = [
        other(Method::DELETE, "/v1/plugins/mine", "force"),
        other(Method::POST, "/v1/config/reload", "dry_run"),
        other(Method::POST, "/workers/drain", "force` or `url"),
        other(Method::POST, "/workers/undrain", "url"),
        other(Method::DELETE, "/workers", "url"),
    ];
    let mut wrong = Vec::new();
    for (method, path, fault) in unread.into_iter().chain(changes) {
        let mut request = get(&format!("{path}?forse=true"));
        *request.method_mut() = method;
        let refused = call(admin, request).await;
        let problem = refused.json();
        let is_told = problem["detail"].as_str().is_some_and(|detail| detail.contains(&fault));
        if (refused.status, problem["code"].as_str()) != (StatusCode::BAD_REQUEST, Some("bad_query"))
            || !is_told
        {
            wrong.push((path, refused.status, problem));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for path in known {
        let answer = call(admin, get(&format!("{path}?limit=1"))).await;
        assert_ne!(answer.status, StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn module_beyond_the_limit_is_answered_with_413_before_it_is_sent() {
    let setup = Setup::new().await;
    let mut stream = tokio::net::TcpStream::connect(setup.router.addresses().admin).await.unwrap();
    let head = format!(
        "PUT /v1/plugins/mine HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/wasm\r\ncontent-length: {}\r\n\r\n",
        (32 << 20) + 1
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
}
