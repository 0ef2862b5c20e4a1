//! `sgl-router worker`, and what it sends: changes of workers that serve.

use http::StatusCode;
use serde_json::{Value, json};
use sgl_router::config::WorkerEntry;
use sgl_testkit::client::{Whole, call, chat, get, with_method};
use sgl_testkit::process::{Process, command, output, stderr, stdout};
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;

/// Runs `sgl-router worker` at this router; gives exit code, standard output and standard error.
async fn worker(router: &Process, arguments: &[&str]) -> (i32, String, String) {
    let admin = format!("http://{}", router.admin);
    let output = output(command(&[&["worker", "--admin-url", &admin], arguments].concat())).await;
    (output.status.code().expect("a code"), stdout(&output), stderr(&output))
}

/// The rows of the list.
async fn listed(router: &Process) -> Vec<String> {
    let (code, out, error) = worker(router, &["list"]).await;
    assert_eq!(code, 0, "{error}");
    // What is behind an empty line are reasons.
    out.lines()
        .skip(1)
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

async fn patch(router: &sgl_router::RunningRouter, url: &str, body: &Value) -> Whole {
    let path = format!("/workers/{}", url.replace(':', "%3A").replace('/', "%2F"));
    let mut request = with_method("PATCH", &path).map(|_| body.to_string().into());
    request.headers_mut().insert("content-type", "application/merge-patch+json".parse().expect("a value"));
    call(router.addresses().admin, request).await
}

#[tokio::test]
async fn workers_that_are_ill_there_already_or_misspelt_are_told_with_what_helps() {
    let router = Process::serve(&["--health-check-interval-secs", "1"]).await;
    let admin = format!("http://{}", router.admin);
    let run = async |command_line: &[&str]| {
        let all = [&["worker", "--admin-url", admin.as_str()], command_line].concat();
        let output = output(command(&all)).await;
        (stdout(&output), stderr(&output))
    };
    // Nobody listens there any more.
    let url = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    run(&["add", &url]).await;
    let ill = async || run(&["list"]).await.0.contains(&format!("\n\n{url}: no connection"));
    until(ill).await;
    let status = stdout(&output(command(&["status", "--admin-url", &admin])).await);
    assert!(status.contains(&format!("{url}: no connection")), "{status}");
    let (_, said) = run(&["add", &url]).await;
    assert!(said.contains("already there") && said.contains("sgl-router worker set"), "{said}");
    let (_, said) = run(&["set", &url, "wieght=2"]).await;
    assert!(said.contains("unknown field `wieght`, expected one of `weight`, "), "{said}");
    assert!(said.contains("with this change it would be no worker"), "{said}");
    let (_, said) = run(&["drain", &format!("{url}0")]).await;
    assert!(said.contains(&format!("did you mean {url}?")), "{said}");
}

#[tokio::test]
async fn worker_is_added_changed_drained_and_removed_by_commands() {
    let (one, two) = (Upstream::saying("{}").await, Upstream::saying("{}").await);
    let router = Process::serve(&["--worker-urls", &one.url(), "--health-check-interval-secs", "1"]).await;
    let url = two.url();
    let (code, out, error) = worker(&router, &["add", &url, "weight=2", "labels.zone=1", "model=7"]).await;
    assert!(code == 0 && out.starts_with(&format!("{url}: added, ")), "{out}{error}");
    until(async || listed(&router).await.contains(&format!("{url} ready operator regular 7 2 0 -"))).await;
    assert!(listed(&router).await.contains(&format!("{} ready config regular - 1 0 -", one.url())));

    let (code, out, error) = worker(&router, &["set", &url, "weight=3", "model=null"]).await;
    assert_eq!((code, out), (0, format!("{url}: changed, ready\n")), "{error}");
    assert!(listed(&router).await.contains(&format!("{url} ready operator regular - 3 0 -")));
    let (_, out, _) = worker(&router, &["--json", "list"]).await;
    let list: Value = serde_json::from_str(&out).unwrap();
    let of =
        |url: &str| list["workers"].as_array().unwrap().iter().find(|one| one["url"] == url).unwrap().clone();
    assert_eq!(of(&url)["labels"], json!({"zone": "1"}), "what was not named stays");
    assert_eq!((&of(&url)["source"], &of(&one.url())["source"]), (&json!("operator"), &json!("config")));

    let (code, out, error) = worker(&router, &["drain", &url, "--wait"]).await;
    assert_eq!(
        (code, out),
        (
            0,
            format!(
                "{url}: drained until `sgl-router worker undrain` or a restart of the router, 0 in flight\n"
            )
        ),
        "{error}"
    );
    assert!(listed(&router).await.contains(&format!("{url} draining (operator) operator regular - 3 0 -")));
    // By its id, too.
    let id = of(&url)["id"].as_str().unwrap().to_owned();
    let (code, out, error) = worker(&router, &["undrain", &id]).await;
    assert_eq!((code, out), (0, format!("{url}: ready\n")), "{error}");
    let (code, out, error) = worker(&router, &["rm", &url, "--wait", "30"]).await;
    assert_eq!((code, out), (0, format!("{url}: removed\n")), "{error}");
    assert_eq!(listed(&router).await, [format!("{} ready config regular - 1 0 -", one.url())]);
}

#[tokio::test]
async fn command_waits_for_the_first_check_that_passes_and_says_if_there_was_none() {
    let (good, ill) = (Upstream::saying("{}").await, Upstream::saying("{}").await);
    ill.set_health(503);
    let router = Process::serve(&["--health-check-interval-secs", "1"]).await;
    let (code, out, error) = worker(&router, &["add", &good.url(), "priority=1", "--wait"]).await;
    let url = good.url();
    assert_eq!(code, 0, "{error}");
    assert!(
        out.starts_with("warning: priority: accepted without effect")
            && out.ends_with(&format!("{url}: added, ready\n")),
        "{out}"
    );
    let (code, out, error) = worker(&router, &["add", &ill.url(), "--wait", "1"]).await;
    assert!(code == 1 && error.contains("has passed no health check in 1 s"), "{code} {out} {error}");
    assert!(error.contains("it stays added"), "{error}");
    assert!(error.contains("waiting up to 1 s\n"), "the reason is told while it is waited for: {error}");
    assert_eq!(listed(&router).await.len(), 2);
}

#[tokio::test]
async fn worker_that_was_never_checked_is_told_apart_from_one_that_fails() {
    // Nothing answers there, and nobody says so: its first check takes as long as the test.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let router = Process::serve(&["--health-check-interval-secs", "1"]).await;
    let (code, out, error) = worker(&router, &["add", &url]).await;
    assert_eq!((code, out), (0, format!("{url}: added, not checked yet\n")), "{error}");
    let view = call(router.admin, get("/workers")).await.json()["workers"][0].clone();
    assert_eq!((&view["checked"], &view["passing"]), (&json!(false), &json!(false)));
}

#[tokio::test]
async fn last_worker_that_is_well_is_drained_only_by_force() {
    let (one, two) = (Upstream::saying("{}").await, Upstream::saying("{}").await);
    let router = Process::serve(&["--worker-urls", &one.url(), &two.url()]).await;
    router.ready().await;
    until(async || listed(&router).await.iter().all(|line| line.contains(" ready "))).await;
    assert_eq!(worker(&router, &["drain", &one.url()]).await.0, 0);
    let (code, _, error) = worker(&router, &["drain", &two.url()]).await;
    let why = format!("{} is the last worker that is well", two.url());
    assert!(
        code == 1 && error.contains(&why) && error.ends_with("(last_worker): drain --force\n"),
        "{error}"
    );
    assert_eq!(call(router.data, chat("hi")).await.status, StatusCode::OK);
    let (code, out, error) = worker(&router, &["drain", &two.url(), "--force"]).await;
    assert!(code == 0 && out.contains("or a restart of the router"), "{out}{error}");
    assert_eq!(call(router.data, chat("hi")).await.status, StatusCode::SERVICE_UNAVAILABLE);
    // Nobody is served already, so nothing is lost.
    let (code, _, error) = worker(&router, &["drain", &two.url()]).await;
    assert_eq!(code, 0, "{error}");
}

#[tokio::test]
async fn where_the_router_is_and_its_token_may_stand_in_variables() {
    let upstream = Upstream::saying("{}").await;
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "secret").unwrap();
    let token = token.to_str().unwrap();
    let router = Process::serve(&["--worker-urls", &upstream.url(), "--admin-token-file", token]).await;
    let run = async |variables: &[(&str, &str)]| {
        let mut command = command(&["worker", "list"]);
        command.envs(variables.iter().copied());
        let output = output(command).await;
        (output.status.code().expect("a code"), stdout(&output), stderr(&output))
    };
    let admin = format!("http://{}", router.admin);
    let (code, out, error) =
        run(&[("SGL_ROUTER_ADMIN_URL", &admin), ("SGL_ROUTER_ADMIN_TOKEN_FILE", token)]).await;
    assert!(code == 0 && out.contains(&upstream.url()), "{code} {out} {error}");
    let (code, _, error) = run(&[("SGL_ROUTER_ADMIN_URL", &admin)]).await;
    assert!(code == 1 && error.contains("token"), "{code} {error}");
    let (code, _, error) =
        run(&[("SGL_ROUTER_ADMIN_URL", &admin), ("SGL_ROUTER_CA_CERT_PATHS", "/none.pem,/neither.pem")])
            .await;
    assert!(code == 2 && error.contains("/none.pem"), "{code} {error}");
}

