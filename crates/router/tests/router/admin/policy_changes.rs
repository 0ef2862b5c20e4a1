//! Another policy while the router runs: at once, on trial, back, and over a restart.

use std::path::Path;

use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use sgl_testkit::client::{TestClient, Whole, call, chat, get, piece, with_method};
use sgl_testkit::process::{Process, command, output, stderr, stdout};
use sgl_testkit::router;
use sgl_testkit::small_guests::{guest_choosing, guest_with};
use sgl_testkit::text::answer;
use sgl_testkit::upstream::{Upstream, stream};
use sgl_testkit::waits::{soon, until};

use crate::admin::api::{Setup, json as json_request, options};

/// Has a policy used, at once or on trial.
fn choice(name: &str, canary: &Value) -> Request<Full<bytes::Bytes>> {
    json_request("PUT", "/v1/policy", &json!({"name": name, "canary": canary}))
}

/// Bounds on time are for benchmarks: nothing here may depend on the machine's speed.
fn canary() -> Value {
    json!({"percent": 50.0, "min_secs": 0, "min_decisions": 40, "max_p99_ratio": 1000.0, "p99_slack_us": 60_000_000})
}

impl Setup {
    async fn choose(&self, name: &str, canary: &Value) -> Whole {
        self.admin(choice(name, canary)).await
    }

    async fn policy(&self) -> Value {
        self.admin(get("/v1/policy")).await.json()
    }
}

/// Whether the metrics have this line.
async fn has(setup: &Setup, line: &str) -> bool {
    let page = router::metrics(&setup.router).await;
    page.text().lines().any(|found| found == line)
}

/// Whether so many trials ended so.
async fn ended(setup: &Setup, end: &str, count: u32) -> bool {
    has(setup, &format!("sgl_router_policy_trials_total{{end=\"{end}\"}} {count}")).await
}

fn refusal(answer: &Whole) -> (StatusCode, Value) {
    (answer.status, answer.json()["code"].clone())
}

#[tokio::test]
async fn policy_is_changed_across_plugins_and_built_in_ones_and_back() {
    let setup = Setup::new().await;
    setup.put("other", "", guest_choosing(1)).await;
    assert_eq!(setup.ask().await, "first");
    let changed = setup.choose("other", &Value::Null).await;
    let view = changed.json();
    assert_eq!(
        (&view["name"], &view["kind"], &view["previous"]),
        (&json!("other"), &json!("plugin"), &json!("mine"))
    );
    assert_eq!((&view["after_restart"], &view["configured"]), (&json!("gone"), &json!("mine")));
    assert_eq!(setup.ask().await, "second");
    // Which of them may go has changed too.
    let kept = setup.admin(with_method("DELETE", "/v1/plugins/other")).await;
    assert_eq!(refusal(&kept), (StatusCode::CONFLICT, json!("in_use")));
    assert_eq!(setup.show("mine").await["in_use"], false);

    assert_eq!(setup.choose("round_robin", &Value::Null).await.status, StatusCode::OK);
    let answers = [setup.ask().await, setup.ask().await];
    assert!(answers.contains(&"first".to_owned()) && answers.contains(&"second".to_owned()), "{answers:?}");
    let status = setup.admin(get("/v1/status")).await.json();
    assert_eq!((&status["policy"], &status["policy_is_plugin"]), (&json!("round_robin"), &json!(false)));
    assert_eq!(status["configured_policy"], "mine");
    assert_eq!(setup.admin(with_method("DELETE", "/v1/plugins/mine")).await.status, StatusCode::NO_CONTENT);

    let back = setup.post("/v1/policy/rollback").await;
    assert_eq!(back.json()["name"], "other", "{}", back.text());
    assert_eq!(setup.ask().await, "second");
    let again = setup.post("/v1/policy/rollback").await;
    assert_eq!(refusal(&again), (StatusCode::CONFLICT, json!("rolled_back_already")));
    assert!(again.text().contains("sgl-router policy use round_robin"), "{}", again.text());
    assert_eq!(setup.ask().await, "second");
    // What comes after it can be rolled back as ever.
    assert_eq!(setup.choose("random", &Value::Null).await.status, StatusCode::OK);
    assert_eq!(setup.post("/v1/policy/rollback").await.json()["name"], "other");
}

