//! `sgl-router plugin` as a process, against a router that is one.

use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;
use sgl_policy_abi::Input;
use sgl_testkit::client::call;
use sgl_testkit::manifest::manifest;
use sgl_testkit::process::{Process, command, output, stderr, stdout};
use sgl_testkit::small_guests::{guest, guest_choosing, guest_with};
use sgl_testkit::text::answer;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;

/// Runs `plugin` against a router; gives exit code, standard output and standard error.
async fn plugin(admin: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut command = command(&["plugin", "--admin-url", admin]);
    command.args(arguments);
    let output = output(command).await;
    (output.status.code().expect("a code"), stdout(&output), stderr(&output))
}

fn file(dir: &Path, name: &str, wasm: Vec<u8>) -> String {
    let path = dir.join(name);
    std::fs::write(&path, wasm).expect("a file");
    path.to_str().expect("UTF-8").to_owned()
}

#[tokio::test]
async fn plugin_is_pushed_shown_rolled_back_paused_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, bad] =
        [("a.wasm", guest_choosing(0)), ("b.wasm", guest_choosing(0)), ("bad.wasm", guest("unreachable"))]
            .map(|(name, wasm)| file(dir.path(), name, wasm));
    let router = Process::serve(&[]).await;
    let admin = format!("http://{}", router.admin);
    let (code, out, progress) = plugin(&admin, &["push", &a, "--name", "p", "--time-ms", "50"]).await;
    assert_eq!(code, 0, "{progress}");
    assert!(out.starts_with("p: generation 1 is loaded") && out.contains("not in use"), "{out}");
    assert!(out.contains("the router has no --state-dir"), "{out}");
    for step in ["read", "verify", "compile", "self_test", "warm"] {
        assert!(progress.contains(step), "{step} is missing in {progress}");
    }
    assert!(!progress.contains("swap") && !progress.contains("drain"), "it replaced nobody: {progress}");
    let (code, out, _) =
        plugin(&admin, &["push", &b, "--name", "p", "--json", "--config", "a=[1]", "--config", "b=text"])
            .await;
    let pushed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, pushed["generation"].as_u64(), out.lines().count()), (0, Some(2), 1));
    let (_, out, _) = plugin(&admin, &["show", "p", "--json"]).await;
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(shown["config"]["config"], serde_json::json!({"a": [1], "b": "text"}));
    assert_eq!(shown["config"]["max_execution_time_ms"], 50);
    let (code, out, _) = plugin(&admin, &["show", "p"]).await;
    assert!(code == 0 && out.contains("probation") && out.contains("previous"), "{out}");
    for line in
        ["config     {\"a\":[1],\"b\":\"text\"}", "on_failure fallback", "fallback   ", "may_refuse no"]
    {
        assert!(out.contains(line), "{line:?} is not in {out}");
    }
    let (code, out, _) = plugin(&admin, &["list"]).await;
    assert!(code == 0 && out.starts_with("NAME") && out.lines().count() == 2, "{out}");
    let (code, _, error) = plugin(&admin, &["push", &bad, "--name", "p"]).await;
    assert!(code == 1 && error.contains("self_test_failed"), "{code} {error}");
    let (code, out, error) = plugin(&admin, &["push", &bad, "--name", "p", "--json"]).await;
    let problem: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &problem["code"]), (1, &"self_test_failed".into()), "{error}");
    let (code, out, _) = plugin(&admin, &["rollback", "p"]).await;
    assert!(code == 0 && out.contains("serving"), "{code} {out}");
    let (code, _, error) = plugin(&admin, &["watch", "p", "--until-settled", "--generation", "2"]).await;
    assert!(code == 1 && error.contains("rolled back"), "{code} {error}");
    let (code, _, _) = plugin(&admin, &["watch", "p", "--until-settled", "--generation", "1"]).await;
    assert_eq!(code, 0);
    assert_eq!(plugin(&admin, &["pause", "p"]).await.0, 0);
    assert_eq!(plugin(&admin, &["resume", "p"]).await.0, 0);
    assert_eq!(plugin(&admin, &["promote", "p"]).await.0, 1);
    assert_eq!(plugin(&admin, &["rm", "p"]).await.0, 0);
    assert_eq!(plugin(&admin, &["rm", "p"]).await.0, 4);
    assert_eq!(plugin(&admin, &["show", "p"]).await.0, 4);
}

