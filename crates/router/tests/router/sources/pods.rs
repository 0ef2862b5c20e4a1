use std::path::PathBuf;

use serde_json::json;
use sgl_router::RunningRouter;
use sgl_router::config::KubernetesSection;
use sgl_testkit::client::{call, with_method};
use sgl_testkit::process::{Process, command, output, stderr, stdout};
use sgl_testkit::router;
use sgl_testkit::waits::until;

use crate::sources::pod_server::{PodServer, pod, ready};
use crate::sources::views::{serving, source, until_fault, until_serving};

const LABELS: [(&str, &str); 2] = [("app", "sglang"), ("tier", "gpu")];

struct Rig {
    api: PodServer,
    router: RunningRouter,
    #[expect(dead_code, reason = "it is removed with the value")]
    dir: tempfile::TempDir,
}

/// A router that follows these pods, in the namespace of the file that says where the API is.
async fn rig(change: impl FnOnce(&mut KubernetesSection)) -> Rig {
    let api = PodServer::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let kubeconfig: PathBuf = dir.path().join("kubeconfig");
    api.kubeconfig(&kubeconfig);
    let config = router::config_with(Vec::new(), |config| {
        let pods = &mut config.sources.kubernetes;
        pods.enabled = true;
        pods.selector = [("app".to_owned(), "sglang".to_owned())].into();
        pods.port = 8000;
        pods.kubeconfig = Some(kubeconfig);
        change(pods);
    });
    Rig { api, router: router::start(config).await, dir }
}

fn engine(name: &str, ip: &str) -> serde_json::Value {
    pod("engines", name, &format!("uid-{name}"), ip, &LABELS)
}

#[tokio::test]
async fn pods_are_workers_while_they_are_ready() {
    let Rig { api, router, .. } = &rig(|_| ()).await;
    api.apply(engine("a", "10.0.0.1"));
    api.apply(ready(engine("b", "10.0.0.2"), false));
    api.apply(pod("engines", "other", "u", "10.0.0.9", &[("app", "database")]));
    api.apply(pod("elsewhere", "c", "u", "10.0.0.8", &LABELS));
    until_serving(router, &["http://10.0.0.1:8000"]).await;
    let shown = router::shown(router, "http://10.0.0.1:8000").await.unwrap();
    assert_eq!((&shown["source"], &shown["role"]), (&json!("kubernetes"), &json!("regular")));
    assert_eq!(source(router).await["name"], "regular app=sglang");
    let both = ["http://10.0.0.1:8000", "http://10.0.0.2:8000"];
    api.apply(engine("b", "10.0.0.2"));
    until_serving(router, &both).await;

    api.apply(ready(engine("b", "10.0.0.2"), false));
    until_serving(router, &both[..1]).await;
    let shown = router::shown(router, both[1]).await.unwrap();
    assert_eq!(shown["drained_by"], json!(["source"]), "it is still there");
    api.apply(engine("b", "10.0.0.2"));
    until_serving(router, &both).await;

    let mut leaving = engine("b", "10.0.0.2");
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:04:06Z");
    api.apply(leaving);
    until(async || router::shown(router, both[1]).await.is_none()).await;
    // Without its label, and over: as gone.
    api.apply(pod("engines", "a", "uid-a", "10.0.0.1", &[]));
    until_serving(router, &[]).await;
    api.apply(engine("a", "10.0.0.1"));
    until_serving(router, &both[..1]).await;
    let mut over = engine("a", "10.0.0.1");
    over["status"]["phase"] = json!("Failed");
    api.apply(over);
    until_serving(router, &[]).await;
    let watches = api.watches();
    let [watch] = watches.as_slice() else { panic!("one watch was enough: {watches:?}") };
    let told = ["labelSelector", "timeoutSeconds", "allowWatchBookmarks"].map(|key| watch[key].as_str());
    assert_eq!(told, ["app=sglang", "60", "true"]);
}