#[tokio::test]
async fn commands_about_a_worker_that_is_not_there_say_so_by_their_code() {
    let router = Process::serve(&[]).await;
    for arguments in [
        &["drain", "http://w:1"][..],
        &["undrain", "http://w:1"],
        &["rm", "http://w:1"],
        &["set", "http://w:1", "weight=2"],
    ] {
        let (code, _, error) = worker(&router, arguments).await;
        assert!(
            code == 4 && error.contains("there is no worker http://w:1 (worker_not_found)"),
            "{code} {error}"
        );
    }
    for (arguments, expected, said) in [
        (&["add", "w:1"][..], 1, "url: found"),
        (&["add", "http://w:1", "wieght=2"], 1, "unknown field `wieght`"),
        (&["add", "http://w:1", "weight"], 2, "found \"weight\"; allowed: KEY=VALUE"),
        (&["set", "http://w:1"], 2, "<KEY=VALUE>"),
    ] {
        let (code, out, error) = worker(&router, arguments).await;
        assert!(code == expected && error.contains(said), "{arguments:?}: {code} {out} {error}");
    }
    let (code, out, _) = worker(&router, &["--json", "rm", "http://w:1"]).await;
    let problem: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &problem["code"]), (4, &json!("worker_not_found")));
}

#[tokio::test]
async fn change_keeps_what_it_does_not_name_and_is_refused_as_a_whole() {
    let entry = WorkerEntry { url: "http://w:1".to_owned(), weight: 2.0, ..WorkerEntry::default() };
    let router = router::start(router::config(vec![entry])).await;
    let changed = patch(&router, "http://w:1", &json!({"labels": {"a": "1", "b": "2"}, "model": "m"})).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text());
    assert_eq!(changed.json()["weight"], 2.0);
    let changed = patch(&router, "HTTP://W:1/", &json!({"labels": {"a": null}, "weight": 3})).await;
    assert_eq!(changed.json()["labels"], json!({"b": "2"}));
    let spec = router.proxy().backends().targets("http://w:1")[0].worker().spec().clone();
    assert_eq!((spec.weight, spec.model.as_deref()), (3.0, Some("m")), "policies see it");

    for (body, said) in [
        (json!({"weight": -1, "bootstrap_port": 5}), "bootstrap_port:"),
        (json!({"url": "http://w:2"}), "another URL is another worker"),
        (json!({"weihgt": 1}), "unknown field `weihgt`"),
        (json!({"labels": null, "weight": "heavy"}), "invalid type"),
        (json!({"api_key_file": "/etc/passwd"}), "only in the configuration file"),
        (json!([]), "a JSON object"),
    ] {
        let refused = patch(&router, "http://w:1", &body).await;
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(refused.status == StatusCode::BAD_REQUEST && detail.contains(said), "{body}: {detail}");
    }
    let kept = router::shown(&router, "http://w:1").await.unwrap();
    assert_eq!((&kept["weight"], &kept["labels"]), (&json!(3.0), &json!({"b": "2"})));
    assert_eq!(patch(&router, "http://none:1", &json!({})).await.json()["code"], "worker_not_found");
}

