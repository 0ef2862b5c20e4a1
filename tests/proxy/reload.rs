//! SIGHUP, and what a restart comes back with.

use std::path::Path;

use http::Request;
use http::StatusCode;

use crate::client::call;
use crate::client::chat;
use crate::plugins::SECOND_WORKER;
use crate::plugins::guest;
use crate::router::until;
use crate::serve_command::Router;
use crate::upstream::Upstream;

/// Writes a configuration with these workers, and a plugin if there is one.
fn configure(file: &Path, workers: &[&str], rest: &str) {
    let workers: String = workers.iter().map(|url| format!("[[workers]]\nurl = \"{url}\"\n")).collect();
    std::fs::write(file, format!("{rest}\n{workers}")).unwrap();
}

async fn answers(router: &Router, text: &str) -> bool {
    call(router.address, chat("hi")).await.text() == text
}

#[tokio::test]
async fn hangup_reloads_workers_and_keeps_what_serves_if_the_file_is_bad() {
    let [first, second] = [Upstream::saying("first").await, Upstream::saying("second").await];
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("router.toml");
    configure(&file, &[&first.url()], "");
    let mut router = Router::serve(&["--config", file.to_str().unwrap()]).await;
    router.ready().await;
    assert!(answers(&router, "first").await);

    configure(&file, &["not a url"], "");
    router.signal("-HUP");
    router.logged("nothing reloaded").await;
    assert!(answers(&router, "first").await);

    configure(&file, &[&second.url()], "");
    router.signal("-HUP");
    router.logged("reloaded the configuration").await;
    until(async || answers(&router, "second").await).await;
    assert!(answers(&router, "second").await && !answers(&router, "first").await);

    router.signal("-TERM");
    assert!(router.child.wait().unwrap().success(), "it still ends by the other signals");
}

#[tokio::test]
async fn hangup_reloads_a_plugin_whose_file_has_changed_and_unloads_one_that_is_gone() {
    let [first, second] = [Upstream::saying("first").await, Upstream::saying("second").await];
    let dir = tempfile::tempdir().unwrap();
    let (file, module) = (dir.path().join("router.toml"), dir.path().join("mine.wasm"));
    std::fs::write(&module, guest("(i32.store8 (i32.const 18) (i32.const 0)) (i64.const 0x12_0000_0001)"))
        .unwrap();
    let plugin =
        |name: &str| format!("[[plugins]]\nname = \"{name}\"\nmodule_path = \"{}\"\n", module.display());
    let urls = [first.url(), second.url()];
    let both = format!("{}{}", plugin("mine"), plugin("other"));
    let workers = [&*urls[0], &*urls[1]];
    configure(&file, &workers, &both);
    let arguments = ["--config", file.to_str().unwrap(), "--policy", "mine"];
    let mut router = Router::serve(&arguments).await;
    router.ready().await;
    until(async || answers(&router, "first").await).await;

    std::fs::write(&module, b"no module").unwrap();
    router.signal("-HUP");
    router.logged("not loaded; what served goes on").await;
    assert!(answers(&router, "first").await);

    std::fs::write(&module, guest(SECOND_WORKER)).unwrap();
    configure(&file, &workers, &plugin("mine"));
    router.signal("-HUP");
    router.logged("unloaded: not configured any more").await;
    until(async || answers(&router, "second").await).await;
}

#[tokio::test]
async fn worker_that_an_operator_added_is_there_after_a_restart_until_it_is_removed() {
    let worker = Upstream::saying("kept").await;
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--state-dir", dir.path().to_str().unwrap()];
    let change = |method: &str, uri: &str, body: String| {
        Request::builder()
            .method(method)
            .uri(uri)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(http_body_util::Full::new(bytes::Bytes::from(body)))
            .unwrap()
    };
    let router = Router::serve(&arguments).await;
    let added =
        call(router.admin, change("POST", "/workers", format!("{{\"url\": \"{}\"}}", worker.url()))).await;
    assert_eq!(added.status, StatusCode::CREATED);
    // Killed, as a crash would.
    drop(router);

    let router = Router::serve(&arguments).await;
    router.ready().await;
    assert!(answers(&router, "kept").await);
    let uri = format!("/workers?url={}", worker.url());
    let removed = call(router.admin, change("DELETE", &uri, String::new())).await;
    assert_eq!(removed.status, StatusCode::ACCEPTED);
    drop(router);

    let router = Router::serve(&arguments).await;
    let refused = call(router.address, chat("hi")).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.text());
}
