//! Health of the picker, as gRPC asks for it.

use std::sync::Arc;
use std::time::Duration;

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::picker::names::EXTERNAL_PROCESSOR;
use crate::proxy::DataPlane;

/// How often it is looked whether there are workers.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The services that are there until the picker stops: Envoy's, that of the Inference Extension's manifests,
/// and the whole.
const UNTIL_STOPPED: [&str; 3] = ["", EXTERNAL_PROCESSOR, "inference-extension"];

/// There while the process is.
const LIVENESS: &str = "liveness";

/// There while a worker could be picked.
const READINESS: &str = "readiness";

/// Tells of the picker's health, for ever: of its readiness as workers come and go, and of the rest until it
/// stops.
pub(crate) async fn tell(reporter: HealthReporter, proxy: Arc<DataPlane>) {
    reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
    let mut known = None;
    loop {
        let is_open = !proxy.is_stopping();
        let now = (is_open, is_open && proxy.backends().snapshot().is_ready());
        if known.replace(now) != Some(now) {
            let (is_open, is_ready) = now;
            reporter.set_service_status(READINESS, status(is_ready)).await;
            for service in UNTIL_STOPPED {
                reporter.set_service_status(service, status(is_open)).await;
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

fn status(is_well: bool) -> ServingStatus {
    if is_well { ServingStatus::Serving } else { ServingStatus::NotServing }
}
