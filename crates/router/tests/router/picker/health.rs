//! Health of the picker, as gRPC asks for it.

use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::until;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::picker::rig::picking;

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

#[tokio::test]
async fn picker_is_ready_while_it_has_workers_and_there_until_it_stops() {
    let worker = Upstream::saying("fine").await;
    let router = router::start(picking(vec![worker.entry()], 0)).await;
    let address = format!("http://{}", router.addresses().data);
    let channel = Endpoint::from_shared(address).expect("a URL").connect().await.expect("a listener");
    let client = HealthClient::new(channel);
    let told = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        client.clone().check(request).await.map_or(0, |answer| answer.into_inner().status)
    };
    let external = "envoy.service.ext_proc.v3.ExternalProcessor";
    for service in ["", "liveness", "readiness", "inference-extension", external] {
        until(async || told(service).await == SERVING).await;
    }
    assert_eq!(told("else").await, 0, "not found");
    router.proxy().backends().remove(&worker.url());
    until(async || told("readiness").await == NOT_SERVING).await;
    assert_eq!(told(external).await, SERVING, "it has an answer: nobody");
    router.proxy().stop();
    until(async || told(external).await == NOT_SERVING).await;
    assert_eq!(told("liveness").await, SERVING);
}