#[tokio::test]
async fn canary_and_shadow_are_started_by_flags_and_ended_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let a = file(dir.path(), "p.wasm", guest_choosing(0));
    let router = Process::serve(&[]).await;
    let admin = format!("http://{}", router.admin);
    assert_eq!(plugin(&admin, &["push", &a]).await.0, 0);
    let (code, out, progress) = plugin(&admin, &["push", &a, "--canary", "5", "--canary-secs", "600"]).await;
    assert!(code == 0 && out.contains("is a canary"), "{out}");
    assert!(progress.contains("warm") && !progress.contains("swap"), "it replaced nobody: {progress}");
    let (_, out, _) = plugin(&admin, &["show", "p"]).await;
    assert!(out.contains("5 % of decisions"), "{out}");
    assert_eq!(plugin(&admin, &["promote", "p"]).await.0, 0);
    let (code, out, progress) = plugin(&admin, &["push", &a, "--shadow", "3"]).await;
    assert!(code == 0 && out.contains("is a shadow"), "{out}");
    assert!(progress.contains("warm") && !progress.contains("drain"), "it replaced nobody: {progress}");
    assert_eq!(plugin(&admin, &["rollback", "p"]).await.0, 0);
}

#[tokio::test]
async fn canary_under_a_name_where_nothing_serves_is_refused_and_names_those_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let a = file(dir.path(), "p.wasm", guest_choosing(0));
    let router = Process::serve(&[]).await;
    let admin = format!("http://{}", router.admin);
    assert_eq!(plugin(&admin, &["push", &a]).await.0, 0);
    for how in [["--canary", "5"], ["--shadow", "2"]] {
        let (code, _, error) = plugin(&admin, &["push", &a, "--name", "q", how[0], how[1]]).await;
        assert!(code == 1 && error.contains("`q` is a new plugin"), "{code} {error}");
        assert!(error.contains("names in use: p ") && error.contains("(new_plugin)"), "{error}");
    }
    let (_, out, _) = plugin(&admin, &["list"]).await;
    assert_eq!(out.lines().count(), 2, "nothing was loaded: {out}");
    assert!(out.lines().next().unwrap().contains("FAILURES  NO CHOICE  FALLBACKS"), "{out}");
}

#[tokio::test]
async fn router_that_sends_controls_of_a_terminal_is_printed_without_them() {
    let problem = r#"{"type": "t", "title": "t", "status": 409, "detail": "one\u001b[2J\ntwo", "code": "c"}"#;
    let fake = Upstream::saying("").await;
    fake.serve("/v1/plugins", 409, problem);
    let (code, _, error) = plugin(&fake.url(), &["list"]).await;
    assert!(code == 1 && error.contains("one\\u{1b}[2J\ntwo (c)"), "{code} {error:?}");
}

#[tokio::test]
async fn list_of_a_router_that_does_not_count_who_chose_nobody_is_read() {
    let list = r#"{"plugins": [{"name": "p", "state": "serving", "in_use": true, "generation": 1, "digest": "d",
        "version": "", "breaker": "closed", "decisions": 5, "fallbacks": 0, "failures": 0, "p99_ns": null,
        "live_generations": 1, "last_event": null}]}"#;
    let fake = Upstream::saying("").await;
    fake.serve("/v1/plugins", 200, list);
    let (code, out, error) = plugin(&fake.url(), &["list"]).await;
    assert!(code == 0 && out.contains("NO CHOICE"), "{code} {out} {error}");
}

#[tokio::test]
async fn exit_code_says_why_nothing_was_done() {
    assert_eq!(plugin("ftp://nowhere", &["list"]).await.0, 2);
    assert_eq!(plugin("http://127.0.0.1:1", &["push", "/nowhere.wasm"]).await.0, 2);
    assert_eq!(plugin("http://127.0.0.1:1", &["watch"]).await.0, 2);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, _, error) = plugin(&format!("http://{free}"), &["list"]).await;
    assert!(code == 3 && error.contains("cannot be reached"), "{code} {error}");
}

#[tokio::test]
async fn wrong_token_is_told_from_none() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "s3cret").unwrap();
    let router = Process::serve(&["--admin-token-file", token.to_str().unwrap()]).await;
    let admin = format!("http://{}", router.admin);
    let mut with = command(&["status", "--admin-url", &admin]);
    with.env("SGL_ROUTER_ADMIN_TOKEN", "wrong");
    let told =
        [stderr(&output(with).await), stderr(&output(command(&["status", "--admin-url", &admin])).await)];
    assert!(told[0].contains("the token that was shown is not this router's"), "{told:?}");
    assert!(!told[1].contains("that was shown") && told[1].contains("send the admin token"), "{told:?}");
}

#[tokio::test]
async fn token_in_a_file_is_followed_and_an_empty_file_locks_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let token = file(dir.path(), "token", b"first".to_vec());
    let router = Process::serve(&["--admin-token-file", &token]).await;
    let admits = async |token: &str| {
        let request = http::Request::get("/v1/status").header("authorization", format!("Bearer {token}"));
        call(router.admin, request.body(http_body_util::Full::default()).unwrap()).await.status.is_success()
    };
    assert!(admits("first").await && !admits("second").await);
    std::fs::write(&token, "second\n").unwrap();
    until(async || admits("second").await).await;
    assert!(!admits("first").await);
    // A reload has nothing to say of it.
    let told = plugin_of(&router, &["reload", "--dry-run"], &token).await;
    assert!(told.contains("nothing has changed"), "{told}");
    std::fs::write(&token, "\n").unwrap();
    let events = async || {
        let request = http::Request::get("/v1/events").header("authorization", "Bearer second");
        call(router.admin, request.body(http_body_util::Full::default()).unwrap()).await.text().to_owned()
    };
    until(async || events().await.contains("it holds no operators' token")).await;
    assert!(admits("second").await);
}

