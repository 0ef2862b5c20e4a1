//! Routers whose modules are in a registry.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use sgl_testkit::client::{call, get};
use sgl_testkit::process::{Process, command, output, stderr};
use sgl_testkit::small_guests::guest_choosing;

use crate::registries::docker_registry::DockerRegistry;
use crate::registries::{done, module, plugin, refused, start_refused, text};

/// Publishes a module under a tag; gives the reference with the digest.
async fn publish(registry: &DockerRegistry, dir: &Path, chosen: u8, name: &str) -> String {
    let file = module(dir, "published.wasm", &guest_choosing(chosen));
    let published = done(&["publish", &file, &registry.named(name)]).await;
    published["reference"].as_str().expect("a reference").to_owned()
}

/// What a router says of its plugin `p`.
async fn shown(router: &Process) -> Value {
    let shown = call(router.admin, get("/v1/plugins/p")).await;
    assert_eq!(shown.status, 200, "{}", shown.text());
    shown.json()
}

async fn module_path(router: &Process) -> String {
    shown(router).await["config"]["module_path"].as_str().expect("a path").to_owned()
}

#[tokio::test]
async fn configured_tag_is_resolved_once_and_starts_with_the_registry_away() {
    let Some(mut registry) = DockerRegistry::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (state, named) = (text(&dir.path().join("state")), format!("p={}", registry.named("team/p:1")));
    let first = publish(&registry, dir.path(), 0, "team/p:1").await;
    let arguments = ["--plugin", &named, "--policy", "p", "--state-dir", &state];
    let mut router = Process::serve(&arguments).await;
    assert_eq!(module_path(&router).await, first);
    let origin = &shown(&router).await["generations"][0]["provenance"]["origin"];
    assert_eq!((&origin["kind"], &origin["reference"]), (&"registry".into(), &first.as_str().into()));
    let second = publish(&registry, dir.path(), 1, "team/p:1").await;
    assert_ne!(first, second);
    // A reload and a restart keep what the tag stood for.
    router.signal("-HUP");
    router.logged("reloaded the configuration").await;
    assert_eq!(
        (module_path(&router).await, shown(&router).await["generations"][0]["generation"].as_u64()),
        (first.clone(), Some(1))
    );
    router.kill();
    registry.stop();
    let router = Process::serve(&arguments).await;
    assert_eq!(module_path(&router).await, first);
    router.kill();
    // Without what is kept, the registry is needed, and the start says so.
    let error = start_refused(&["--plugin", &named, "--policy", "p"]).await;
    assert!(error.contains("cannot load plugin p") && error.contains("cannot be reached"), "{error}");
    // An operator moves it by pulling anew.
    registry.start_again();
    let cache = text(&dir.path().join("state/registry"));
    let pulled = done(&["pull", &registry.named("team/p:1"), "--cache", &cache]).await;
    assert_eq!(pulled["reference"].as_str(), Some(second.as_str()));
    let router = Process::serve(&arguments).await;
    assert_eq!(module_path(&router).await, second);
}

#[tokio::test]
async fn cache_forgets_what_nobody_used_for_long_and_keeps_what_a_router_names() {
    let Some(registry) = DockerRegistry::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let mut manifests = Vec::new();
    for (chosen, name) in (0..).zip(["team/p:1", "team/q:1", "team/r:1"]) {
        let reference = publish(&registry, dir.path(), chosen, name).await;
        done(&["pull", &registry.named(name), "--cache", &text(&cache)]).await;
        let (_, hex) = reference.split_once("@sha256:").expect("a digest");
        manifests.push(cache.join("blobs").join(hex));
    }
    let age = |path: &Path, days: u64| {
        let file = std::fs::File::options().write(true).open(path).expect("it is there");
        file.set_modified(SystemTime::now() - Duration::from_secs(days * 86_400)).expect("a time");
    };
    for (manifest, days) in manifests.iter().zip([100, 100, 80]) {
        age(manifest, days);
    }
    let named = format!("p={}", registry.named("team/p:1"));
    let mut router =
        Process::serve(&["--plugin", &named, "--policy", "p", "--registry-cache", &text(&cache)]).await;
    router.logged("removed from the cache of registries' modules").await;
    assert_eq!([0, 1, 2].map(|at: usize| manifests[at].exists()), [true, false, true]);
    let used = std::fs::metadata(&manifests[0]).and_then(|facts| facts.modified()).unwrap();
    assert!(used.elapsed().unwrap() < Duration::from_secs(86_400), "what serves is marked as used");
}

