//! What the others have in flight is a column of every router's policies.

use serde_json::Value;
use sgl_testkit::client::{TestClient, call, get};
use sgl_testkit::nats_server::NatsServer;
use sgl_testkit::upstream::Upstream;

use crate::member::{Member, within};

/// What a router knows of the load elsewhere.
async fn elsewhere(router: &Member) -> Value {
    let workers = call(router.process.admin, get("/workers")).await.json();
    workers["workers"][0]["report"]["load_elsewhere"].clone()
}

#[tokio::test]
async fn requests_of_one_router_are_load_elsewhere_for_the_other_until_it_is_silent() {
    let Some(server) = NatsServer::start() else { return };
    let (url, dir) = (server.url(), tempfile::tempdir().unwrap());
    let (worker, gate) = Upstream::behind_a_gate().await;
    let urls = ["--worker-urls", &worker.url()];
    let a = Member::start_with(&url, "a", dir.path(), &urls).await;
    let b = Member::start_with(&url, "b", dir.path(), &urls).await;
    a.process.ready().await;
    within("each hears the other", async || elsewhere(&a).await == 0 && elsewhere(&b).await == 0).await;
    let mut asked = Vec::new();
    for _ in 0..2 {
        let data = a.process.data;
        asked.push(tokio::spawn(async move {
            let mut client = TestClient::connect(data).await;
            client.call(sgl_testkit::client::post("/v1/completions", r#"{"prompt":"x"}"#)).await.status
        }));
    }
    within("b knows of both", async || elsewhere(&b).await == 2).await;
    assert_eq!(elsewhere(&a).await, 0, "its own are none elsewhere");
    gate.add_permits(2);
    for request in asked {
        assert_eq!(request.await.unwrap(), 200);
    }
    within("they are over", async || elsewhere(&b).await == 0).await;
    a.process.kill();
    within("nobody says anything any more", async || elsewhere(&b).await.is_null()).await;
}
