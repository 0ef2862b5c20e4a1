//! `serve --check`: what a start would trip over, all at once, and what it would not.

use std::net::TcpListener;
use std::path::Path;

use serde_json::{Value, json};
use sgl_testkit::process::{Process, command, output, stderr, stdout};
use sgl_testkit::small_guests::{guest, guest_choosing};

use crate::sources::name_server::{A, NameServer, addresses};
use crate::sources::pod_server::{PodServer, pod, ready};
use crate::tls::authority::Authority;

/// Runs `serve --check`; gives exit code, standard output and standard error.
async fn check(arguments: &[&str]) -> (i32, String, String) {
    let mut command = command(&["serve", "--check"]);
    command.args(arguments);
    let output = output(command).await;
    (output.status.code().expect("a code"), stdout(&output), stderr(&output))
}

/// The answer for scripts.
async fn checked(arguments: &[&str]) -> (i32, Value) {
    let (code, out, err) = check(&[arguments, &["--json"]].concat()).await;
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}")))
}

/// Key, problem and remedy of each.
fn told(findings: &Value) -> Vec<[String; 3]> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = findings.as_array().unwrap().iter();
    all.map(|one| ["key", "problem", "remedy"].map(|field| text(&one[field]))).collect()
}

fn file(dir: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn all_faults_of_all_kinds_are_told_at_once_each_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let (bad, noise) =
        (file(dir.path(), "bad.wasm", guest("unreachable")), file(dir.path(), "noise.pem", "noise"));
    let text = format!(
        "polcy = \"x\"\n[retry]\nmax_retries = 900\n[server]\nport = 4711\n[metrics]\nport = 4711\n\
         [server.tls]\ncert_path = {noise:?}\nkey_path = {noise:?}\n[upstream.tls]\nca_cert_paths = [{noise:?}]\n\
         [keys]\nclients_file = \"/nowhere/keys.toml\"\n[records]\nsample = 1.0\nfile = \"/nowhere/records\"\n[access_log]\nfile = \"/nowhere/access\"\n\
         [[workers]]\nurl = \"nowhere\"\n[[trust]]\nkeys = [{noise:?}]\n\
         [[tokenizers]]\nmodel = \"m\"\npath = \"/nowhere/tokenizer.json\"\n\
         [[plugins]]\nname = \"bad\"\nmodule_path = {bad:?}\n[[plugins]]\nname = \"gone\"\nmodule_path = \"/nowhere.wasm\"\n"
    );
    let config = file(dir.path(), "router.toml", text);
    let arguments = ["--config", config.as_str(), "--log-level", "loud"];
    let (code, answer) = checked(&arguments).await;
    let faults = told(&answer["faults"]);
    let expected = [
        ("polcy", "unknown field"),
        ("retry.max_retries", "900"),
        ("workers[0].url", "nowhere"),
        ("keys.clients_file", "/nowhere/keys.toml"),
        ("--log-level", "loud"),
        ("server.tls", "noise.pem"),
        ("upstream.tls", "noise.pem"),
        ("metrics.port", "server.port"),
        ("trust", "noise.pem"),
        ("tokenizers[0].path", "/nowhere/tokenizer.json"),
        ("records.file", "/nowhere/records"),
        ("access_log.file", "/nowhere/access"),
        ("plugin bad", "noise.pem"),
        ("plugin gone", "/nowhere.wasm"),
    ];
    for (key, problem) in expected {
        let found = faults.iter().find(|fault| fault[0].starts_with(key));
        assert!(
            found.is_some_and(|fault| fault[1].contains(problem)),
            "{key}: {problem} is not in {faults:#?}"
        );
    }
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    assert!(faults.iter().all(|fault| !fault[2].is_empty()), "{faults:#?}");
    assert_eq!((code, &answer["would_start"]), (1, &json!(false)));

    let (code, out, err) = check(&arguments).await;
    assert!(code == 1 && err.contains("it would not start: 14 to mend"), "{err}");
    assert!(
        out.contains("fault: polcy (line 1): ") && out.matches("\n  to mend it: ").count() == 14,
        "{out}"
    );
}

