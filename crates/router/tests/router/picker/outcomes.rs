//! What comes of picked requests feeds policies, circuits and loads.

use http::StatusCode;
use sgl_testkit::client::{TestClient, call, post};
use sgl_testkit::router::{in_flight, shown};
use sgl_testkit::upstream::{Upstream, stream};
use sgl_testkit::waits::{eventually, soon};
use sglang_router_rs::policies::PolicyFactory;

use crate::picker::rig::{Rig, asking, picking};

#[tokio::test]
async fn request_counts_where_envoy_had_it_served_if_that_is_elsewhere() {
    let (refusing, serving) = (Upstream::saying("refusing").await, Upstream::saying("serving").await);
    let entries = vec![refusing.entry(), serving.entry()];
    let all = [&refusing, &serving];
    let rig = Rig::with(picking(entries, 1), &PolicyFactory::new(), &all, str::to_owned).await;
    let Some(rig) = rig else { return };
    let (url, gone) = (serving.url(), refusing.url());
    // It takes no connections from now on; nobody checks its health.
    drop(refusing);
    for _ in 0..4 {
        let answer = call(rig.envoy.clients, post("/v1/completions", &asking("m", 200))).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "serving"));
    }
    assert_eq!(rig.metric("sgl_router_picker_moved_requests_total").await.as_deref(), Some("2"));
    let line = |url: &str| format!(r#"sgl_router_worker_requests_total{{worker="{url}",outcome="success"}}"#);
    let mut counted = (None, None);
    for _ in 0..100 {
        counted = (rig.metric(&line(&url)).await, rig.metric(&line(&gone)).await);
        if counted.0.as_deref() == Some("4") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!((counted.0.as_deref(), counted.1.as_deref()), (Some("4"), Some("0")));
    eventually("nothing is in flight", || {
        in_flight(&rig.router, &url) == 0 && in_flight(&rig.router, &gone) == 0
    })
    .await;
}

#[tokio::test]
async fn errors_open_the_circuit_of_a_worker() {
    let (ill, well) = (Upstream::failing(500).await, Upstream::saying("well").await);
    let mut config = picking(vec![ill.entry(), well.entry()], 0);
    config.proxy.circuit.failures = 3;
    let Some(rig) = Rig::with(config, &PolicyFactory::new(), &[&ill, &well], str::to_owned).await else {
        return;
    };
    for _ in 0..12 {
        call(rig.envoy.clients, post("/v1/completions", &asking("m", 200))).await;
    }
    assert_eq!(ill.seen().len(), 3, "then nobody asks it");
    let worker = shown(&rig.router, &ill.url()).await.unwrap();
    assert_eq!(worker["circuit"], "open", "{worker}");
}

#[tokio::test]
async fn client_that_leaves_ends_its_request() {
    let (response, _sender, _dropped) = stream();
    let worker = Upstream::once(response).await;
    let Some(rig) = Rig::start(&[&worker], str::to_owned).await else { return };
    let mut client = TestClient::connect(rig.envoy.clients).await;
    let answer = soon(client.send(post("/v1/completions", &asking("m", 200)))).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(in_flight(&rig.router, &worker.url()), 1);
    drop((answer, client));
    eventually("the request is over", || in_flight(&rig.router, &worker.url()) == 0).await;
}