#[tokio::test]
async fn worker_that_is_being_removed_is_not_changed() {
    let (worker, gate) = Upstream::behind_a_gate().await;
    let router = router::over(&[&worker]).await;
    let data = router.addresses().data;
    let waiting = tokio::spawn(async move { call(data, chat("hi")).await });
    worker.arrived(1).await;
    let path = format!("/workers?url={}", worker.url());
    assert_eq!(
        call(router.addresses().admin, with_method("DELETE", &path)).await.status,
        StatusCode::ACCEPTED
    );
    let shown = router::shown(&router, &worker.url()).await.unwrap();
    assert_eq!(shown["drained_by"], json!(["removal"]));
    let refused = patch(&router, &worker.url(), &json!({"weight": 2})).await;
    assert!(
        refused.status == StatusCode::CONFLICT && refused.text().contains("is being removed"),
        "{}",
        refused.text()
    );
    gate.add_permits(1);
    assert_eq!(waiting.await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn changed_and_drained_worker_of_an_operator_comes_back_changed_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let flags = ["--state-dir", dir.path().to_str().unwrap()];
    let router = Process::serve(&flags).await;
    worker(&router, &["add", "http://w:1", "weight=2"]).await;
    let (code, _, error) = worker(&router, &["set", "http://w:1", "weight=5", "labels.zone=a"]).await;
    assert_eq!(code, 0, "{error}");
    router.kill();
    let router = Process::serve(&flags).await;
    let list = call(router.admin, get("/workers")).await.json();
    let one = &list["workers"][0];
    assert_eq!(
        (&one["url"], &one["weight"], &one["source"]),
        (&json!("http://w:1"), &json!(5.0), &json!("operator"))
    );
    assert_eq!(one["labels"], json!({"zone": "a"}));
}