#[tokio::test]
async fn what_is_right_would_start_and_nothing_of_it_is_done() {
    let (authority, dir) = (Authority::new("own"), tempfile::tempdir().unwrap());
    let (certificate, key) = authority.issue().files(dir.path(), "router");
    let module = file(dir.path(), "mine.wasm", guest_choosing(0));
    // Somebody serves there already: a check does not listen.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, state) = (taken.local_addr().unwrap().port(), dir.path().join("state"));
    let text = format!(
        "policy = \"mine\"\nstate_dir = {state:?}\naot_cache = {:?}\n[server]\nport = {port}\n\
         [server.tls]\ncert_path = {certificate:?}\nkey_path = {key:?}\n\
         [records]\nsample = 1.0\nfile = {:?}\n\
         [[workers]]\nurl = \"http://127.0.0.1:9\"\n[[plugins]]\nname = \"mine\"\nmodule_path = {module:?}\n",
        dir.path().join("cache"),
        dir.path().join("records"),
    );
    let config = file(dir.path(), "router.toml", text);
    let names = || {
        let mut names: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    let (code, out, err) = check(&["--config", &config]).await;
    assert_eq!((code, out.as_str()), (0, "it would start: policy mine, 1 worker, 1 plugin\n"), "{err}");
    assert_eq!(names(), before, "nothing is made");
}

#[tokio::test]
async fn what_a_router_does_without_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    file(dir.path(), "bad.wasm", guest("unreachable"));
    file(dir.path(), "odd.wasm", guest_choosing(0));
    file(dir.path(), "odd.toml", "max_memory_bytes = 1\n");
    file(dir.path(), "lonely.toml", "");
    let (certificate, key) =
        Authority::new("own").issue_for(&["localhost"], 2020).files(dir.path(), "router");
    let [folder, certificate, key] =
        [dir.path(), &certificate, &key].map(|path| path.to_str().unwrap().to_owned());
    let arguments = ["--plugin-dir", &folder, "--tls-cert-path", &certificate, "--tls-key-path", &key];
    let (code, answer) = checked(&arguments).await;
    let warnings = told(&answer["warnings"]);
    for (key, problem) in [
        ("plugin bad", "unreachable"),
        ("plugin odd", "max_memory_bytes"),
        ("plugin_dir", "lonely.toml"),
        ("server.tls", "expired"),
    ] {
        let found = warnings.iter().find(|one| one[0].starts_with(key));
        assert!(
            found.is_some_and(|one| one[1].contains(problem)),
            "{key}: {problem} is not in {warnings:#?}"
        );
    }
    let nobody = warnings.iter().find(|one| one[0] == "workers").expect("a router without workers");
    assert!(nobody[1].contains("503") && nobody[2].contains("--worker-urls"), "{nobody:?}");
    assert_eq!((code, warnings.len(), &answer["would_start"]), (0, 5, &json!(true)));
    // The policy is another matter.
    let (code, answer) = checked(&[&arguments[..], &["--policy", "bad"]].concat()).await;
    assert!(code == 1 && told(&answer["faults"])[0][0].starts_with("plugin bad"), "{answer}");
}