/// What a command says to an operator with this token.
async fn plugin_of(router: &Process, arguments: &[&str], token: &str) -> String {
    let admin = format!("http://{}", router.admin);
    let to_it = ["--admin-url", &admin, "--admin-token-file", token];
    stdout(&output(command(&[arguments, &to_it].concat())).await)
}

#[tokio::test]
async fn token_comes_from_a_file_or_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let token = file(dir.path(), "token", b"secret\n".to_vec());
    let router = Process::serve(&["--admin-token-file", &token]).await;
    let admin = format!("http://{}", router.admin);
    assert_eq!(plugin(&admin, &["list"]).await.0, 1);
    assert_eq!(plugin(&admin, &["list", "--admin-token-file", &token]).await.0, 0);
    let mut command = command(&["plugin", "--admin-url", &admin, "list"]);
    command.env("SGL_ROUTER_ADMIN_TOKEN", "secret");
    assert!(output(command).await.status.success());
}

#[tokio::test]
async fn router_whose_plugins_could_need_too_much_memory_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let module = format!("p={}", file(dir.path(), "p.wasm", guest_choosing(0)));
    let flags = ["--policy", "p", "--plugin", &module, "--port", "0", "--max-plugin-memory", "33554432"];
    let mut serve = command(&["serve", "--prometheus-port", "0", "--admin-port", "0"]);
    serve.args(flags);
    let output = output(serve).await;
    // Four instances of 16 MiB and what is beside it.
    let said = stderr(&output);
    assert!(!output.status.success(), "{said}");
    for part in ["p", "may come to 72 MiB of memory", "of 32 MiB", "raise max_plugin_memory"] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
}

#[tokio::test]
async fn show_says_which_declared_inputs_workers_do_not_report() {
    let [tells, others @ ..] = [(); 4].map(|()| Upstream::saying("{}"));
    let tells = tells.await;
    let loads = r#"{"loads": [{"num_running_reqs": 1, "num_waiting_uncached_tokens": 7}]}"#;
    tells.serve("/v1/loads", 200, loads);
    let mut workers = vec![tells];
    for other in others {
        let other = other.await;
        other.serve("/metrics", 200, "vllm:num_requests_running 1\n");
        workers.push(other);
    }
    let dir = tempfile::tempdir().unwrap();
    let declared = manifest(&[Input::Load, Input::Running, Input::QueuedTokens]);
    let fields = format!(r#"{declared}(data (i32.const 16) "\00")"#);
    let wasm = file(dir.path(), "p.wasm", guest_with(&fields, &answer(16, 1)));
    let urls: Vec<String> = workers.iter().map(Upstream::url).collect();
    let mut flags = vec!["--load-interval-ms", "100", "--worker-urls"];
    flags.extend(urls.iter().map(String::as_str));
    let mut router = Process::serve(&flags).await;
    let admin = format!("http://{}", router.admin);
    let (code, _, error) = plugin(&admin, &["push", &wasm, "--name", "p"]).await;
    assert_eq!(code, 0, "{error}");
    let shows = async |line: &str| plugin(&admin, &["show", "p"]).await.1.contains(line);
    let blind = "blind      declares `queued_tokens`; 3 of 4 workers never report it";
    until(async || shows(&format!("{blind}\n")).await).await;
    let (_, out, _) = plugin(&admin, &["show", "p", "--json"]).await;
    let shown: Value = serde_json::from_str(&out).unwrap();
    let unreported = serde_json::json!([{"input": "queued_tokens", "workers": 4, "never": 3, "not_now": 0}]);
    assert_eq!(shown["unreported"], unreported, "what all report is no news, nor what is not declared");
    let (_, out, _) = plugin(&admin, &["list"]).await;
    let (head, row) = out.split_once('\n').expect("a row");
    assert!(head.ends_with("BLIND TO") && row.trim_end().ends_with(" queued_tokens"), "{out}");
    let (_, out, _) = plugin(&admin, &["list", "--json"]).await;
    let listed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(listed["plugins"][0]["unreported"], serde_json::json!(["queued_tokens"]));
    let line = router.logged("most workers never report what it declares").await;
    assert_eq!(line["fields"]["inputs"], "queued_tokens (3 of 4)");
    workers[0].serve("/v1/loads", 500, "");
    until(async || shows(&format!("{blind}, 1 of 4 workers do not report it now\n")).await).await;
}
