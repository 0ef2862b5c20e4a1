//! Records of decisions: sampled or asked for, kept, written, explained.

use std::io::Write;
use std::path::PathBuf;

use http::{HeaderValue, Request, StatusCode};
use serde_json::{Value, json};
use sgl_api::{RecordedInputs, RequestRecord};
use sgl_policy_abi::{Answer, AnswerMap, Ticket, encode_to_vec};
use sgl_router::config::{RecordSettings, WorkerEntry};
use sgl_testkit::client::{TestClient, Whole, call, chat, get, piece};
use sgl_testkit::commanded::commanded;
use sgl_testkit::process::{Process, command, output, stderr, stdout};
use sgl_testkit::small_guests::guest_with;
use sgl_testkit::text::{answer, escaped};
use sgl_testkit::upstream::{Upstream, stream, whole};
use sgl_testkit::waits::until;

use crate::admin::api::{Setup, generation_of};

fn records(sample: f64, header: bool, file: Option<PathBuf>) -> Option<RecordSettings> {
    Some(RecordSettings { sample, file, keep: 5, header, inputs: RecordedInputs::Declared })
}

/// A chat with an id and perhaps the wish to be told.
fn named(id: &'static str, explain: bool) -> Request<http_body_util::Full<bytes::Bytes>> {
    let mut request = chat("hi");
    request.headers_mut().insert("x-request-id", HeaderValue::from_static(id));
    if explain {
        request.headers_mut().insert("x-sgl-explain", HeaderValue::from_static("1"));
    }
    request
}

