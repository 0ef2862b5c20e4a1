use std::fs;

use http::StatusCode;
use serde_json::json;
use sgl_testkit::client::{call, chat, get, with_method};
use sgl_testkit::process::{Process, command, output, stdout};
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;

use crate::sources::views::{serving, source, until_fault, until_serving};

#[tokio::test]
async fn file_is_followed_and_a_faulty_one_takes_nobody_away() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("workers.toml");
    let router =
        router::start(router::config_with(Vec::new(), |config| config.sources.file = Some(file.clone())))
            .await;
    let fault = until_fault(&router, "cannot be read").await;
    assert_eq!(
        (&fault["source"], &fault["state"]),
        (&json!("file"), &json!("failing")),
        "it is not there yet"
    );

    fs::write(&file, "[[workers]]\nurl = \"http://a:1\"\nweight = 2\n[[workers]]\nurl = \"http://B:1/\"\n")
        .unwrap();
    until_serving(&router, &["http://a:1", "http://b:1"]).await;
    let shown = router::shown(&router, "http://a:1").await.unwrap();
    assert_eq!((&shown["source"], &shown["weight"]), (&json!("file"), &json!(2.0)));

    // What is cut off, empty, or says nothing of workers.
    for (text, said) in [
        ("[[workers]]\nurl = \"http://a:1", "line 2"),
        ("", "no `workers`"),
        ("[[workers]]\nurl = \"a:1\"\n", "workers[0].url"),
        ("[[workers]]\nurl = \"http://a:1\"\nweihgt = 1\n", "weihgt"),
        ("[[workers]]\nurl = \"http://a:1\"\n[[workers]]\nurl = \"http://a:1\"\n", "no other worker has"),
    ] {
        fs::write(&file, text).unwrap();
        let source = until_fault(&router, said).await;
        assert_eq!(source["state"], "failing", "{text}");
        assert_eq!(serving(&router).await, ["http://a:1", "http://b:1"], "{text}");
    }
    fs::remove_file(&file).unwrap();
    until_fault(&router, "cannot be read").await;
    assert_eq!(serving(&router).await, ["http://a:1", "http://b:1"]);

    fs::write(&file, "[[workers]]\nurl = \"http://a:1\"\nweight = 3\n").unwrap();
    until_serving(&router, &["http://a:1"]).await;
    until(async || router::shown(&router, "http://a:1").await.unwrap()["weight"] == 3.0).await;
    assert_eq!(source(&router).await["state"], "current");
    fs::write(&file, "workers = []\n").unwrap();
    until_serving(&router, &[]).await;
}

#[tokio::test]
async fn workers_of_a_file_leave_only_when_those_that_take_their_place_are_well() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("workers.toml");
    let (one, two) = (Upstream::saying("{}").await, Upstream::saying("{}").await);
    let say =
        |worker: &Upstream| fs::write(&file, format!("[[workers]]\nurl = \"{}\"\n", worker.url())).unwrap();
    say(&one);
    let mut config = router::checking(Vec::new());
    config.sources.file = Some(file.clone());
    config.proxy.health.failures = 1000;
    let router = router::start(config).await;
    until_serving(&router, &[&one.url()]).await;
    until(async || call(router.addresses().data, chat("hi")).await.status == StatusCode::OK).await;
    two.set_health(503);
    say(&two);
    until(async || serving(&router).await.len() == 2).await;
    assert_eq!(call(router.addresses().data, chat("hi")).await.status, StatusCode::OK);
    two.set_health(200);
    until_serving(&router, &[&two.url()]).await;
}