#[tokio::test]
async fn state_directory_is_looked_into_also_while_a_router_uses_it() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().to_str().unwrap();
    let module = file(dir.path(), "pushed.wasm", guest_choosing(0));
    let router = Process::serve(&["--state-dir", state]).await;
    let admin = format!("http://{}", router.admin);
    let pushed = output(command(&["plugin", "--admin-url", &admin, "push", &module])).await;
    assert!(pushed.status.success(), "{}", stderr(&pushed));
    let of = ["--state-dir", state, "--policy"];
    let (code, _) = checked(&[&of[..], &["pushed"]].concat()).await;
    assert_eq!(code, 0, "the policy is there");
    let (code, answer) = checked(&[&of[..], &["other"]].concat()).await;
    assert!(code == 1 && told(&answer["faults"])[0][0] == "policy", "{answer}");
    let modules = std::fs::read_dir(dir.path().join("modules")).unwrap();
    modules.for_each(|entry| std::fs::write(entry.unwrap().path(), "cut").unwrap());
    let (code, answer) = checked(&[&of[..], &["pushed"]].concat()).await;
    assert!(code == 1 && told(&answer["faults"])[0][1].contains("its digest is"), "{answer}");
    let (code, answer) = checked(&of[..2]).await;
    let warnings = told(&answer["warnings"]);
    assert!(code == 0 && warnings.iter().any(|one| one[0].contains("pushed")), "{answer}");
    drop(router);
}

#[tokio::test]
async fn router_that_is_its_own_worker_is_refused_with_what_to_change() {
    for flags in [&["--worker-urls", "http://localhost:4711"][..], &["--decode", "http://127.0.0.1:4711"]] {
        let (code, answer) = checked(&[flags, &["--port", "4711", "--host", "0.0.0.0"]].concat()).await;
        let faults = told(&answer["faults"]);
        assert!(code == 1 && faults[0][0].starts_with("workers[0].url (--"), "{answer}");
        assert!(faults[0][1].contains("this router itself") && faults[0][2].contains("--port"), "{answer}");
    }
    let (code, answer) = checked(&["--worker-urls", "http://localhost:4712", "--port", "4711"]).await;
    assert_eq!(code, 0, "{answer}");
}

#[tokio::test]
async fn remedies_fit_what_they_are_for() {
    let dir = tempfile::tempdir().unwrap();
    let keys = file(dir.path(), "keys.toml", "sk-secret\n");
    let flags = ["--mini-lb", "--rate-limit-tokens-per-second", "5", "--client-keys-file", &keys];
    let (_, answer) = checked(&flags).await;
    let faults = told(&answer["faults"]);
    for (key, problem, remedy) in [
        ("--mini-lb", "refused: ", "leave it out; docs/migration.md"),
        ("--rate-limit-tokens-per-second", "--client-keys-file", "leave it out; docs/migration.md"),
        ("keys.clients_file", "keys.toml: line 1 is no [[keys]] table", "sgl-router key new"),
    ] {
        let fault =
            faults.iter().find(|fault| fault[0].starts_with(key)).unwrap_or_else(|| panic!("{answer}"));
        assert!(fault[1].contains(problem) && fault[2].contains(remedy), "{fault:?}");
    }
    let (_, answer) = checked(&["--client-keys-file", "/nowhere/keys.toml"]).await;
    let fault = &told(&answer["faults"])[0];
    assert!(
        fault[1].starts_with("/nowhere/keys.toml cannot be read") && fault[2].contains("is there"),
        "{fault:?}"
    );
}

