//! `plugin test FILE CASES.toml`.

use serde_json::Value;

use crate::authors::commands::{Desk, plugin, plugin_json, shipped};

const LEAST: &str = r#"
[[case]]
name = "the least loaded is chosen"
workers = ["http://a", { url = "http://b", load = 2 }, { url = "http://c", healthy = false }]
expect = { worker = "http://a" }

[[case]]
name = "those that were tried are passed over"
workers = 3
request = { excluded = [0, 2] }
expect = { worker = 1 }

[[case]]
name = "each request counts until it ends"
workers = ["http://a", { url = "http://b", load = 1 }]

    [[case.step]]
    request = {}
    keep = "first"
    expect = { worker = "http://a" }

    [[case.step]]
    set = [{ url = "http://b", load = 0 }]
    request = {}
    expect = { worker = "http://b" }

    [[case.step]]
    set = [{ url = "http://b", load = 3 }]
    complete = "first"
    request = {}
    expect = { worker = "http://a" }

    [[case.step]]
    remove = ["http://a"]
    add = ["http://d"]
    request = {}
    expect = { one_of = ["http://d"], none_of = ["http://b"] }

[[case]]
name = "ties are broken by chance"
workers = 2
times = 1000
expect = { shares = { "http://worker-0" = 0.5, "1" = 0.5 } }

[[case]]
name = "nobody where nobody is left"
workers = 1
request = { excluded = [0] }
expect = { nobody = true, wait = false }
"#;

#[tokio::test]
async fn cases_pass_step_by_step() {
    let (module, desk) = (shipped("least_connections"), Desk::new());
    let cases = desk.file("cases.toml", LEAST);
    let (code, out, error) = plugin(&["test", &module, &cases]).await;
    assert!(code == 0 && out.contains("5 cases: 5 passed, 0 failed"), "{out} {error}");
    let (code, found) = plugin_json(&["test", &module, &cases, "--filter", "until it ends"]).await;
    let steps = found["cases"][0]["expectations"].as_array().unwrap();
    assert!(code == 0 && steps.iter().all(|step| step["passed"] == true) && steps.len() == 5, "{found}");
}

#[tokio::test]
async fn what_was_expected_and_found_is_told() {
    let (module, desk) = (shipped("least_connections"), Desk::new());
    let cases = desk.file(
        "cases.toml",
        r#"
        [[case]]
        name = "another worker"
        workers = ["http://a", { url = "http://b", load = 2 }]
        expect = { worker = "http://b" }

        [[case]]
        name = "other shares"
        workers = 2
        times = 1000
        expect = { shares = { "0" = 0.6, "1" = 0.4 } }

        [[case]]
        name = "an order"
        workers = [{ url = "http://a" }, { url = "http://b", load = 7 }]
        times = 2
        expect = { order = ["http://a", "http://b"] }

        [[case]]
        name = "a refusal"
        workers = 1
        expect = { shed = true }

        [[case]]
        name = "no such worker"
        workers = 1
        expect = { worker = "http://worker-1" }
        "#,
    );
    let (code, found) = plugin_json(&["test", &module, &cases]).await;
    let failed: Vec<&Value> =
        found["cases"].as_array().unwrap().iter().filter(|case| case["passed"] == false).collect();
    assert_eq!((code, failed.len()), (1, 5), "{found}");
    let of = |number: usize, key: &str| failed[number]["expectations"][0][key].as_str().unwrap();
    assert_eq!((of(0, "expected"), of(0, "found")), ("http://b", "0 http://a"));
    assert!(of(1, "expected").starts_with("http://worker-0: 60.00 % of 1000, which is "), "{found}");
    assert_eq!((of(2, "expected"), of(2, "found")), ("http://a, http://b", "http://a, http://a"));
    assert_eq!((of(3, "expected"), of(3, "found")), ("shed", "0 http://worker-0"));
    let fault = failed[4]["fault"].as_str().unwrap();
    assert!(fault.contains("step 1: expect.there is no worker \"http://worker-1\""), "{fault}");
}

#[tokio::test]
async fn requests_wait_and_are_shed_as_expected_and_state_goes_on() {
    let (module, desk) = (shipped("late"), Desk::new());
    let cases = desk.file(
        "cases.toml",
        r#"
        [[case]]
        name = "state"
        workers = 2
            [[case.step]]
            request = { request_text = "hi", stream = true }
            keep = "r"
            [[case.step]]
            first_token = "r"
            outcome = { after_ms = 12.5 }
            advance_ms = 100
            [[case.step]]
            complete = "r"
            outcome = { prompt_tokens = 3, completion_tokens = 9, total_ms = 120 }
            [[case.step]]
            swap = true
            request = { request_text = "hi" }
            expect = { one_of = [0, 1] }
            [[case.step]]
            complete = "r"
        "#,
    );
    let (code, found) = plugin_json(&["test", &module, &cases]).await;
    let fault = found["cases"][0]["fault"].as_str().unwrap_or_default();
    assert!(code == 1 && fault == "step 5: complete: no request is kept as \"r\"", "{found}");
}

#[tokio::test]
async fn cases_of_the_guide_pass() {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/trying_plugins.md");
    let guide = std::fs::read_to_string(guide).expect("the guide");
    let (_, after) = guide.split_once("```toml\n[[case]]").expect("cases");
    let (cases, _) = after.split_once("```").expect("their end");
    let desk = Desk::new();
    let cases = desk.file("cases.toml", format!("[[case]]{cases}"));
    let (code, out, error) = plugin(&["test", &shipped("least_connections"), &cases]).await;
    assert!(code == 0 && out.contains("3 cases: 3 passed"), "{out} {error}");
}
