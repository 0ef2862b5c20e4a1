//! What the command line says when something is wrong, and which flag it names.

use serde_json::Value;
use sgl_testkit::process::{Process, command, output, stderr, stdout};
use sgl_testkit::small_guests::{guest, guest_choosing};

/// Runs the binary; gives exit code, standard output and standard error.
async fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = output(command(arguments)).await;
    (output.status.code().expect("a code"), stdout(&output), stderr(&output))
}

fn file(dir: &tempfile::TempDir, name: &str, content: &[u8]) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, content).expect("a file");
    path.to_str().expect("UTF-8").to_owned()
}

#[tokio::test]
async fn other_listener_is_told_from_one_that_knows_no_such_plugin() {
    let router = Process::serve(&[]).await;
    let (clients, admin) = (format!("http://{}", router.data), format!("http://{}", router.admin));
    for arguments in [&["list"][..], &["show", "p"], &["rm", "p"]] {
        let (code, _, error) = run(&[&["plugin", "--admin-url", &clients], arguments].concat()).await;
        let said = error.contains("is not the operators' listener") && error.contains("default port 29001");
        assert!(code == 1 && said, "{arguments:?}: {code} {error}");
    }
    let (code, _, error) = run(&["plugin", "--admin-url", &admin, "show", "p"]).await;
    assert!(code == 4 && error.contains("(plugin_not_found)"), "{code} {error}");
    let (code, _, error) = run(&["plugin", "--admin-url", &admin, "explain", "nobody"]).await;
    assert!(code == 1 && error.contains("(nothing_recorded)"), "{code} {error}");
}

#[tokio::test]
async fn refusals_name_the_flags_that_help() {
    let dir = tempfile::tempdir().unwrap();
    let (token, module) = (file(&dir, "token", b"secret"), file(&dir, "p.wasm", &guest_choosing(0)));
    let plugin = format!("p={module}");
    let flags = ["--plugin", &plugin, "--policy", "p", "--admin-token-file", &token];
    let router = Process::serve(&flags).await;
    let admin = format!("http://{}", router.admin);
    let (code, _, error) = run(&["plugin", "--admin-url", &admin, "rm", "p"]).await;
    let said = error.contains("--admin-token-file") && error.contains("SGL_ROUTER_ADMIN_TOKEN");
    assert!(code == 1 && said, "{code} {error}");
    let to_it = ["plugin", "--admin-url", &admin, "--admin-token-file", &token];
    let (code, _, error) = run(&[&to_it[..], &["rm", "p"]].concat()).await;
    assert!(code == 1 && error.contains("rm --force"), "{code} {error}");
    let (code, out, error) = run(&[&to_it[..], &["pause", "p"]].concat()).await;
    let paused = "p: paused by the operator; the fallback policy (round_robin) decides\n";
    assert_eq!((code, out.as_str()), (0, paused), "{error}");
    let (code, out, error) = run(&[&to_it[..], &["resume", "p"]].concat()).await;
    assert_eq!((code, out.as_str()), (0, "p: serving again\n"), "{error}");
}

#[tokio::test]
async fn faults_have_one_form_and_name_the_flag_that_was_typed() {
    for (arguments, fault) in [
        (&["--watch"][..], "watch_plugin_dir (--watch): found true; allowed: true only with plugin_dir"),
        (&["--worker-urls", "127.0.0.1:8001"], "workers[0].url (--worker-urls): found \"127.0.0.1:8001\""),
        (&["--retry-max-retries", "1000"], "retry.max_retries (--retry-max-retries): found 1000; allowed: 0"),
    ] {
        let (code, _, error) = run(&[&["serve"], arguments].concat()).await;
        assert!(code == 1 && error.contains(fault), "{code} {error}");
    }
    let dir = tempfile::tempdir().unwrap();
    let module = file(&dir, "p.wasm", &guest_choosing(0));
    let router = Process::serve(&[]).await;
    let admin = format!("http://{}", router.admin);
    let push = ["plugin", "--admin-url", &admin, "push", &module];
    assert_eq!(run(&push).await.0, 0);
    let (code, _, error) = run(&[&push[..], &["--canary", "500"]].concat()).await;
    let fault = "1 fault (config_faults)\n  options.rollout.percent (--canary): found 500; allowed: above 0";
    assert!(code == 1 && error.contains(fault), "{code} {error}");
    let (_, out, _) = run(&[&push[..], &["--canary", "500", "--json"]].concat()).await;
    let problem: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(problem["faults"][0]["key"], "options.rollout.percent");
}

