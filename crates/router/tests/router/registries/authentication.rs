//! Registries that want to know who asks.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sgl_oci::Sha256Digest;
use sgl_testkit::process::Process;
use sgl_testkit::small_guests::guest_choosing;

use crate::registries::docker_registry::DockerRegistry;
use crate::registries::false_registry::{FalseRegistry, holding, sending_to, with_status};
use crate::registries::token_server::{REFRESH_TOKEN, TokenServer, USER};
use crate::registries::{done, module, plugin_with, refused, text};

/// A file of credentials as `docker login` writes it.
fn login(dir: &Path, name: &str, content: &Value) -> String {
    let file = dir.join(name);
    std::fs::write(&file, content.to_string()).expect("a file");
    text(&file)
}

fn basic(host: &str, user: &str, password: &str) -> Value {
    json!({"auths": {host: {"auth": STANDARD.encode(format!("{user}:{password}"))}}})
}

#[tokio::test]
async fn registry_with_tokens_takes_the_credentials_of_dockers_file() {
    let tokens = TokenServer::start().await;
    let dir = tempfile::tempdir().unwrap();
    let Some(registry) = DockerRegistry::with_auth(&tokens.section(dir.path())) else { return };
    let file = module(dir.path(), "p.wasm", &guest_choosing(0));
    let (name, host) = (registry.named("team/p:1"), registry.address.to_string());
    let good = login(dir.path(), "good.json", &basic(&host, USER.0, USER.1));
    let wrong = login(dir.path(), "wrong.json", &basic(&host, USER.0, "nonsense"));
    let published = done(&["publish", &file, &name, "--registry-config", &good]).await;
    assert!(tokens.asked.lock().contains(&("repository:team/p:pull,push".to_owned(), true)));
    let out = text(&dir.path().join("out.wasm"));
    tokens.asked.lock().clear();
    let pulled = done(&["pull", &name, "--out", &out, "--registry-config", &good]).await;
    assert_eq!(pulled["digest"], published["digest"]);
    // One token for the manifest, the layer and the referrers.
    assert_eq!(*tokens.asked.lock(), [("repository:team/p:pull".to_owned(), true)]);
    // Nobody's token is one for nothing; a wrong password is none.
    let error = refused(&["pull", &name, "--out", &out], 1).await;
    assert!(error.contains("registry_unauthorized") && error.contains("docker login"), "{error}");
    assert!(error.contains("--registry-config") && error.contains(&host), "{error}");
    let error = refused(&["pull", &name, "--out", &out, "--registry-config", &wrong], 1).await;
    assert!(error.contains("wrong password") && !error.contains("nonsense"), "{error}");
    // A token that is exchanged for others, as `docker login` of some registries leaves it.
    let refresh = json!({"auths": {host.clone(): {"identitytoken": REFRESH_TOKEN}}});
    let refresh = login(dir.path(), "refresh.json", &refresh);
    done(&["pull", &name, "--out", &out, "--registry-config", &refresh]).await;
    // Where docker keeps it, and where a router looks.
    let home = [("DOCKER_CONFIG", dir.path().to_str().unwrap())];
    std::fs::copy(&good, dir.path().join("config.json")).unwrap();
    let (code, _, error) = plugin_with(&home, &["pull", &name, "--out", &out]).await;
    assert_eq!(code, 0, "{error}");
    let named = format!("p={name}");
    drop(Process::serve(&["--plugin", &named, "--policy", "p", "--registry-config", &good]).await);
}

