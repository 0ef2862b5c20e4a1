//! Ends of sessions, told over HTTP.

use std::net::SocketAddr;

use sgl_testkit::client::{TestClient, call, get, with_method};
use sgl_testkit::commanded::commanded;
use sgl_testkit::process::Process;

use crate::admin::api::put;

/// A guest that logs what it is told of sessions.
fn hearing() -> Vec<u8> {
    let fields = r#"(func (export "on_session_end") (param i32 i32)
        (call $log (i32.const 1) (local.get 0) (local.get 1)))"#;
    commanded(fields, "")
}

async fn finish(address: SocketAddr, query: &str) -> (u16, serde_json::Value) {
    let answer = call(address, with_method("POST", &format!("/finish_session{query}"))).await;
    (answer.status.as_u16(), answer.json())
}

#[tokio::test]
async fn end_of_a_session_reaches_the_plugin_from_both_listeners() {
    let root = tempfile::tempdir().unwrap();
    let module = root.path().join("p.wasm");
    std::fs::write(&module, hearing()).unwrap();
    let plugin = format!("p={}", module.display());
    let mut router = Process::serve(&["--policy", "p", "--plugin", &plugin]).await;
    for (address, query, session) in [
        (router.data, "?a=b&session_id=s%2F%2017", "s/ 17"),
        (router.admin, "?session_id=agent-4", "agent-4"),
    ] {
        let (status, ended) = finish(address, query).await;
        assert_eq!(
            (status, &ended["session_id"], &ended["told"]),
            (200, &session.into(), &true.into()),
            "{ended}"
        );
        router.logged(session).await;
    }
    let pushed = call(router.admin, put("/v1/plugins/p", hearing())).await;
    assert!(pushed.status.is_success(), "{}", pushed.text());
    finish(router.data, "?session_id=after-the-swap").await;
    router.logged("after-the-swap").await;
}

#[tokio::test]
async fn key_must_be_there_and_policy_that_does_not_listen_is_no_fault() {
    let router = Process::serve(&[]).await;
    let (status, ended) = finish(router.data, "?session_id=s").await;
    assert_eq!((status, &ended["told"]), (200, &false.into()));
    let long = format!("?session_id={}", "s".repeat(1025));
    for query in ["", "?session=s", "?session_id=", &long] {
        let (status, error) = finish(router.data, query).await;
        assert_eq!((status, &error["error"]["code"]), (400, &"no_session".into()), "{query}");
        let (status, error) = finish(router.admin, query).await;
        assert_eq!((status, &error["code"]), (400, &"bad_query".into()), "{query}");
        let detail = error["detail"].as_str().expect("a detail");
        assert_eq!(detail.contains("has 1025 bytes"), query.len() > 1024, "{detail}");
    }
    for address in [router.data, router.admin] {
        let mut client = TestClient::connect(address).await;
        assert_eq!(client.call(get("/finish_session?session_id=s")).await.status.as_u16(), 405);
    }
}

#[tokio::test]
async fn shipped_policy_for_sessions_listens() {
    let router = Process::serve(&["--policy", "sticky_least_loaded"]).await;
    assert_eq!(finish(router.data, "?session_id=s").await.1["told"], true);
}
