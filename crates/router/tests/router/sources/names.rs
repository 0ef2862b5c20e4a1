use serde_json::json;
use sgl_router::RunningRouter;
use sgl_router::config::{DnsEntry, WorkerEntry};
use sgl_testkit::client::{call, get};
use sgl_testkit::process::Process;
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;
use sglang_router_rs::core::WorkerRole;

use crate::sources::name_server::{A, AAAA, NameServer, Reply, SRV, addresses, services};
use crate::sources::views::{serving, source, until_fault, until_serving};

const NAME: &str = "engines.test";

async fn over(server: &NameServer, entry: DnsEntry) -> RunningRouter {
    let config = router::config_with(Vec::new(), |config| {
        config.sources.dns_servers = vec![server.address.to_string()];
        config.sources.dns = vec![DnsEntry { interval_secs: 1, ..entry }];
    });
    router::start(config).await
}

fn at(url: &str) -> DnsEntry {
    DnsEntry { url: url.to_owned(), ..DnsEntry::default() }
}

#[tokio::test]
async fn addresses_of_both_kinds_are_workers_and_follow_the_name() {
    let server = NameServer::start().await;
    server.say(NAME, A, addresses(&["10.0.0.1", "10.0.0.2", "10.0.0.3"], 600));
    server.say(NAME, AAAA, addresses(&["fd00::1"], 600));
    let worker =
        WorkerEntry { role: WorkerRole::Decode, model: Some("m".to_owned()), ..WorkerEntry::default() };
    let router = over(&server, DnsEntry { worker, ..at("http://engines.test:8000") }).await;
    let all =
        ["http://10.0.0.1:8000", "http://10.0.0.2:8000", "http://10.0.0.3:8000", "http://[fd00::1]:8000"];
    until_serving(&router, &all).await;
    let shown = router::shown(&router, all[3]).await.unwrap();
    assert_eq!(
        [&shown["role"], &shown["model"], &shown["source"]],
        [&json!("decode"), &json!("m"), &json!("dns")]
    );
    let source = source(&router).await;
    assert_eq!((&source["name"], &source["state"]), (&json!("http://engines.test:8000"), &json!("current")));

    server.say(NAME, A, addresses(&["10.0.0.2", "10.0.0.3", "10.0.0.4"], 600));
    until_serving(&router, &["http://10.0.0.2:8000", "http://10.0.0.3:8000", "http://10.0.0.4:8000", all[3]])
        .await;
}

#[tokio::test]
async fn no_answer_and_an_empty_one_take_nobody_away() {
    let server = NameServer::start().await;
    server.say(NAME, A, addresses(&["10.0.0.1", "10.0.0.2"], 1));
    let router = over(&server, at("http://engines.test:8000")).await;
    let both = ["http://10.0.0.1:8000", "http://10.0.0.2:8000"];
    until_serving(&router, &both).await;
    for (reply, said) in [
        (Reply::NoName, "no records"),
        (Reply::NoData, "no records"),
        (Reply::Failure, ""),
        (Reply::Silence, "timed out"),
    ] {
        server.say(NAME, A, addresses(&["10.0.0.1", "10.0.0.2"], 1));
        server.say(NAME, AAAA, Reply::NoData);
        until(async || source(&router).await["state"] == "current").await;
        server.say(NAME, A, reply.clone());
        if !matches!(reply, Reply::NoName | Reply::NoData) {
            // The other kind is answered, with nobody: what was known of this one stays.
            let asked = server.asked(NAME, A);
            until(async || server.asked(NAME, A) > asked + 2).await;
            assert_eq!(source(&router).await["state"], "current", "{reply:?}");
            server.say(NAME, AAAA, reply.clone());
        }
        until_fault(&router, said).await;
        assert_eq!(serving(&router).await, both, "{reply:?}");
    }
    let page = router::metrics(&router).await;
    let failures =
        "sgl_router_source_failures_total{source=\"dns\",name=\"http://engines.test:8000\",cause=\"empty\"}";
    assert!(page.text().contains(failures), "{}", page.text());
}

