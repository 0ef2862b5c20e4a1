//! The operators' listener reads the configuration again and says what came of it.

use std::path::Path;

use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use sgl_testkit::client::{Whole, call, get, post, with_method};
use sgl_testkit::process::{Process, command, output, stderr, stdout};
use sgl_testkit::router;
use sgl_testkit::small_guests::{guest, guest_choosing};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;

const RELOAD: &str = "/v1/config/reload";
const DRY_RUN: &str = "/v1/config/reload?dry_run=1";

/// A router of a file in this folder, which says this.
async fn router_of(dir: &Path, text: &str) -> Process {
    std::fs::write(dir.join("router.toml"), text).unwrap();
    let file = dir.join("router.toml");
    let router = Process::serve(&["--config", file.to_str().unwrap()]).await;
    // Its door is open once it has begun to wait for signals.
    until(async || call(router.admin, get("/v1/config")).await.status == StatusCode::OK).await;
    router
}

async fn asked(router: &Process, path: &str) -> Whole {
    call(router.admin, with_method("POST", path)).await
}

fn without_checks(rest: &str) -> String {
    format!("[health]\ninterval_secs = 0\nload_interval_ms = 0\npoll_models = false\n{rest}")
}

fn worker(url: &str, rest: &str) -> String {
    format!("[[workers]]\nurl = \"{url}\"\n{rest}\n")
}

/// The entries of a list, as `what name change` or `what name`.
fn names(list: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |one: &Value| [&one["what"], &one["name"], &one["change"]].map(text).join(" ");
    list.as_array().unwrap().iter().map(|one| line(one).trim_end().to_owned()).collect()
}

#[tokio::test]
async fn answer_says_what_was_applied_what_needs_a_restart_and_a_dry_run_says_the_same_before() {
    let [kept, gone, new] = ["kept", "gone", "new"].map(Upstream::saying);
    let [kept, gone, new] = [kept.await, gone.await, new.await];
    let dir = tempfile::tempdir().unwrap();
    let plugin = dir.path().join("mine.wasm");
    std::fs::write(&plugin, guest_choosing(0)).unwrap();
    let first = worker(&kept.url(), "api_key = \"sk-before\"") + &worker(&gone.url(), "");
    let router = router_of(dir.path(), &without_checks(&first)).await;
    let nothing = asked(&router, RELOAD).await.json();
    assert_eq!(nothing, json!({"dry_run": false, "applied": [], "needs_restart": [], "refused": []}));

    let second = format!(
        "{}{}[[plugins]]\nname = \"mine\"\nmodule_path = {plugin:?}\n[retry]\nmax_retries = 2\n",
        worker(&kept.url(), "api_key = \"sk-after\"\nweight = 2.5"),
        worker(&new.url(), "")
    );
    std::fs::write(dir.path().join("router.toml"), without_checks(&second)).unwrap();
    let workers = async || call(router.admin, get("/workers")).await.json();
    let before = workers().await;
    let dry = asked(&router, DRY_RUN).await.json();
    let expected = [
        format!("worker {} changed", kept.url()),
        format!("worker {} added", new.url()),
        format!("worker {} removed", gone.url()),
        "plugin mine added".to_owned(),
    ];
    let told = names(&dry["applied"]);
    assert!(expected.iter().all(|one| told.contains(one)) && told.len() == 4, "{told:?}");
    assert_eq!(dry["dry_run"], true);
    assert_eq!(dry["refused"], json!([]));
    let left = json!([{"key": "retry.max_retries", "before": "5", "now": "2"}]);
    assert_eq!(dry["needs_restart"], left);
    assert_eq!(workers().await, before, "a dry run changes nothing");
    assert_eq!(call(router.admin, get("/v1/plugins")).await.json(), json!({"plugins": []}));

    let done = asked(&router, RELOAD).await;
    let report = done.json();
    assert_eq!(names(&report["applied"]), told);
    assert_eq!((&report["dry_run"], &report["needs_restart"]), (&json!(false), &left));
    let changed =
        report["applied"].as_array().unwrap().iter().find(|one| one["change"] == "changed").unwrap();
    let key = json!({"key": "api_key", "before": "***", "now": "***"});
    let weight = json!({"key": "weight", "before": "1.0", "now": "2.5"});
    assert_eq!(changed["values"], json!([key, weight]));
    assert!(!done.text().contains("sk-"), "{}", done.text());
    let urls: Vec<Value> =
        workers().await["workers"].as_array().unwrap().iter().map(|one| one["url"].clone()).collect();
    assert!(urls.contains(&json!(new.url())), "{urls:?}");
    assert_eq!(call(router.admin, get("/v1/plugins")).await.json()["plugins"][0]["name"], "mine");

    // What needs a restart is told again; the rest is done.
    let again = asked(&router, RELOAD).await.json();
    assert_eq!((&again["applied"], &again["needs_restart"]), (&json!([]), &left));
}

