//! Tells the other routers of the fleet what this one has in flight, and its policies what the others have.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::proxy::Backends;
use sgl_fleet::load_exchange::LoadExchange;
use sglang_router_rs::core::Worker;

/// Says and hears loads until told to stop.
///
/// # Cancel safety
///
/// Nothing is lost.
pub(crate) async fn share(exchange: LoadExchange, backends: Arc<Backends>, stop: CancellationToken) {
    let own = || -> BTreeMap<String, u32> {
        let snapshot = backends.snapshot();
        let loads = snapshot.table().workers().iter().filter(|worker| worker.load() > 0);
        loads
            .map(|worker| (worker.url().to_owned(), u32::try_from(worker.load()).unwrap_or(u32::MAX)))
            .collect()
    };
    let told = |sums: Option<&std::collections::HashMap<&str, u32>>| {
        for worker in backends.snapshot().table().workers() {
            worker.set_load_elsewhere(sums.map(|sums| sums.get(worker.url()).copied().unwrap_or(0)));
        }
    };
    let ended = stop.run_until_cancelled(exchange.run(own, told)).await;
    if let Some(Err(error)) = ended {
        tracing::warn!(%error, "loads are not shared with the fleet any more");
    }
}