#[tokio::test]
async fn cause_of_a_plugin_that_cannot_be_read_is_told_once() {
    let (code, _, error) = run(&["serve", "--plugin", "p=nosuch.wasm"]).await;
    assert!(code == 1 && error.matches("No such file").count() == 1, "{code} {error}");
}

#[tokio::test]
async fn missing_flags_are_told_with_all_that_would_do() {
    let (code, _, error) = run(&["plugin", "verify", "p.wasm"]).await;
    assert!(code == 2 && error.contains("<--key <FILE>|--config <FILE>>"), "{code} {error}");
    let (code, _, error) = run(&["plugin", "verify", "p.wasm", "--key", "a", "--config", "b"]).await;
    assert!(code == 2 && error.contains("cannot be used with"), "{code} {error}");
    let dir = tempfile::tempdir().unwrap();
    let module = file(&dir, "p.wasm", &guest_choosing(0));
    for flag in ["--canary-secs", "--canary-decisions"] {
        let (code, _, error) = run(&["plugin", "push", &module, flag, "5"]).await;
        assert!(code == 2 && error.contains("go with --canary PERCENT"), "{code} {error}");
    }
}

#[tokio::test]
async fn modules_are_checked_without_a_router() {
    let dir = tempfile::tempdir().unwrap();
    let good = file(&dir, "good.wasm", &guest_choosing(0));
    let (code, out, error) = run(&["plugin", "check", &good, &good]).await;
    assert!(code == 0 && out.matches("good.wasm: fits").count() == 2, "{code} {out} {error}");

    let bad = file(&dir, "bad.wasm", &guest("unreachable"));
    let text = file(&dir, "text.wasm", b"nonsense");
    let wrong = file(&dir, "wrong.wasm", &wat::parse_str("(module (memory (export \"memory\") 1))").unwrap());
    let missing = dir.path().join("missing\t.wasm").to_str().unwrap().to_owned();
    let all = ["plugin", "check", &good, &bad, &text, &wrong, &missing];
    let (code, out, error) = run(&all).await;
    assert!(code == 1 && error.contains("would refuse 4 of 5 modules"), "{code} {error}");
    for part in [
        "bad.wasm: the plugin fails its self-test",
        "text.wasm: the module is not a policy plugin: it starts with byte 0x6e; expected a core WebAssembly",
        "export `alloc` is missing; expected (i32) -> i32",
        "missing\\t.wasm cannot be read: ",
    ] {
        assert!(out.contains(part), "{part:?} is not in {out}");
    }
    let (code, out, _) = run(&[&all[..], &["--json"]].concat()).await;
    let checked: Value = serde_json::from_str(&out).unwrap();
    let codes: Vec<&Value> =
        checked["modules"].as_array().unwrap().iter().map(|module| &module["code"]).collect();
    let expected = ["", "self_test_failed", "not_wasm", "missing_export", "file_not_found"];
    assert_eq!(codes[1..].iter().map(|code| code.as_str().unwrap()).collect::<Vec<_>>(), expected[1..]);
    assert_eq!(checked["modules"][4]["file"], *missing, "as it was typed");
    let (_, out, _) = run(&["plugin", "check", "missing.wasm"]).await;
    assert!(out.contains("missing.wasm cannot be read (its path is relative"), "{out}");
    let first = &checked["modules"][0];
    assert!(code == 1 && first["fits"] == true && first["digest"].as_str().unwrap().len() == 64, "{first}");
}