#[tokio::test]
async fn configuration_is_shown_as_it_runs_and_hides_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let (key, rest) = (dir.path().join("key"), "api_key = \"sk-of-one\"");
    std::fs::write(&key, "sk-of-all").unwrap();
    let text = |retries: u32, url: &str| {
        let keys = format!("[keys]\nworker_api_key_file = {key:?}\n[retry]\nmax_retries = {retries}\n");
        without_checks(&format!("{keys}{}", worker(url, rest)))
    };
    let router = router_of(dir.path(), &text(3, "http://127.0.0.1:9")).await;
    std::fs::write(dir.path().join("router.toml"), text(4, "http://127.0.0.1:10")).unwrap();
    std::fs::write(&key, "sk-other").unwrap();
    let report = asked(&router, RELOAD).await.json();
    let left: Vec<&Value> =
        report["needs_restart"].as_array().unwrap().iter().map(|one| &one["key"]).collect();
    assert_eq!(left, ["retry.max_retries", "keys.worker_api_key"]);

    let shown = call(router.admin, get("/v1/config")).await;
    let config = shown.json();
    assert_eq!(config["retry"]["max_retries"], 3, "this needs a restart");
    assert_eq!(config["workers"][0]["url"], "http://127.0.0.1:10");
    assert_eq!(config["workers"][0]["api_key"], "***");
    assert_eq!((&config["keys"]["worker_api_key"], &config["admin"]["token"]), (&json!("***"), &Value::Null));
    assert!(!shown.text().contains("sk-"), "{}", shown.text());
}

#[tokio::test]
async fn fault_in_the_configuration_is_the_answer_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let router = router_of(dir.path(), &without_checks(&worker("http://127.0.0.1:9", ""))).await;
    let before = call(router.admin, get("/v1/config")).await.json();
    let text = "polcy = \"x\"\n[[workers]]\nurl = \"nowhere\"\n[retry]\nmax_retries = 900\n";
    std::fs::write(dir.path().join("router.toml"), text).unwrap();
    for path in [DRY_RUN, RELOAD] {
        let refused = asked(&router, path).await;
        let problem = refused.json();
        assert_eq!(
            (refused.status, &problem["code"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("config_faults"))
        );
        let keys: Vec<&Value> =
            problem["faults"].as_array().unwrap().iter().map(|fault| &fault["key"]).collect();
        for key in ["polcy", "workers[0].url", "retry.max_retries"] {
            assert!(keys.contains(&&json!(key)), "{key} is not among {keys:?}");
        }
    }
    assert_eq!(call(router.admin, get("/v1/config")).await.json(), before);
    let refused = asked(&router, "/v1/config/reload?dry_run=maybe").await;
    assert_eq!(
        (refused.status, refused.json()["code"].clone()),
        (StatusCode::BAD_REQUEST, json!("bad_query"))
    );
}

#[tokio::test]
async fn what_cannot_be_applied_is_told_with_its_reason_also_by_a_dry_run() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (dir.path().join("good.wasm"), dir.path().join("bad.wasm"));
    std::fs::write(&good, guest_choosing(0)).unwrap();
    std::fs::write(&bad, guest("unreachable")).unwrap();
    let plugin =
        |name: &str, file: &Path| format!("[[plugins]]\nname = \"{name}\"\nmodule_path = {file:?}\n");
    let first = plugin("pushed", &good);
    let router = router_of(dir.path(), &without_checks(&first)).await;
    let anothers = "http://127.0.0.1:9";
    let added = call(router.admin, post("/workers", &json!({"url": anothers}).to_string())).await;
    assert_eq!(added.status, StatusCode::CREATED);
    let module = Full::from(guest_choosing(1));
    let push = Request::put("/v1/plugins/pushed")
        .header("host", "localhost")
        .header("content-type", "application/wasm");
    assert_eq!(call(router.admin, push.body(module).unwrap()).await.status, StatusCode::OK);

    let second =
        plugin("bad", &bad) + &plugin("missing", &dir.path().join("nowhere.wasm")) + &worker(anothers, "");
    std::fs::write(dir.path().join("router.toml"), without_checks(&second)).unwrap();
    for path in [DRY_RUN, RELOAD] {
        let report = asked(&router, path).await.json();
        assert_eq!(report["applied"], json!([]), "{path}");
        let expected = [("bad", "unreachable"), ("missing", "nowhere.wasm"), ("pushed", "pushed")];
        let refused = report["refused"].as_array().unwrap();
        for (name, why) in expected {
            let found = refused.iter().find(|one| one["name"] == name);
            let reason = found.and_then(|one| one["reason"].as_str()).unwrap_or_default();
            assert!(reason.contains(why), "{path}: {name}: {reason:?} in {refused:?}");
        }
        assert_eq!(refused.len(), expected.len(), "{path}: {refused:?}");
        let left = report["left_to_others"].as_array().unwrap();
        assert!(left.len() == 1 && left[0]["name"] == anothers, "{path}: {left:?}");
        assert!(
            left[0]["reason"].as_str().unwrap().contains("another source (operator)"),
            "{path}: {left:?}"
        );
    }
}