#[tokio::test]
async fn worker_that_was_removed_by_hand_stays_away_and_one_added_by_hand_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("workers.toml");
    fs::write(
        &file,
        "[[workers]]\nurl = \"http://127.0.0.1:11\"\n[[workers]]\nurl = \"http://127.0.0.1:12\"\n",
    )
    .unwrap();
    let state = dir.path().join("state");
    fs::create_dir(&state).unwrap();
    let flags = ["--worker-file", file.to_str().unwrap(), "--state-dir", state.to_str().unwrap()];
    let router = Process::serve(&flags).await;
    let admin = format!("http://{}", router.admin);
    let run = async |arguments: &[&str]| {
        stdout(&output(command(&[&["worker", "--admin-url", &admin], arguments].concat())).await)
    };
    until(async || run(&["list"]).await.matches(" file ").count() == 2).await;
    run(&["add", "http://127.0.0.1:13"]).await;
    assert_eq!(
        call(router.admin, with_method("DELETE", "/workers?url=http://127.0.0.1:11")).await.status,
        StatusCode::ACCEPTED
    );
    until(async || run(&["sources"]).await.contains("http://127.0.0.1:11  dismissed")).await;
    // The file changes, and names it still.
    fs::write(
        &file,
        "[[workers]]\nurl = \"http://127.0.0.1:11\"\n[[workers]]\nurl = \"http://127.0.0.1:14\"\n",
    )
    .unwrap();
    until(async || run(&["list"]).await.contains("http://127.0.0.1:14")).await;
    until(async || !run(&["list"]).await.contains("http://127.0.0.1:12")).await;
    assert!(!run(&["list"]).await.contains("http://127.0.0.1:11"), "{}", run(&["list"]).await);
    router.kill();

    let router = Process::serve(&flags).await;
    let admin = format!("http://{}", router.admin);
    let list = async || stdout(&output(command(&["worker", "--admin-url", &admin, "list"])).await);
    until(async || list().await.contains("http://127.0.0.1:14")).await;
    let list = list().await;
    let row = |url: &str| list.lines().find(|line| line.starts_with(url)).unwrap_or_default().to_owned();
    assert!(row("http://127.0.0.1:13").contains(" operator "), "{list}");
    assert!(row("http://127.0.0.1:14").contains(" file "), "{list}");
}

#[tokio::test]
async fn file_that_names_a_key_that_is_not_there_yet_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let (file, key) = (dir.path().join("workers.toml"), dir.path().join("key"));
    fs::write(&file, format!("[[workers]]\nurl = \"http://a:1\"\napi_key_file = {key:?}\n")).unwrap();
    let router =
        router::start(router::config_with(Vec::new(), |config| config.sources.file = Some(file.clone())))
            .await;
    until_fault(&router, "workers[0].api_key_file").await;
    fs::write(&key, "sk-1").unwrap();
    until_serving(&router, &["http://a:1"]).await;
    assert_eq!(source(&router).await["state"], "current");
}

#[tokio::test]
async fn readiness_tells_how_sources_are_and_not_where() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("workers.toml");
    let router =
        router::start(router::config_with(Vec::new(), |config| config.sources.file = Some(file.clone())))
            .await;
    let data = router.addresses().data;
    until_fault(&router, "cannot be read").await;
    let told = call(data, get("/readiness")).await;
    let failing = json!([{"source": "file", "state": "failing", "age_ms": null, "held": 0}]);
    assert_eq!((told.status, &told.json()["sources"]), (StatusCode::SERVICE_UNAVAILABLE, &failing));
    assert!(!told.text().contains("workers.toml"), "anybody may ask: {}", told.text());
    fs::write(&file, "[[workers]]\nurl = \"http://127.0.0.1:1\"\n").unwrap();
    until_serving(&router, &["http://127.0.0.1:1"]).await;
    let told = call(data, get("/readiness")).await.json()["sources"][0].clone();
    assert_eq!((&told["state"], &told["held"]), (&json!("current"), &json!(0)));
    assert!(told["age_ms"].is_u64(), "{told}");
    let without = router::start(router::config(Vec::new())).await;
    let told = call(without.addresses().data, get("/readiness")).await.json();
    assert!(told.get("sources").is_none(), "{told}");
}