#[tokio::test]
async fn registry_with_passwords_takes_them_from_a_file_or_a_helper() {
    let dir = tempfile::tempdir().unwrap();
    let passwords = dir.path().join("htpasswd");
    // A vector of the tests of crypt_blowfish; the password is U*U.
    std::fs::write(&passwords, "u:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n").unwrap();
    let auth = format!("auth: {{htpasswd: {{realm: r, path: {passwords:?}}}}}");
    let Some(registry) = DockerRegistry::with_auth(&auth) else { return };
    let file = module(dir.path(), "p.wasm", &guest_choosing(0));
    let (name, host) = (registry.named("team/p:1"), registry.address.to_string());
    let error = refused(&["publish", &file, &name], 1).await;
    assert!(error.contains("registry_unauthorized") && error.contains("pull and to push"), "{error}");
    let good = login(dir.path(), "good.json", &basic(&host, "u", "U*U"));
    done(&["publish", &file, &name, "--registry-config", &good]).await;
    let helper = dir.path().join("docker-credential-test");
    let script = format!(
        "#!/bin/sh\nread host\n[ \"$1 $host\" = \"get {host}\" ] && echo '{{\"ServerURL\": \"x\", \"Username\": \"u\", \"Secret\": \"U*U\"}}'\n"
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let helped = login(dir.path(), "helped.json", &json!({"credHelpers": {host.clone(): "test"}}));
    let out = text(&dir.path().join("out.wasm"));
    let stored = login(dir.path(), "stored.json", &json!({"credsStore": "test"}));
    for file in [&stored, &helped] {
        let pull = ["pull", &name, "--out", &out, "--registry-config", file];
        let (code, _, error) = plugin_with(&[("PATH", &path)], &pull).await;
        assert_eq!(code, 0, "{error}");
    }
    let pull = ["pull", &name, "--out", &out, "--registry-config", &helped];
    let (code, _, error) = plugin_with(&[], &pull).await;
    assert!(
        code == 1 && error.contains("docker-credential-test get") && error.contains("cannot be started"),
        "{error}"
    );
}

#[tokio::test]
async fn what_authorizes_a_request_goes_to_nobody_else() {
    let wasm = guest_choosing(0);
    let blob = wasm.clone();
    let elsewhere = FalseRegistry::answering(move |_, _, _| with_status(200, blob.clone())).await;
    let (digest, location) = (Sha256Digest::of(&wasm), format!("http://{}/blob?signed=1", elsewhere.address));
    let registry = FalseRegistry::answering(move |what, _, headers| {
        if !headers.contains_key("authorization") {
            let mut answer = with_status(401, "who?");
            answer.headers_mut().insert("www-authenticate", "Basic realm=\"r\"".parse().unwrap());
            return answer;
        }
        if what == format!("GET /v2/p/blobs/{digest}") { sending_to(&location) } else { holding(&wasm, what) }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let file = login(dir.path(), "config.json", &basic(&registry.address.to_string(), "u", "p"));
    let out = text(&dir.path().join("out.wasm"));
    done(&["pull", &registry.named("p:1"), "--out", &out, "--registry-config", &file]).await;
    let asked = elsewhere.asked.lock();
    assert_eq!(asked.iter().map(|(what, _)| what.as_str()).collect::<Vec<_>>(), ["GET /blob"]);
    assert!(!asked[0].1.contains_key("authorization"), "{:?}", asked[0].1);
}

#[tokio::test]
async fn token_for_everybody_is_asked_for_once_and_without_credentials() {
    let tokens = FalseRegistry::answering(|_, _, _| with_status(200, r#"{"token": "for everybody"}"#)).await;
    let wasm = guest_choosing(0);
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", tokens.address);
    let served = wasm.clone();
    let registry = FalseRegistry::answering(move |what, _, headers| {
        if headers.get("authorization").is_none_or(|shown| shown != "Bearer for everybody") {
            let mut answer = with_status(401, "who?");
            answer.headers_mut().insert("www-authenticate", realm.parse().unwrap());
            return answer;
        }
        holding(&served, what)
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let out = text(&dir.path().join("out.wasm"));
    done(&["pull", &registry.named("p:1"), "--out", &out]).await;
    assert_eq!(std::fs::read(&out).unwrap(), wasm);
    let asked = tokens.asked.lock();
    assert_eq!(asked.len(), 1);
    assert!(!asked[0].1.contains_key("authorization"));
}
