//! `plugin run`.

use serde_json::{Value, json};
use sgl_testkit::client::{call, get};
use sgl_testkit::process::Process;
use sgl_testkit::small_guests::{guest, guest_choosing};

use crate::authors::commands::{Desk, plugin, plugin_json, shipped};

#[tokio::test]
async fn module_decides_over_workers_that_are_described() {
    let desk = Desk::new();
    let module = shipped("least_connections");
    let workers = desk.file("w.json", r#"[{"load": 3}, {"url": "http://b", "load": 1}, {"load": 2}]"#);
    let (code, out, error) = plugin(&["run", &module, "--workers", &workers]).await;
    assert_eq!((code, out.as_str()), (0, "1 http://b\n"), "{error}");
    let request = desk.file("r.json", r#"[{}, {"excluded": ["http://b"]}, {"excluded": [0, 1, 2]}]"#);
    let (code, found) = plugin_json(&["run", &module, "--workers", &workers, "--request", &request]).await;
    let outcomes: Vec<&Value> =
        found["requests"].as_array().unwrap().iter().map(|one| &one["outcome"]).collect();
    assert_eq!(outcomes[0]["urls"], json!(["http://b"]));
    assert_eq!(outcomes[1]["workers"], json!([2]));
    assert_eq!((code, outcomes[2]), (0, &json!({"kind": "no_worker"})));
}

#[tokio::test]
async fn explanation_has_what_was_told_answered_and_made_of_it() {
    let desk = Desk::new();
    let workers = desk.file("w.json", r#"[{"load": 3}, {"healthy": false}, {"load": 2}]"#);
    let run = ["run", &shipped("least_connections"), "--workers", &workers, "--explain"];
    let (code, out, _) = plugin(&run).await;
    for line in [
        "      #  WORKER           healthy  excluded  load",
        "      0  http://worker-0  yes      no        3",
        "      1  http://worker-1  no       no        0",
        "  ->  2  http://worker-2  yes      no        2",
        "  random = ",
        "what it answered\n  2 http://worker-2\n",
        "what a router makes of it\n  the request goes to http://worker-2",
    ] {
        assert!(code == 0 && out.contains(line), "{line:?} is not in\n{out}");
    }
    let bad = desk.file("bad.wasm", guest_choosing(1));
    let (code, out, error) = plugin(&["run", &bad, "--workers", &workers, "--explain"]).await;
    assert!(code == 1 && error.contains("failed at 1 of 1 requests"), "{error}");
    assert!(out.contains("a failure (invalid_choice): the fallback policy decides"), "{out}");
}

#[tokio::test]
async fn what_workers_hold_of_a_prompt_is_told_however_short_it_is() {
    let desk = Desk::new();
    let workers = desk.file("w.json", r#"[{"prefix_match": 512}, {"prefix_match": 0}, {}]"#);
    let request = desk.file("r.json", r#"{"request_text": "hi"}"#);
    let module = shipped("least_work");
    let run = ["run", &module, "--workers", &workers, "--request", &request, "--explain"];
    let (code, found) = plugin_json(&run).await;
    let columns = found["requests"][0]["told"]["columns"].as_array().unwrap();
    let column = columns.iter().find(|column| column["input"] == "prefix_match").expect("an input of it");
    assert_eq!((code, &column["values"]), (0, &json!([512, 0, null])));
}

#[tokio::test]
async fn chance_follows_from_the_seed_and_shares_are_shown() {
    let (module, desk) = (shipped("weighted_random"), Desk::new());
    let workers = desk.file("w.json", r#"[{"weight": 3}, {"weight": 1}]"#);
    let run = |seed: &'static str| {
        let arguments = ["run", &module, "--workers", &workers, "--times", "400", "--seed", seed];
        let arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
        async move { plugin_json(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await.1 }
    };
    let first = run("1").await;
    assert_eq!(first, run("1").await);
    assert_ne!(first["requests"], run("2").await["requests"]);
    let times: u64 = first["requests"][0]["shares"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["times"].as_u64().unwrap())
        .sum();
    assert_eq!(times, 400);
}

#[tokio::test]
async fn workers_of_a_running_router_are_taken_as_it_shows_them() {
    let router = Process::serve(&["--worker-urls", "http://127.0.0.1:1", "http://127.0.0.1:2"]).await;
    let shown = call(router.admin, get("/workers")).await;
    let desk = Desk::new();
    let workers = desk.file("w.json", shown.text());
    let (code, found) = plugin_json(&["run", &shipped("least_connections"), "--workers", &workers]).await;
    assert_eq!(
        (code, &found["workers"]),
        (0, &json!(["http://127.0.0.1:1", "http://127.0.0.1:2"])),
        "{}",
        shown.text()
    );
}

#[tokio::test]
async fn faults_of_files_name_the_place_and_the_nearest_name() {
    let (module, desk) = (shipped("least_connections"), Desk::new());
    let workers = desk.file("w.json", "[\n  {\"laod\": 3}\n]");
    let request = desk.file("r.json", "{\"sesion\": \"a\"}");
    let none = desk.file("none.json", "{\"excluded\": [\"http://worker-7\"]}");
    for (arguments, part) in [
        (["--workers", &workers].as_slice(), "w.json: unknown field `laod`, expected one of `load`,"),
        (&["--workers", &workers], "at line 2 column"),
        (
            &["--workers", "3", "--request", &request],
            "r.json: unknown field `sesion`, expected one of `session`,",
        ),
        (
            &["--workers", "3", "--request", &none],
            "there is no worker \"http://worker-7\"; the fleet has http://worker-0",
        ),
        (&["--workers", "missing.json"], "--workers: missing.json: No such file"),
    ] {
        let (code, _, error) = plugin(&[&["run", &module], arguments].concat()).await;
        assert!(code == 2 && error.contains(part), "{code} {error}");
    }
    let trap = desk.file("trap.wasm", guest("unreachable"));
    let (code, _, error) = plugin(&["run", &trap, "--workers", "1"]).await;
    assert!(code == 1 && error.contains("trap.wasm: the plugin does not start"), "{code} {error}");
}
