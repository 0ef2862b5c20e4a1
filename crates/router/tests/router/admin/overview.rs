//! What people look at: the page of the operators' listener, what it asks for, `status` and `top`.

use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use sgl_testkit::client::{call, chat, get, with_method};
use sgl_testkit::process::{Process, command, output, stderr, stdout};
use sgl_testkit::small_guests::guest_choosing;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;
use sgl_testkit::{router, upstream};

use crate::admin::api::{Setup, put};

async fn ran(arguments: &[&str]) -> (i32, String, String) {
    let output = output(command(arguments)).await;
    (output.status.code().expect("a code"), stdout(&output), stderr(&output))
}

#[tokio::test]
async fn page_is_there_without_the_token_and_what_it_shows_is_not() {
    let setup = Setup::with(|config| config.admin_token = Some("secret".to_owned())).await;
    let page = setup.admin(get("/")).await;
    assert_eq!(page.status, StatusCode::OK);
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    for (file, kind) in [("page.css", "text/css"), ("page.js", "text/javascript")] {
        assert!(page.text().contains(&format!("\"{file}\"")), "the page uses {file}");
        let answer = setup.admin(get(&format!("/{file}"))).await;
        assert_eq!(answer.status, StatusCode::OK, "{file}");
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with(kind), "{file}");
        assert!(!answer.text().contains("https://"), "{file} needs nothing from elsewhere");
    }
    for path in ["/v1/status", "/v1/events", "/workers"] {
        assert_eq!(setup.admin(get(path)).await.status, StatusCode::UNAUTHORIZED, "{path}");
        let shown = Request::get(path).header("host", "localhost").header("authorization", "Bearer secret");
        let answer = setup.admin(shown.body(Full::default()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn status_counts_what_became_of_requests() {
    let setup = Setup::new().await;
    for _ in 0..3 {
        setup.ask().await;
    }
    let status = setup.admin(get("/v1/status")).await.json();
    assert_eq!(status["policy"], "mine");
    assert_eq!(status["policy_is_plugin"], true);
    assert_eq!((&status["ready"], &status["asks_token"]), (&true.into(), &false.into()));
    assert_eq!(status["workers"]["all"], 2);
    assert_eq!(status["workers"]["healthy"], 2);
    let requests = &status["requests"];
    assert_eq!((&requests["succeeded"], &requests["server_errors"]), (&3.into(), &0.into()), "{requests}");
    for times in ["first_byte", "duration"] {
        let counts = status[times]["counts"].as_array().unwrap();
        assert_eq!(counts.iter().filter_map(Value::as_u64).sum::<u64>(), 3, "{times}");
        assert_eq!(counts.len(), status[times]["bounds_secs"].as_array().unwrap().len() + 1, "{times}");
    }
    // One decision in sixteen is measured.
    assert!(status["decision"]["counts"].is_array(), "{status}");
    setup.router.stop();
    until(async || setup.router.proxy().is_stopping()).await;
    assert_eq!(setup.admin(get("/v1/status")).await.json()["ready"], false);
}

#[tokio::test]
async fn status_of_a_built_in_policy_tells_no_decision_times() {
    let setup = Setup::with(|config| config.policy = "round_robin".to_owned()).await;
    let status = setup.admin(get("/v1/status")).await.json();
    assert_eq!((&status["policy_is_plugin"], &status["decision"]), (&false.into(), &Value::Null));
}

#[tokio::test]
async fn events_are_the_newest_lines_of_the_log() {
    let router = Process::serve(&["--log-level", "error,sgl_router::cli::serve=info"]).await;
    let pushed = call(router.admin, put("/v1/plugins/p", guest_choosing(0))).await;
    assert!(pushed.status.is_success(), "{}", pushed.text());
    let list = call(router.admin, get("/v1/events?limit=200")).await.json();
    let events = list["events"].as_array().unwrap();
    let has = |what: &str, about: &str| {
        events.iter().any(|event| {
            let parts = event["about"].as_array().unwrap();
            event["what"] == what && parts.iter().any(|part| part.as_str().unwrap().contains(about))
        })
    };
    assert!(has("serving", "policy="), "{events:?}");
    // Which standard error was not to have.
    assert!(has("a plugin was loaded over HTTP", "plugin=p"), "{events:?}");
    let times: Vec<u64> = events.iter().filter_map(|event| event["at_unix_ms"].as_u64()).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
    let one = call(router.admin, get("/v1/events?limit=1")).await.json();
    assert_eq!(one["events"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn status_tells_by_its_exit_code_whether_somebody_is_served() {
    let worker = Upstream::saying("hello").await;
    let router = Process::serve(&["--worker-urls", &worker.url(), "--policy", "least_load"]).await;
    router.ready().await;
    let admin = format!("http://{}", router.admin);
    assert_eq!(call(router.data, chat("hi")).await.status, StatusCode::OK);
    let (code, out, error) = ran(&["status", "--admin-url", &admin]).await;
    assert_eq!(code, 0, "{error}");
    for part in ["policy least_load (built in)", "1 ready of 1 worker,", "1 answered", &worker.url(), "ready"]
    {
        assert!(out.contains(part), "{part:?} is missing in {out}");
    }
    let (code, out, _) = ran(&["status", "--admin-url", &admin, "--json"]).await;
    let both: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &both["status"]["requests"]["succeeded"]), (0, &1.into()));
    assert_eq!(both["workers"][0]["url"], worker.url());
    let empty = Process::serve(&[]).await;
    let (code, out, error) = ran(&["status", "--admin-url", &format!("http://{}", empty.admin)]).await;
    assert_eq!(code, 1, "{error}");
    assert!(
        out.contains("0 ready of 0 workers") && error.contains("the router has no workers"),
        "{out}{error}"
    );
    let (code, _, error) = ran(&["status", "--admin-url", "http://127.0.0.1:1"]).await;
    assert_eq!(code, 3, "{error}");
}

#[tokio::test]
async fn workers_that_are_merely_full_are_no_reason_to_fail_a_health_check() {
    let worker = Upstream::start(|_| async {
        let mut answer = upstream::whole(503, "{}");
        answer.headers_mut().insert("retry-after", http::HeaderValue::from_static("30"));
        answer
    })
    .await;
    let router = router::over(&[&worker]).await;
    let addresses = router.addresses();
    assert_eq!(call(addresses.data, chat("hi")).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(call(addresses.data, get("/readiness")).await.status, StatusCode::OK);
    let admin = format!("http://{}", addresses.admin);
    let (code, out, error) = ran(&["status", "--admin-url", &admin]).await;
    assert!(code == 0 && out.contains("0 ready of 1 worker, 1 full, "), "{out}{error}");
    call(addresses.data, get("/v1/nothing")).await;
    let (_, out, error) = ran(&["status", "--admin-url", &admin]).await;
    assert!(out.contains("errors of its own: 1 not_found\n"), "{out}{error}");
    // One that is drained is.
    let drain = format!("/workers/drain?url={}&force=true", worker.url());
    assert_eq!(call(addresses.admin, with_method("POST", &drain)).await.status, StatusCode::ACCEPTED);
    assert_eq!(call(addresses.data, get("/readiness")).await.status, StatusCode::SERVICE_UNAVAILABLE);
    let (code, _, error) = ran(&["status", "--admin-url", &admin]).await;
    assert!(code == 1 && error.contains("every worker that qualifies is draining"), "{error}");
}

#[tokio::test]
async fn slow_worker_is_found_by_its_latency() {
    let (slow, idle) = (Upstream::saying("{}").await, Upstream::saying("{}").await);
    let router = router::over(&[&slow, &idle]).await;
    router::target(&router, &slow.url()).unwrap().worker().observe_latency(2500.0);
    let admin = format!("http://{}", router.addresses().admin);
    for arguments in [&["status"][..], &["worker", "list"]] {
        let (_, out, error) = ran(&[arguments, &["--admin-url", &admin]].concat()).await;
        assert!(out.contains("LATENCY"), "{out}{error}");
        let line = |url: String| out.lines().find(|line| line.contains(&url)).unwrap_or_default().to_owned();
        assert!(line(slow.url()).contains("2.5 s") && !line(idle.url()).contains(" s"), "{out}");
    }
    let page = router::metrics(&router).await;
    let gauge = |url: String| format!("sgl_router_worker_latency_seconds{{worker=\"{url}\"}}");
    assert!(page.text().contains(&format!("{} 2.5", gauge(slow.url()))), "{}", page.text());
    assert!(!page.text().contains(&gauge(idle.url())), "nothing is known of it");
}

#[tokio::test]
async fn top_says_that_it_needs_a_terminal() {
    let (code, _, error) = ran(&["top"]).await;
    assert_eq!(code, 2);
    assert!(error.contains("no terminal") || error.contains("is not"), "{error}");
    assert!(error.contains("sgl-router status"), "{error}");
    let (code, _, error) = ran(&["top", "--interval", "0"]).await;
    assert_eq!(code, 2);
    assert!(error.contains("0.1 to 60"), "{error}");
}