#[tokio::test]
async fn flag_for_scripts_goes_with_the_check_alone() {
    let output = output(command(&["serve", "--json"])).await;
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[tokio::test]
async fn sources_are_asked_once_and_what_they_tell_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (api, names) = (PodServer::start().await, NameServer::start().await);
    let kubeconfig = dir.path().join("kubeconfig");
    api.kubeconfig(&kubeconfig);
    api.apply(pod("engines", "a", "1", "10.0.0.1", &[("app", "sglang")]));
    api.apply(ready(pod("engines", "b", "2", "10.0.0.2", &[("app", "sglang")]), false));
    api.apply(pod("engines", "c", "3", "10.0.0.3", &[("app", "database")]));
    names.say("engines.test", A, addresses(&["10.0.0.1", "10.0.0.2", "10.0.0.3"], 60));
    let workers = file(dir.path(), "workers.toml", "[[workers]]\nurl = \"http://w:1\"\n");
    let text = format!(
        "[sources]\nfile = {workers:?}\ndns_servers = [{:?}]\n[[sources.dns]]\nurl = \"http://engines.test:8000\"\n\
         [sources.kubernetes]\nenabled = true\nselector = {{ app = \"sglang\" }}\nport = 8000\nkubeconfig = {kubeconfig:?}\n",
        names.address.to_string()
    );
    let config = file(dir.path(), "router.toml", text);
    let (code, out, error) = check(&["--config", &config]).await;
    assert_eq!(code, 0, "{out}{error}");
    for line in [
        "source: dns http://engines.test:8000: 3 workers, 3 ready",
        "source: kubernetes regular app=sglang: 2 workers, 1 ready",
    ] {
        assert!(out.contains(line), "{line} is missing in {out}");
    }
    assert!(out.contains("workers.toml: 1 worker, 1 ready") && !out.contains("warning: sources"), "{out}");

    // What is wrong with one keeps no router from starting.
    std::fs::write(&workers, "[[workers]]\nurl = \"w:1\"\n").unwrap();
    names.say("engines.test", A, addresses(&[], 60));
    api.refuse(Some(403));
    let (code, answer) = checked(&["--config", &config]).await;
    assert_eq!((code, &answer["would_start"]), (0, &json!(true)), "{answer}");
    let warnings = told(&answer["warnings"]);
    for (key, problem, remedy) in [
        ("sources.file", "workers[0].url", "docs/workers.md"),
        ("sources.dns", "http://engines.test:8000: it has no workers now", "dns_servers"),
        ("sources.kubernetes", "the double refuses this", "rights.yaml"),
    ] {
        let found =
            warnings.iter().find(|warning| warning[0] == key).unwrap_or_else(|| panic!("{key}: {answer}"));
        assert!(found[1].contains(problem) && found[2].contains(remedy), "{found:?}");
    }
    let counted: Vec<&Value> =
        answer["sources"].as_array().unwrap().iter().map(|one| &one["workers"]).collect();
    assert_eq!(counted, [&json!(null), &json!(0), &json!(null)]);
    let (_, answer) = checked(&["--worker-file", "/nowhere/workers.toml"]).await;
    assert!(
        told(&answer["warnings"]).iter().any(|warning| warning[1].contains("cannot be read")),
        "{answer}"
    );
}

#[tokio::test]
async fn what_would_only_be_seen_at_the_start_is_told_before() {
    let dir = tempfile::tempdir().unwrap();
    let junk = file(dir.path(), "junk.creds", "junk");
    let here = dir.path().to_str().unwrap();
    for (arguments, key, problem) in [
        (&["--audit-file", "/nowhere/audit"][..], "admin.audit_file", "/nowhere/audit: "),
        (&["--audit-file", here], "admin.audit_file", here),
        (&["--access-log", here], "access_log.file", here),
        // Addresses for documents (RFC 5737): nobody's.
        (&["--host", "192.0.2.1"], "server.host", "192.0.2.1: "),
        (
            &["--fleet", "nats://127.0.0.1:1", "--fleet-name", "f", "--fleet-credentials", &junk],
            "fleet",
            "junk.creds",
        ),
        (
            &["--fleet", "nats://127.0.0.1:1", "--fleet-name", "f", "--fleet-credentials", "/nowhere.creds"],
            "fleet",
            "/nowhere.creds",
        ),
    ] {
        let (code, answer) = checked(arguments).await;
        let faults = told(&answer["faults"]);
        assert!(
            code == 1 && faults.len() == 1 && faults[0][0] == key && faults[0][1].contains(problem),
            "{arguments:?}: {faults:#?}"
        );
        assert!(!faults[0][2].is_empty(), "{faults:#?}");
        assert!(!output(command(&[&["serve"], arguments].concat())).await.status.success(), "{arguments:?}");
    }
    // NATS may be away.
    let (code, answer) = checked(&["--fleet", "nats://127.0.0.1:1", "--fleet-name", "f"]).await;
    assert_eq!(code, 0, "{answer}");
}