#[tokio::test]
async fn pushed_tag_is_resolved_at_the_push_shown_and_kept_by_its_digest() {
    let Some(mut registry) = DockerRegistry::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let state = text(&dir.path().join("state"));
    let first = publish(&registry, dir.path(), 0, "team/p:1").await;
    let router = Process::serve(&["--state-dir", &state]).await;
    let admin = format!("http://{}", router.admin);
    let name = registry.named("team/p:1");
    let (code, out, error) = plugin(&["--admin-url", &admin, "push", &name]).await;
    assert!(code == 0 && out.contains("p: generation 1") && out.contains(&first), "{out} {error}");
    let second = publish(&registry, dir.path(), 1, "team/p:1").await;
    let pushed = done(&["--admin-url", &admin, "push", &name, "--canary", "50"]).await;
    assert_eq!(
        (pushed["module"].as_str(), pushed["rollout"].as_str()),
        (Some(second.as_str()), Some("canary"))
    );
    done(&["--admin-url", &admin, "promote", "p"]).await;
    let error = refused(&["--admin-url", &admin, "push", &registry.named("team/none:1")], 1).await;
    assert!(error.contains("not_in_registry") && error.contains("MANIFEST_UNKNOWN"), "{error}");
    let error = refused(&["--admin-url", &admin, "push", &name, "--digest", &"0".repeat(64)], 1).await;
    assert!(error.contains("digest"), "{error}");
    // What was pushed comes back without the registry, by its digest.
    router.kill();
    registry.stop();
    let router = Process::serve(&["--state-dir", &state]).await;
    assert_eq!(module_path(&router).await, second);
}

#[tokio::test]
async fn damaged_cache_is_told_and_read_anew() {
    let Some(mut registry) = DockerRegistry::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let digest = publish(&registry, dir.path(), 0, "team/p:1").await;
    let named = format!("p={digest}");
    let arguments = ["--plugin", &named, "--policy", "p", "--registry-cache", cache.to_str().unwrap()];
    drop(Process::serve(&arguments).await);
    let mut blobs: Vec<_> =
        std::fs::read_dir(cache.join("blobs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    blobs.sort();
    assert_eq!(blobs.len(), 2, "the manifest and the module");
    assert_eq!(std::fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    for blob in &blobs {
        let mut bytes = std::fs::read(blob).unwrap();
        bytes[9] ^= 1;
        std::fs::write(blob, bytes).unwrap();
    }
    let (router, lines) = Process::serve_and_log(&arguments).await;
    let told = lines.iter().find(|line| line.contains("it was changed or damaged"));
    assert!(told.is_some_and(|line| line.contains("\"WARN\"")), "{lines:#?}");
    assert_eq!(module_path(&router).await, digest);
    drop(router);
    registry.stop();
    let router = Process::serve(&arguments).await;
    assert_eq!(module_path(&router).await, digest);
}

#[tokio::test]
async fn reference_that_is_none_is_a_fault_of_the_configuration() {
    let ended = output(command(&["serve", "--plugin", "p=oci://registry.example/p"])).await;
    let error = stderr(&ended);
    assert!(error.contains("plugins[0].module_path (--plugin)"), "{error}");
    assert!(error.contains("neither a tag nor a digest") && error.contains("allowed: oci://HOST"), "{error}");
}