#[tokio::test]
async fn addresses_at_which_nobody_can_be_are_left_out() {
    let server = NameServer::start().await;
    let of_four = ["0.0.0.0", "10.0.0.1", "224.0.0.1", "255.255.255.255"];
    server.say(NAME, A, addresses(&of_four, 1));
    server.say(NAME, AAAA, addresses(&["::", "fd00::1", "ff02::1"], 1));
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("router.toml");
    let text = format!("[sources]\ndns_servers = [\"{}\"]\n", server.address);
    std::fs::write(&config, text).unwrap();
    let flags = ["--config", config.to_str().unwrap(), "--worker-dns", "http://engines.test:8000"];
    let (mut router, mut lines) = Process::serve_and_log(&flags).await;
    let is_about = |line: &String| line.contains("left out: no host has such an address");
    if !lines.iter().any(is_about) {
        lines.extend(router.lines_until("left out: no host has such an address").await);
    }
    let line = lines.iter().find(|line| is_about(line)).unwrap();
    assert!(line.contains("0.0.0.0, 224.0.0.1, 255.255.255.255, ::, ff02::1"), "{line}");
    let urls = async || {
        let list = call(router.admin, get("/workers")).await.json();
        list["workers"].as_array().unwrap().iter().map(|one| one["url"].clone()).collect::<Vec<_>>()
    };
    until(async || urls().await == ["http://10.0.0.1:8000", "http://[fd00::1]:8000"]).await;
    // It is asked again and again, and says the same.
    let asked = server.asked(NAME, A);
    until(async || server.asked(NAME, A) > asked + 2).await;
    router.signal("-TERM");
    let rest = router.lines_to_the_end().await;
    assert!(!rest.iter().any(is_about), "{rest:?}");
    // Nobody but these: as a name without workers.
    server.say(NAME, A, addresses(&["0.0.0.0"], 1));
    server.say(NAME, AAAA, Reply::NoData);
    let router = over(&server, at("http://engines.test:8000")).await;
    until_fault(&router, "no records of workers").await;
}

#[tokio::test]
async fn answer_without_most_workers_is_held() {
    let server = NameServer::start().await;
    server.say(NAME, A, addresses(&["10.0.0.1", "10.0.0.2", "10.0.0.3"], 1));
    let router = over(&server, at("http://engines.test")).await;
    let all = ["http://10.0.0.1", "http://10.0.0.2", "http://10.0.0.3"];
    until_serving(&router, &all).await;
    server.say(NAME, A, addresses(&["10.0.0.1"], 1));
    until(async || source(&router).await["state"] == "holding").await;
    assert_eq!(serving(&router).await, all);
    let members = source(&router).await["members"].clone();
    assert_eq!(members[1], json!({"id": "http://10.0.0.2", "url": "http://10.0.0.2", "state": "held"}));
}

#[tokio::test]
async fn services_are_workers_by_their_priority_with_their_ports_and_weights() {
    let worker = Upstream::saying("{}").await;
    let port = worker.url().rsplit(':').next().unwrap().parse().unwrap();
    let server = NameServer::start().await;
    let name = "_http._tcp.engines.test";
    server.say(
        name,
        SRV,
        services(&[(1, 0, port, "localhost"), (1, 7, 8001, "e-1.engines.test"), (2, 1, 9, "spare.test")], 1),
    );
    let router = over(&server, at("http://_http._tcp.engines.test")).await;
    let first = format!("http://localhost:{port}");
    until_serving(&router, &["http://e-1.engines.test:8001", &first]).await;
    assert_eq!(router::shown(&router, "http://e-1.engines.test:8001").await.unwrap()["weight"], 7.0);
    assert_eq!(router::shown(&router, &first).await.unwrap()["weight"], 1.0);
    // A dot alone: there is no such service.
    server.say(name, SRV, services(&[(0, 0, 0, ".")], 1));
    until_fault(&router, "no records").await;
    assert_eq!(serving(&router).await.len(), 2);
}

#[tokio::test]
async fn faulty_names_are_told_by_their_keys_and_flags() {
    use sgl_testkit::process::{command, output, stderr};
    for (url, said) in [
        ("engines.test:8000", "sources.dns[0].url (--worker-dns): found \"engines.test:8000\""),
        ("http://10.0.0.1:8000", "an address is a worker"),
        ("https://engines.test", "`https` only for services"),
        ("http://_http._tcp.engines.test:80000", "sources.dns[0].url"),
        ("http://_http._tcp.engines.test:8000", "a service without a port"),
    ] {
        let output = output(command(&["serve", "--worker-dns", url])).await;
        let error = stderr(&output);
        assert!(!output.status.success() && error.contains(said), "{url}: {error}");
    }
    let (server, dir) = (NameServer::start().await, tempfile::tempdir().unwrap());
    let config = dir.path().join("router.toml");
    std::fs::write(&config, format!("[sources]\ndns_servers = [\"{}\"]\n", server.address)).unwrap();
    let flags = ["--config", config.to_str().unwrap(), "--worker-dns", "http://engines.test:8000"];
    let router = Process::serve(&flags).await;
    let sources = async || call(router.admin, get("/v1/sources")).await.json()["sources"].clone();
    until(async || sources().await[0]["fault"] == "the name has no records of workers").await;
}