#[tokio::test]
async fn worker_of_another_source_and_another_policy_are_no_failures_of_a_reload() {
    let dir = tempfile::tempdir().unwrap();
    let router = router_of(dir.path(), &without_checks("")).await;
    let anothers = "http://127.0.0.1:9";
    call(router.admin, post("/workers", &json!({"url": anothers}).to_string())).await;
    let file = format!("policy = \"random\"\n{}", without_checks(&worker(anothers, "")));
    std::fs::write(dir.path().join("router.toml"), file).unwrap();
    let admin = format!("http://{}", router.admin);
    let done = output(command(&["reload", "--admin-url", &admin])).await;
    let said = stdout(&done);
    assert!(done.status.success(), "{said}{}", stderr(&done));
    assert!(said.contains("another source (operator)") && !said.contains("refused"), "{said}");
    assert!(said.contains("policy: round_robin -> random; at once: sgl-router policy use NAME"), "{said}");
}

#[tokio::test]
async fn router_that_a_program_has_put_together_has_no_configuration_to_read() {
    let router = router::start(router::config(Vec::new())).await;
    let admin = router.addresses().admin;
    for request in [get("/v1/config"), with_method("POST", RELOAD)] {
        let refused = call(admin, request).await;
        assert_eq!(
            (refused.status, refused.json()["code"].clone()),
            (StatusCode::CONFLICT, json!("no_configuration"))
        );
    }
}

/// Runs `reload` against a router; gives exit code, standard output and standard error.
async fn reload_command(router: &Process, arguments: &[&str]) -> (i32, String, String) {
    let admin = format!("http://{}", router.admin);
    let mut command = command(&["reload", "--admin-url", &admin]);
    command.args(arguments);
    let output = output(command).await;
    (output.status.code().expect("a code"), stdout(&output), stderr(&output))
}

#[tokio::test]
async fn command_shows_the_answer_and_tells_by_its_exit_code_whether_all_was_applied() {
    let dir = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(dir.path().join("router.toml"), without_checks(text)).unwrap();
    let router = router_of(dir.path(), &without_checks("")).await;
    let (code, out, _) = reload_command(&router, &[]).await;
    assert_eq!((code, out.as_str()), (0, "nothing has changed\n"));

    write(&(worker("http://127.0.0.1:9", "") + "[retry]\nmax_retries = 1\n"));
    let (code, out, _) = reload_command(&router, &["--dry-run"]).await;
    assert!(
        code == 0 && out.contains("WOULD BE") && out.contains("1 change would be applied; nothing was"),
        "{out}"
    );
    let (code, out, _) = reload_command(&router, &[]).await;
    assert!(code == 0 && out.contains("worker  http://127.0.0.1:9  added"), "{out}");
    assert!(out.contains("needs a restart: retry.max_retries: 5 -> 1"), "{out}");

    let missing = "[[plugins]]\nname = \"p\"\nmodule_path = \"/nowhere.wasm\"\n";
    write(&(worker("http://127.0.0.1:9", "") + missing));
    let (code, out, err) = reload_command(&router, &[]).await;
    assert!(code == 1 && out.contains("refused: plugin p: ") && err.contains("1 refused"), "{out}{err}");

    write("[retry]\nmax_retries = 900\n");
    let (code, out, err) = reload_command(&router, &["--json"]).await;
    let problem: Value = serde_json::from_str(&out).unwrap();
    assert!(code == 1 && problem["code"] == "config_faults", "{out}");
    assert!(err.contains("retry.max_retries: found 900; allowed: 0 to 100"), "{err}");
}

#[tokio::test]
async fn share_of_recorded_requests_follows_the_file_where_requests_may_be_recorded() {
    let worker_of_all = Upstream::saying("{}").await;
    let dir = tempfile::tempdir().unwrap();
    let text = |sample: f64, header: bool| {
        let records = format!("[records]\nsample = {sample:?}\nheader = {header}\n");
        without_checks(&format!("{records}{}", worker(&worker_of_all.url(), "")))
    };
    let router = router_of(dir.path(), &text(0.0, true)).await;
    let recorded = async || {
        assert_eq!(call(router.data, post("/v1/completions", "{}")).await.status, StatusCode::OK);
        let all = call(router.admin, get("/v1/decisions")).await.json();
        all["decisions"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(recorded().await, 0);
    std::fs::write(dir.path().join("router.toml"), text(1.0, true)).unwrap();
    let report = asked(&router, RELOAD).await.json();
    assert_eq!(names(&report["applied"]), ["records sample changed"]);
    assert_eq!(report["applied"][0]["values"], json!([{"key": "sample", "before": "0", "now": "1"}]));
    assert_eq!(report["needs_restart"], json!([]));
    assert_eq!(call(router.admin, get("/v1/config")).await.json()["records"]["sample"], 1.0);
    until(async || recorded().await > 0).await;
    assert_eq!(asked(&router, RELOAD).await.json()["applied"], json!([]));

    // Nothing would record them here.
    let dir = tempfile::tempdir().unwrap();
    let router = router_of(dir.path(), &text(0.0, false)).await;
    std::fs::write(dir.path().join("router.toml"), text(1.0, false)).unwrap();
    let report = asked(&router, RELOAD).await.json();
    assert_eq!(report["needs_restart"][0]["key"], "records.sample");
}