#[tokio::test]
async fn embedded_module_is_loaded_when_it_is_used_also_under_a_name_of_another_router() {
    let setup = Setup::new().await;
    for (name, kind) in
        [("least_connections", "plugin"), ("manual", "plugin"), ("consistent_hashing", "built_in")]
    {
        let changed = setup.choose(name, &Value::Null).await;
        assert_eq!(changed.json()["kind"], kind, "{name}: {}", changed.text());
        setup.ask().await;
    }
    assert_eq!(setup.policy().await["name"], "consistent_hash");
    assert_eq!(setup.show("manual").await["config"]["config"]["idle_secs"], 14400);
    let list = setup.admin(get("/v1/policies")).await.json();
    let kinds: Vec<(String, String)> = list["policies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap().to_owned(), one["kind"].as_str().unwrap().to_owned()))
        .collect();
    for (name, kind) in [
        ("round_robin", "built_in"),
        ("mine", "plugin"),
        ("least_connections", "plugin"),
        ("pd_pair", "embedded"),
    ] {
        assert!(kinds.contains(&(name.to_owned(), kind.to_owned())), "{name} {kind} is not in {kinds:?}");
    }
    let used: Vec<&Value> =
        list["policies"].as_array().unwrap().iter().filter(|one| one["in_use"] == true).collect();
    assert!(used.len() == 1 && used[0]["name"] == "consistent_hash", "{used:?}");
}

#[tokio::test]
async fn request_in_flight_ends_well_when_its_policy_is_changed() {
    let (response, pieces, _) = stream();
    let worker = Upstream::once(response).await;
    let router = router::start(router::config(vec![worker.entry()])).await;
    let addresses = router.addresses();
    let mut client = TestClient::connect(addresses.data).await;
    let send = async { pieces.send("data: 1\n\n".into()).await.unwrap() };
    let (answer, ()) = soon(async { tokio::join!(client.send(chat("hi")), send) }).await;
    let mut body = answer.unwrap().into_body();
    assert_eq!(piece(&mut body).await.unwrap(), "data: 1\n\n");
    assert_eq!(call(addresses.admin, choice("least_load", &Value::Null)).await.status, StatusCode::OK);
    pieces.send("data: 2\n\n".into()).await.unwrap();
    assert_eq!(piece(&mut body).await.unwrap(), "data: 2\n\n");
    drop(pieces);
    assert_eq!(piece(&mut body).await, None);
    let workers = async || call(addresses.admin, get("/workers")).await.json()["workers"][0]["load"].clone();
    until(async || workers().await == 0).await;
}

#[tokio::test]
async fn good_policy_on_trial_is_promoted_under_traffic() {
    let setup = Setup::new().await;
    setup.put("other", "", guest_choosing(1)).await;
    let begun = setup.choose("other", &canary()).await.json();
    assert_eq!((&begun["name"], &begun["trial"]["name"]), (&json!("mine"), &json!("other")));
    let again = setup.choose("round_robin", &canary()).await;
    assert_eq!(refusal(&again), (StatusCode::CONFLICT, json!("policy_on_trial")));
    let kept = setup.admin(with_method("DELETE", "/v1/plugins/other")).await;
    assert_eq!(refusal(&kept), (StatusCode::CONFLICT, json!("in_use")));
    let status = setup.admin(get("/v1/status")).await.json();
    assert_eq!((&status["policy"], &status["policy_trial"]["name"]), (&json!("mine"), &json!("other")));
    let mut seen = std::collections::BTreeSet::new();
    until(async || {
        seen.insert(setup.ask().await);
        setup.policy().await["name"] == "other"
    })
    .await;
    assert_eq!(seen.len(), 2, "both placed requests meanwhile");
    let view = setup.policy().await;
    assert_eq!((&view["trial"], &view["previous"]), (&Value::Null, &json!("mine")));
    assert!(view["last_event"].as_str().unwrap().contains("all bounds held"), "{view}");
    for _ in 0..4 {
        assert_eq!(setup.ask().await, "second");
    }
}

#[tokio::test]
async fn policy_on_trial_that_fails_is_rolled_back_and_no_client_sees_it() {
    let setup = Setup::new().await;
    // It always chooses a worker that is not there.
    let wrong = guest_with(r#"(data (i32.const 16) "\64")"#, &answer(16, 1));
    let pushed = setup.put("bad", &options(&json!({"self_test": false})), wrong).await;
    assert_eq!(pushed.status, StatusCode::CREATED, "{}", pushed.text());
    assert_eq!(setup.choose("bad", &canary()).await.status, StatusCode::OK);
    until(async || {
        setup.ask().await;
        setup.policy().await["trial"].is_null()
    })
    .await;
    let view = setup.policy().await;
    assert_eq!(view["name"], "mine");
    let event = view["last_event"].as_str().unwrap();
    assert!(event.starts_with("bad was rolled back: failure rate"), "{event}");
    assert!(ended(&setup, "rolled_back", 1).await && ended(&setup, "withdrawn", 0).await);
    assert_eq!(setup.ask().await, "first");
}

#[tokio::test]
async fn policy_on_trial_whose_workers_fail_is_rolled_back_by_the_errors_of_its_requests() {
    let good = Upstream::saying("good").await;
    let bad = Upstream::failing(500).await;
    let mut config = router::config(vec![good.entry(), bad.entry()]);
    config.proxy.max_retries = 0;
    config.proxy.circuit.failures = 0;
    let router = router::start(config).await;
    let addresses = router.addresses();
    for (name, index) in [("well", 0), ("ill", 1)] {
        let push = Request::put(format!("/v1/plugins/{name}")).header("host", "localhost");
        let push = push.header("content-type", "application/wasm").body(Full::from(guest_choosing(index)));
        assert_eq!(call(addresses.admin, push.unwrap()).await.status, StatusCode::CREATED);
    }
    assert_eq!(call(addresses.admin, choice("well", &Value::Null)).await.status, StatusCode::OK);
    assert_eq!(call(addresses.admin, choice("ill", &canary())).await.status, StatusCode::OK);
    let policy = async || call(addresses.admin, get("/v1/policy")).await.json();
    until(async || {
        call(addresses.data, chat("hi")).await;
        policy().await["trial"].is_null()
    })
    .await;
    let view = policy().await;
    assert!(
        view["last_event"].as_str().unwrap().starts_with("ill was rolled back: request error rate"),
        "{view}"
    );
    assert_eq!(call(addresses.data, chat("hi")).await.text(), "good");
}

#[tokio::test]
async fn trial_is_ended_by_hand_either_way() {
    let setup = Setup::new().await;
    let slow = json!({"percent": 50.0, "min_secs": 3600});
    for (path, name) in [("rollback", "mine"), ("promote", "least_load")] {
        assert_eq!(setup.choose("least_load", &slow).await.status, StatusCode::OK);
        let share = |policy, kind, role, share: f64| {
            format!(
                "sgl_router_policy_share{{policy=\"{policy}\",kind=\"{kind}\",role=\"{role}\"}} {share:?}"
            )
        };
        assert!(has(&setup, &share("mine", "plugin", "in_use", 0.5)).await);
        assert!(has(&setup, &share("least_load", "built_in", "on_trial", 0.5)).await);
        let ended = setup.post(&format!("/v1/policy/{path}")).await.json();
        assert_eq!((&ended["name"], &ended["trial"]), (&json!(name), &Value::Null));
    }
    assert_eq!(
        refusal(&setup.post("/v1/policy/promote").await),
        (StatusCode::CONFLICT, json!("no_policy_on_trial"))
    );
    for (end, count) in [("promoted", 1), ("withdrawn", 1), ("rolled_back", 0)] {
        assert!(ended(&setup, end, count).await, "{end}");
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let setup = Setup::new().await;
    let before = setup.policy().await;
    let refused = [
        (setup.choose("nowhere", &Value::Null).await, StatusCode::NOT_FOUND, "policy_not_found"),
        (setup.choose("mine", &Value::Null).await, StatusCode::CONFLICT, "already_in_use"),
        (setup.choose("mine", &canary()).await, StatusCode::CONFLICT, "already_in_use"),
        (
            setup.choose("random", &json!({"percent": 101.0})).await,
            StatusCode::UNPROCESSABLE_ENTITY,
            "config_faults",
        ),
        (setup.choose("random", &json!({"percnt": 1.0})).await, StatusCode::BAD_REQUEST, "bad_policy_choice"),
        (setup.post("/v1/policy/rollback").await, StatusCode::CONFLICT, "no_policy_before"),
    ];
    for (answer, status, code) in refused {
        assert_eq!(refusal(&answer), (status, json!(code)), "{}", answer.text());
    }
    assert_eq!(setup.policy().await, before);
}

/// Runs `policy` against a router; gives exit code, standard output and standard error.
async fn policy(router: &Process, arguments: &[&str]) -> (i32, String, String) {
    let admin = format!("http://{}", router.admin);
    let mut command = command(&["policy", "--admin-url", &admin]);
    command.args(arguments);
    let output = output(command).await;
    (output.status.code().expect("a code"), stdout(&output), stderr(&output))
}

async fn serve(state: &Path, policy: &str) -> Process {
    Process::serve(&["--state-dir", state.to_str().unwrap(), "--policy", policy]).await
}

async fn shown(router: &Process) -> Value {
    call(router.admin, get("/v1/policy")).await.json()
}

#[tokio::test]
async fn chosen_policy_is_back_after_a_restart_unless_the_configuration_names_another_one_since() {
    let dir = tempfile::tempdir().unwrap();
    let (state, file) = (dir.path().join("state"), dir.path().join("mine.wasm"));
    std::fs::write(&file, guest_choosing(0)).unwrap();
    let router = serve(&state, "round_robin").await;
    let admin = format!("http://{}", router.admin);
    let pushed = output(command(&["plugin", "--admin-url", &admin, "push", file.to_str().unwrap()])).await;
    assert!(pushed.status.success(), "{}", stderr(&pushed));
    let (code, out, err) = policy(&router, &["use", "mine"]).await;
    assert!(
        code == 0 && out.starts_with("policy mine (plugin); a restart comes back with it\n"),
        "{out}{err}"
    );
    // Killed, as a crash would.
    drop(router);

    let router = serve(&state, "round_robin").await;
    let view = shown(&router).await;
    assert_eq!((&view["name"], &view["after_restart"]), (&json!("mine"), &json!("kept")));
    let (_, out, _) = policy(&router, &["rollback"]).await;
    assert!(out.starts_with("policy round_robin (built in); it is that of the configuration\n"), "{out}");
    drop(router);
    let router = serve(&state, "round_robin").await;
    assert_eq!(shown(&router).await["name"], "round_robin", "who goes back to the configuration keeps that");
    policy(&router, &["use", "mine"]).await;
    drop(router);

    let router = serve(&state, "random").await;
    assert_eq!(shown(&router).await["name"], "random", "the newer wish wins");
    drop(router);
    let router = serve(&state, "round_robin").await;
    assert_eq!(shown(&router).await["name"], "round_robin", "and what it overruled is forgotten");
}

#[tokio::test]
async fn policy_that_cannot_come_back_is_told_and_that_of_the_configuration_serves() {
    let dir = tempfile::tempdir().unwrap();
    let (state, file) = (dir.path().join("state"), dir.path().join("mine.wasm"));
    std::fs::write(&file, guest_choosing(0)).unwrap();
    let router = serve(&state, "round_robin").await;
    let admin = format!("http://{}", router.admin);
    output(command(&["plugin", "--admin-url", &admin, "push", file.to_str().unwrap()])).await;
    assert_eq!(policy(&router, &["use", "mine"]).await.0, 0);
    drop(router);
    let modules = std::fs::read_dir(state.join("modules")).unwrap();
    modules.for_each(|entry| std::fs::write(entry.unwrap().path(), "cut").unwrap());
    let router = serve(&state, "round_robin").await;
    let view = shown(&router).await;
    assert_eq!(view["name"], "round_robin");
    assert!(
        view["last_event"]
            .as_str()
            .unwrap()
            .starts_with("mine, which an operator chose, could not come back"),
        "{view}"
    );
    drop(router);
    std::fs::write(state.join("policy.json"), "{").unwrap();
    let router = serve(&state, "round_robin").await;
    assert_eq!(shown(&router).await["name"], "round_robin");
}

#[tokio::test]
async fn commands_show_list_and_tell_by_their_exit_codes() {
    let router = Process::serve(&[]).await;
    let (code, out, _) = policy(&router, &["list"]).await;
    assert!(code == 0 && out.contains("round_robin") && out.contains("built in  in use"), "{out}");
    let (code, out, _) =
        policy(&router, &["use", "least_load", "--canary", "5", "--canary-secs", "3600"]).await;
    assert!(code == 0 && out.contains("on trial: least_load (built in) with 5 % of the decisions"), "{out}");
    let (_, out, _) = policy(&router, &["show"]).await;
    assert!(out.contains("promoted after 3600 s and 1000 decisions"), "{out}");
    let admin = format!("http://{}", router.admin);
    let status = stdout(&output(command(&["status", "--admin-url", &admin])).await);
    assert!(status.contains("on trial: least_load with 5 % of the decisions for"), "{status}");
    assert!(status.contains("of at least 3600 s, 0 failed of 0 decisions, at least 1000"), "{status}");
    let (code, out, _) = policy(&router, &["promote"]).await;
    assert!(
        code == 0 && out.contains("a restart comes back with round_robin: the router has no --state-dir"),
        "{out}"
    );
    let status = stdout(&output(command(&["status", "--admin-url", &admin])).await);
    assert!(
        status.contains("policy least_load (built in, chosen by an operator; configured: round_robin)"),
        "{status}"
    );

    let (code, out, err) = policy(&router, &["use", "nowhere", "--json"]).await;
    let problem: Value = serde_json::from_str(&out).unwrap();
    assert!(code == 4 && problem["code"] == "policy_not_found" && err.contains("nowhere"), "{out}{err}");
    let (code, _, err) = policy(&router, &["use", "random", "--canary", "0"]).await;
    assert!(code == 1 && err.contains("canary.percent (--canary): found 0; allowed: above 0"), "{err}");
    assert_eq!(policy(&router, &["use", "least_load"]).await.0, 1);
    assert_eq!(policy(&router, &["use", "random", "--canary-secs", "1"]).await.0, 2);
}