/// A guest that chooses the second of two workers and says why.
fn talkative() -> Vec<u8> {
    let scores: Vec<u8> = [0.25_f32, 0.75].iter().flat_map(|score| score.to_le_bytes()).collect();
    let map = AnswerMap {
        selected_worker: Some(1),
        scores: Some(&scores),
        reason: Some("grün\nis best"),
        ticket: Ticket::new(Some(77), 1.5),
        ..AnswerMap::default()
    };
    let bytes = encode_to_vec(|writer| Answer::Map(map).encode(writer)).unwrap();
    let length = u32::try_from(bytes.len()).unwrap();
    guest_with(&format!(r#"(data (i32.const 16) "{}")"#, escaped(&bytes)), &answer(16, length))
}

impl Setup {
    /// The record of a request, once it has ended.
    async fn record(&self, id: &str) -> Value {
        let path = format!("/v1/decisions/{id}");
        until(async || self.admin(get(&path)).await.status == StatusCode::OK).await;
        self.admin(get(&path)).await.json()
    }

    async fn client(&self, request: Request<http_body_util::Full<bytes::Bytes>>) -> Whole {
        call(self.router.addresses().data, request).await
    }
}

#[tokio::test]
async fn record_holds_what_was_known_chosen_and_came_of_it() {
    let setup = Setup::with(|config| config.records = records(1.0, true, None)).await;
    assert_eq!(setup.put("mine", "", talkative()).await.status, StatusCode::OK);
    let answer = setup.client(named("r-1", true)).await;
    assert_eq!(
        (answer.text(), &answer.headers["x-sgl-request-id"]),
        ("second", &HeaderValue::from_static("r-1"))
    );
    let told: Value = serde_json::from_str(answer.headers["x-sgl-decision"].to_str().unwrap()).unwrap();
    let record = setup.record("r-1").await;
    let decision = &record["decisions"][0];
    let generation = json!(generation_of(&setup.show("mine").await, "stable"));
    assert_eq!(decision["generation"], generation);
    for (key, expected) in [
        ("chooser", json!("plugin")),
        ("chosen", json!([1])),
        ("reason", json!("grün\nis best")),
        ("tag", json!(77)),
        ("cost", json!(1.5)),
        ("generation", generation),
        ("table_version", decision["table_version"].clone()),
        ("cost_ns", decision["cost_ns"].clone()),
    ] {
        assert_eq!((&told[key], &decision[key]), (&expected, &expected), "{key}");
    }
    let worker = &decision["candidates"][1];
    assert_eq!(
        (&worker["healthy"], &worker["admitted"], &worker["load"], &worker["score"]),
        (&json!(true), &json!(true), &json!(0), &json!(0.75))
    );
    assert!(worker.get("running").is_none(), "not known: {worker}");
    let outcome = &record["outcome"];
    assert_eq!((&outcome["end"], &outcome["status"]), (&json!("complete"), &json!(200)));
    assert_eq!(outcome["worker"], worker["url"]);
    assert!(outcome["total_ms"].as_f64() >= outcome["first_byte_ms"].as_f64(), "{outcome}");
    assert!(outcome.get("first_token_ms").is_none(), "it came whole: {outcome}");
    assert!(decision["cost_ns"].as_u64() > Some(0));
}

#[tokio::test]
async fn client_is_told_only_if_it_asks_and_the_operator_allows_it() {
    let asked_only = Setup::with(|config| config.records = records(0.0, true, None)).await;
    assert!(!asked_only.client(named("quiet", false)).await.headers.contains_key("x-sgl-request-id"));
    assert!(asked_only.client(named("asked", true)).await.headers.contains_key("x-sgl-decision"));
    asked_only.record("asked").await;
    let missing = asked_only.admin(get("/v1/decisions/quiet")).await;
    assert_eq!(
        (missing.status, &missing.json()["code"]),
        (StatusCode::NOT_FOUND, &json!("record_not_found"))
    );

    let sampled = Setup::with(|config| config.records = records(1.0, false, None)).await;
    let answer = sampled.client(named("asked", true)).await;
    assert!(!answer.headers.contains_key("x-sgl-decision"), "the operator has not allowed it");
    assert!(answer.headers.contains_key("x-sgl-request-id"));

    let off = Setup::new().await;
    assert!(!off.client(named("asked", true)).await.headers.contains_key("x-sgl-request-id"));
    let nothing = off.admin(get("/v1/decisions")).await;
    assert_eq!(
        (nothing.status, &nothing.json()["code"]),
        (StatusCode::NOT_FOUND, &json!("nothing_recorded"))
    );
}

#[tokio::test]
async fn failure_of_the_plugin_is_recorded_with_its_detail_beside_the_fallbacks_choice() {
    let setup = Setup::with(|config| config.records = records(1.0, false, None)).await;
    // What the host itself asks is answered.
    let trap = commanded("", "(if (i32.ne (local.get $command) (i32.const 9)) (then unreachable))");
    let pushed = setup.put("mine", "", trap).await;
    assert_eq!(pushed.status, StatusCode::OK, "{}", pushed.text());
    setup.client(named("trapped", false)).await;
    let decision = setup.record("trapped").await["decisions"][0].clone();
    assert_eq!((&decision["chooser"], &decision["failure"]), (&json!("fallback"), &json!("trap")));
    assert!(decision["failure_detail"].as_str().unwrap().contains("unreachable"), "{decision}");
    assert_eq!(decision["chosen"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn retries_are_decisions_of_one_record_and_an_error_of_the_routers_own_is_its_outcome() {
    let (bad, good) = (Upstream::failing(503).await, Upstream::saying("good").await);
    let workers: Vec<WorkerEntry> = vec![bad.entry(), good.entry()];
    let both = workers.clone();
    let setup = Setup::with(|config| {
        config.workers = both;
        config.records = records(1.0, false, None);
    })
    .await;
    // The plugin chooses the first worker, then insists on it: the fallback chooses the other.
    assert_eq!(setup.client(named("retried", false)).await.text(), "good");
    let record = setup.record("retried").await;
    let decisions = record["decisions"].as_array().unwrap();
    let chosen: Vec<&Value> = decisions.iter().map(|decision| &decision["chosen"]).collect();
    assert_eq!(chosen, [&json!([0]), &json!([1])]);
    assert_eq!(decisions[1]["failure"], "invalid_choice");
    assert_eq!(decisions[1]["candidates"][0]["admitted"], false, "it was tried");

    let nobody = Setup::with(|config| {
        config.workers = Vec::new();
        config.records = records(1.0, false, None);
    })
    .await;
    assert_eq!(nobody.client(named("nobody", false)).await.status, StatusCode::SERVICE_UNAVAILABLE);
    let record = nobody.record("nobody").await;
    assert_eq!(
        (&record["outcome"]["end"], &record["decisions"][0]["chooser"]),
        (&json!("no_answer"), &json!("nobody"))
    );
    assert!(record["outcome"]["error"].is_string(), "{record}");
}

#[tokio::test]
async fn client_that_hangs_up_is_recorded_with_what_it_got() {
    let upstream = Upstream::start(|_| async {
        let (response, pieces, _) = stream();
        pieces.send("data: piece\n\n".into()).await.unwrap();
        // The answer goes on until the router gives it up.
        tokio::spawn(async move { pieces.closed().await });
        response
    })
    .await;
    let entry = upstream.entry();
    let setup = Setup::with(|config| {
        config.workers = vec![entry];
        config.records = records(1.0, false, None);
    })
    .await;
    let mut client = TestClient::connect(setup.router.addresses().data).await;
    let mut body = client.send(named("gone", false)).await.unwrap().into_body();
    assert_eq!(piece(&mut body).await.as_deref(), Some("data: piece\n\n"));
    drop((body, client));
    let outcome = setup.record("gone").await["outcome"].clone();
    assert_eq!((&outcome["end"], &outcome["status"]), (&json!("client_gone"), &json!(200)));
    let (byte, token) = (outcome["first_byte_ms"].as_f64(), outcome["first_token_ms"].as_f64());
    assert!(byte.is_some() && token >= byte, "{outcome}");
}

#[tokio::test]
async fn newest_are_kept_and_all_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("decisions.jsonl");
    let path = file.clone();
    let setup = Setup::with(|config| config.records = records(1.0, false, Some(path))).await;
    for _ in 0..12 {
        setup.client(chat("hi")).await;
    }
    let kept = async || setup.admin(get("/v1/decisions?limit=100")).await.json()["decisions"].clone();
    until(async || kept().await.as_array().unwrap().len() == 5).await;
    let metrics = call(setup.router.addresses().metrics, get("/metrics")).await;
    assert!(metrics.text().contains("sgl_router_decision_records_total 12"), "{}", metrics.text());
    setup.router.shut_down().await;
    let mut lines = 0;
    // The file is complete once the router is gone with its last connection.
    until(async || {
        let text = std::fs::read_to_string(&file).unwrap();
        lines = text.lines().filter(|line| serde_json::from_str::<RequestRecord>(line).is_ok()).count();
        lines == 12
    })
    .await;
    let text = std::fs::read_to_string(&file).unwrap();
    let ids: std::collections::BTreeSet<String> =
        text.lines().map(|line| serde_json::from_str::<RequestRecord>(line).unwrap().request_id).collect();
    assert_eq!(ids.len(), 12, "ids that were made up are unique");
}

#[tokio::test]
async fn explain_shows_a_request_of_a_router_or_of_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("decisions.jsonl");
    let file = file.to_str().unwrap();
    let upstream = Upstream::start(|_| async { whole(200, "ok") }).await;
    let url = upstream.url();
    let router = Process::serve(&[
        "--record-sample",
        "1",
        "--record-file",
        file,
        "--health-check-interval-secs",
        "0",
        "--worker-urls",
        &url,
    ])
    .await;
    let admin = format!("http://{}", router.admin);
    let explain = async |arguments: &[&str]| {
        let mut command = command(&["plugin", "--admin-url", &admin, "explain"]);
        command.args(arguments);
        let output = output(command).await;
        (output.status.code().unwrap(), stdout(&output), stderr(&output))
    };
    call(router.data, named("mine", false)).await;
    until(async || explain(&["mine"]).await.0 == 0).await;
    let (_, page, _) = explain(&["mine"]).await;
    for text in ["request  mine", "the native policy", "->", &url, "outcome  complete, 200 from"] {
        assert!(page.contains(text), "{text:?} is not in\n{page}");
    }
    let (code, json, _) = explain(&["mine", "--json"]).await;
    let record: RequestRecord = serde_json::from_str(&json).unwrap();
    assert_eq!((code, record.request_id.as_str()), (0, "mine"));
    until(async || explain(&["mine", "--file", file]).await.1 == page).await;
    let (code, list, _) = explain(&[]).await;
    assert!(code == 0 && list.starts_with("REQUEST") && list.contains("mine"), "{list}");
    let (code, _, error) = explain(&["other"]).await;
    assert!(code == 1 && error.contains("no record of request \"other\""), "{code} {error}");
    let (code, _, error) = explain(&[""]).await;
    assert!(code == 2 && error.contains("it is empty; allowed: the id of a request"), "{code} {error}");
}

#[tokio::test]
async fn explain_goes_on_behind_lines_that_are_no_records_and_tells_of_them() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let record = |id: &str| {
        let record = RequestRecord { request_id: id.to_owned(), ..RequestRecord::default() };
        serde_json::to_string(&record).unwrap()
    };
    let explain = async |arguments: &[&str]| {
        let mut command = command(&["plugin", "explain", "--json", "--file"]);
        command.args(arguments);
        let output = output(command).await;
        assert!(output.status.success(), "{output:?}");
        (serde_json::from_str::<Value>(&stdout(&output)).unwrap(), stderr(&output))
    };
    write!(file, "{}\n{}\n", record("a"), record("b")).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    assert_eq!(explain(&[&path]).await.1, "");
    // A router was killed, began anew, and was killed again.
    write!(file, "{}\n{}\n{}", &record("x")[..20], record("c"), &record("y")[..20]).unwrap();
    let note = format!("{path}: 2 lines are no records and left out; the first is line 3: EOF while parsing");
    let (list, said) = explain(&[&path, "--limit", "2"]).await;
    let ids: Vec<_> =
        list["decisions"].as_array().unwrap().iter().map(|one| one["request_id"].clone()).collect();
    assert!(said.starts_with(&note), "{said}");
    assert_eq!(ids, ["c", "b"]);
    let (found, said) = explain(&[&path, "c"]).await;
    assert!(found["request_id"] == "c" && said.starts_with(&note), "{found} {said}");
}

#[tokio::test]
async fn no_choice_is_explained_with_its_generation_whoever_served_the_request() {
    let setup = Setup::with(|config| config.records = records(1.0, true, None)).await;
    let silent = || guest_with("", "(i64.const 0)");
    for (options, chooser, status) in
        [(json!({"self_test": false}), "fallback", 200), (json!({"may_refuse": true}), "nobody", 503)]
    {
        let pushed = setup.put("mine", &crate::admin::api::options(&options), silent()).await;
        assert_eq!(pushed.status, StatusCode::OK, "{}", pushed.text());
        let generation = json!(generation_of(&setup.show("mine").await, "stable"));
        let id = if status == 200 { "r-fallback" } else { "r-nobody" };
        assert_eq!(setup.client(named(id, false)).await.status.as_u16(), status);
        let decision = setup.record(id).await["decisions"][0].clone();
        assert_eq!(
            (&decision["chooser"], &decision["failure"], &decision["generation"]),
            (&json!(chooser), &json!("no_choice"), &generation),
            "{decision}"
        );
        // Of all generations that live; the one before may still be warm.
        let list = setup.admin(get("/v1/plugins")).await.json();
        let summary = &list["plugins"][0];
        assert_ne!(summary["failures"], json!(0), "{list}");
        assert_eq!(summary["no_choice"], summary["failures"], "{list}");
        let shown = setup.show("mine").await;
        let stable = shown["generations"].as_array().unwrap().iter().find(|one| one["role"] == "stable");
        assert_eq!(stable.unwrap()["failures"], json!({"no_choice": 1}), "{shown}");
    }
}

#[tokio::test]
async fn all_inputs_are_recorded_if_the_operator_wants_it_whatever_the_policy_declares() {
    let prompt = "a word and another ".repeat(60);
    for inputs in [RecordedInputs::Declared, RecordedInputs::All] {
        let settings = records(1.0, false, None).map(|settings| RecordSettings { inputs, ..settings });
        let setup = Setup::with(|config| config.records = settings).await;
        let mut numbers = Vec::new();
        for id in ["first", "second"] {
            let mut request = chat(&prompt);
            request.headers_mut().insert("x-request-id", HeaderValue::from_static(id));
            request.headers_mut().insert("x-session-id", HeaderValue::from_static("secret"));
            setup.client(request).await;
            let record = setup.record(id).await;
            assert!(!record.to_string().contains("secret"), "{record}");
            let record: RequestRecord = serde_json::from_value(record).unwrap();
            assert_eq!(record.inputs, inputs);
            numbers.push((record.decisions[0].request.clone(), record.decisions[0].candidates.clone()));
        }
        let [(first, _), (facts, workers)] = &numbers[..] else { panic!("two records") };
        // The plugin chooses the first worker each time.
        let held = workers[0].prefix_match;
        if inputs == RecordedInputs::Declared {
            assert_eq!((facts.prompt_tokens, facts.session, facts.prefix_hashes.len()), (None, None, 0));
            assert_eq!((&facts.path, &facts.model, held), (&None, &None, None));
        } else {
            assert_eq!(
                (facts.path.as_deref(), facts.model.as_deref()),
                (Some("/v1/chat/completions"), Some("m"))
            );
            assert!(facts.prompt_tokens > Some(100), "{facts:?}");
            assert_eq!(facts.prefix_blocks, Some(facts.prefix_hashes.len()));
            assert_eq!(first.prefix_hashes, facts.prefix_hashes);
            assert!(facts.session.is_some() && first.session == facts.session, "{facts:?}");
            assert!(held > Some(0) && workers[1].prefix_match == Some(0), "{workers:?}");
            assert!(workers[0].books.is_some());
        }
        assert!(facts.may_wait_ms.is_some());
    }
}