#[tokio::test]
async fn pairs_are_told_by_their_selectors_and_annotations() {
    let labels =
        |role: &str| [("app".to_owned(), "sglang".to_owned()), ("role".to_owned(), role.to_owned())].into();
    let rig = rig(|pods| {
        pods.selector.clear();
        (pods.prefill_selector, pods.decode_selector) = (labels("p"), labels("d"));
        pods.namespace = Some("*".to_owned());
        pods.worker.model = Some("m".to_owned());
    })
    .await;
    let of = |role| [("app", "sglang"), ("role", role)];
    let mut prefill = pod("one", "p", "1", "fd00::1", &of("p"));
    prefill["metadata"]["annotations"] =
        json!({"vllm.ai/bootstrap-port": "7", "sglang.ai/bootstrap-port": "9001"});
    rig.api.apply(prefill);
    rig.api.apply(pod("two", "d", "2", "10.0.0.2", &of("d")));
    until_serving(&rig.router, &["http://10.0.0.2:8000", "http://[fd00::1]:8000"]).await;
    let shown = router::shown(&rig.router, "http://[fd00::1]:8000").await.unwrap();
    assert_eq!(
        [&shown["role"], &shown["bootstrap_port"], &shown["model"]],
        [&json!("prefill"), &json!(9001), &json!("m")]
    );
    let shown = router::shown(&rig.router, "http://10.0.0.2:8000").await.unwrap();
    assert_eq!([&shown["role"], &shown["bootstrap_port"]], [&json!("decode"), &json!(null)]);
}

#[tokio::test]
async fn role_of_a_pod_of_the_regular_selector_is_what_its_label_of_llm_d_says() {
    let Rig { api, router, .. } = &rig(|_| ()).await;
    let labelled = |name: &str, ip: &str, role: &str| {
        pod("engines", name, &format!("uid-{name}"), ip, &[("app", "sglang"), ("llm-d.ai/role", role)])
    };
    for (name, ip, role) in [
        ("p", "10.0.0.1", "prefill"),
        ("d", "10.0.0.2", "decode"),
        ("b", "10.0.0.3", "both"),
        ("pd", "10.0.0.4", "prefill-decode"),
        ("ep", "10.0.0.5", "encode-prefill"),
        ("e", "10.0.0.6", "encode"),
        ("x", "10.0.0.7", "something-else"),
    ] {
        api.apply(labelled(name, ip, role));
    }
    let expected =
        [(1, "prefill"), (2, "decode"), (3, "regular"), (4, "regular"), (5, "prefill"), (7, "regular")];
    let urls: Vec<String> = expected.iter().map(|(last, _)| format!("http://10.0.0.{last}:8000")).collect();
    until_serving(router, &urls.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for (url, (_, role)) in urls.iter().zip(expected) {
        assert_eq!(router::shown(router, url).await.unwrap()["role"], role, "{url}");
    }
    // It does something else from now on.
    api.apply(labelled("d", "10.0.0.2", "both"));
    until(async || router::shown(router, &urls[1]).await.is_some_and(|shown| shown["role"] == "regular"))
        .await;
}

#[tokio::test]
async fn api_that_is_away_or_refuses_takes_nobody_away() {
    let Rig { api, router, .. } = &rig(|_| ()).await;
    api.apply(engine("a", "10.0.0.1"));
    until_serving(router, &["http://10.0.0.1:8000"]).await;
    api.refuse(Some(403));
    let failing = until_fault(router, "the double refuses this").await;
    assert_eq!(failing["state"], "failing");
    api.apply(engine("b", "10.0.0.2"));
    assert_eq!(serving(router).await, ["http://10.0.0.1:8000"]);
    api.refuse(None);
    until_serving(router, &["http://10.0.0.1:8000", "http://10.0.0.2:8000"]).await;
    assert_eq!(source(router).await["state"], "current");
    let page = router::metrics(router).await;
    let failures = "sgl_router_source_failures_total{source=\"kubernetes\",name=\"regular app=sglang\",cause=\"forbidden\"}";
    assert!(page.text().contains(failures), "{}", page.text());
}

#[tokio::test]
async fn lists_that_are_too_long_are_told_and_those_before_count() {
    let Rig { api, router, .. } = &rig(|_| ()).await;
    api.apply(engine("a", "10.0.0.1"));
    until_serving(router, &["http://10.0.0.1:8000"]).await;
    api.apply(engine("b", "10.0.0.2"));
    let both = ["http://10.0.0.1:8000", "http://10.0.0.2:8000"];
    until_serving(router, &both).await;
    for (crowd, blanks, said) in [
        (
            50_001,
            0,
            "more than 50000 pods have these labels, which is as many as are followed: give a narrower",
        ),
        (
            0,
            64 << 20,
            "an answer has more than is read of an API (64 MiB): a narrower selector or a namespace",
        ),
    ] {
        api.crowd(crowd);
        api.pad(blanks);
        api.lose_all();
        api.forget_the_past();
        until_fault(router, said).await;
        assert_eq!(serving(router).await, both);
        api.apply(engine("a", "10.0.0.1"));
        api.apply(engine("b", "10.0.0.2"));
        // As many as may be.
        api.crowd(49_998);
        api.pad(0);
        until(async || source(router).await["state"] == "current").await;
    }
    assert_eq!(serving(router).await, both);
    let page = router::metrics(router).await;
    let failures =
        "sgl_router_source_failures_total{source=\"kubernetes\",name=\"regular app=sglang\",cause=\"api\"}";
    assert!(page.text().contains(failures), "{}", page.text());
}

#[tokio::test]
async fn cut_watch_goes_on_and_misses_nothing() {
    let Rig { api, router, .. } = &rig(|_| ()).await;
    api.apply(engine("a", "10.0.0.1"));
    until_serving(router, &["http://10.0.0.1:8000"]).await;
    let watches = api.watches().len();
    api.cut();
    api.apply(engine("b", "10.0.0.2"));
    api.delete("engines", "a");
    until_serving(router, &["http://10.0.0.2:8000"]).await;
    assert!(api.watches().len() > watches);
}

#[tokio::test]
async fn list_finds_what_no_event_told_of_and_an_empty_one_is_held() {
    let Rig { api, router, .. } = &rig(|_| ()).await;
    for (name, ip) in [("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3")] {
        api.apply(engine(name, ip));
    }
    let all = ["http://10.0.0.1:8000", "http://10.0.0.2:8000", "http://10.0.0.3:8000"];
    until_serving(router, &all).await;
    let lists = api.lists();
    api.lose_all();
    api.forget_the_past();
    until(async || source(router).await["state"] == "holding").await;
    assert!(api.lists() > lists);
    assert_eq!(serving(router).await, all, "an API that comes back empty takes nobody away at once");
    // Its checks fail: it is gone for sure.
    router::target(router, all[1]).unwrap().endpoint().set_passing(false);
    until_serving(router, &[all[0], all[2]]).await;
    // What is said of one pod counts for it at once.
    api.apply(engine("a", "10.0.0.1"));
    api.delete("engines", "a");
    until_serving(router, &all[2..]).await;
}

#[tokio::test]
async fn pod_that_an_operator_removed_stays_away_until_another_has_its_name() {
    let Rig { api, router, .. } = &rig(|_| ()).await;
    api.apply(engine("a", "10.0.0.1"));
    api.apply(engine("b", "10.0.0.2"));
    let both = ["http://10.0.0.1:8000", "http://10.0.0.2:8000"];
    until_serving(router, &both).await;
    call(router.addresses().admin, with_method("DELETE", "/workers?url=http://10.0.0.1:8000")).await;
    until(async || source(router).await["members"][0]["state"] == "dismissed").await;
    let lists = api.lists();
    api.forget_the_past();
    until(async || api.lists() > lists).await;
    api.apply(ready(engine("b", "10.0.0.2"), false));
    until_serving(router, &[]).await;
    api.apply(engine("b", "10.0.0.2"));
    until_serving(router, &both[1..]).await;
    api.delete("engines", "a");
    api.apply(pod("engines", "a", "another", "10.0.0.1", &LABELS));
    until_serving(router, &both).await;
}

#[tokio::test]
async fn flags_of_sglang_router_find_pods() {
    let (api, dir) = (PodServer::start().await, tempfile::tempdir().unwrap());
    let kubeconfig = dir.path().join("kubeconfig");
    api.kubeconfig(&kubeconfig);
    api.apply(pod("sglang-system", "w", "1", "10.0.0.1", &[("app", "sglang-worker"), ("role", "inference")]));
    let config = dir.path().join("router.toml");
    std::fs::write(&config, format!("[sources.kubernetes]\nkubeconfig = {kubeconfig:?}\n")).unwrap();
    let flags = [
        "--service-discovery",
        "--selector",
        "app=sglang-worker",
        "role=inference",
        "--service-discovery-namespace",
        "sglang-system",
        "--service-discovery-port",
        "8000",
    ];
    let router = Process::serve(&[&["--config", config.to_str().unwrap()][..], &flags].concat()).await;
    let admin = format!("http://{}", router.admin);
    let list = async || stdout(&output(command(&["worker", "--admin-url", &admin, "list"])).await);
    until(async || list().await.contains("http://10.0.0.1:8000")).await;
    for (arguments, said) in [
        (&["--service-discovery"][..], "sources.kubernetes.selector: found no labels"),
        (
            &["--selector", "app=x"],
            "sources.kubernetes.selector (--selector): found labels; allowed: only with enabled = true",
        ),
        (&["--service-discovery", "--selector", "app"], "--selector: found \"app\"; allowed: KEY=VALUE"),
        (&["--service-discovery", "--selector", "a b=c"], "found \"a b=c\"; allowed: a label of Kubernetes"),
    ] {
        let output = output(command(&[&["serve"], arguments].concat())).await;
        assert!(
            !output.status.success() && stderr(&output).contains(said),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
}

/// Run by `scripts/test_deploy.sh kubernetes`, which brings a kubectl.
#[tokio::test]
#[ignore = "needs a kubectl, in the variable KUBECTL"]
async fn kubectl_reads_the_same_api() {
    let kubectl = std::env::var_os("KUBECTL").expect("the path of a kubectl");
    let (api, dir) = (PodServer::start().await, tempfile::tempdir().unwrap());
    let kubeconfig = dir.path().join("kubeconfig");
    api.kubeconfig(&kubeconfig);
    api.apply(engine("a", "10.0.0.1"));
    api.apply(ready(engine("b", "10.0.0.2"), false));
    api.apply(pod("elsewhere", "c", "u", "10.0.0.8", &LABELS));
    let run = async |arguments: &[&str]| {
        let mut kubectl = std::process::Command::new(&kubectl);
        kubectl.env("KUBECONFIG", &kubeconfig).env("HOME", dir.path()).args(arguments);
        let output = output(kubectl).await;
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        stdout(&output)
    };
    let names = "jsonpath={range .items[*]}{.metadata.name} {.status.podIP}{\"\\n\"}{end}";
    assert_eq!(run(&["get", "pods", "-l", "app=sglang", "-o", names]).await, "a 10.0.0.1\nb 10.0.0.2\n");
    assert_eq!(run(&["get", "pods", "-A", "-l", "app=sglang", "-o", names]).await.lines().count(), 3);
    // A watch that ends when its connection is cut.
    let watching = run(&["get", "pods", "-l", "app=sglang", "--watch-only", "-o", "name"]);
    let telling = async {
        until(async || !api.watches().is_empty()).await;
        api.apply(engine("d", "10.0.0.4"));
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        api.cut();
    };
    let (told, ()) = tokio::join!(watching, telling);
    assert!(told.contains("pod/d"), "{told}");
}
