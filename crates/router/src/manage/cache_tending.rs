//! Keeps the cache of registries' modules within its bounds while a router runs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sgl_oci::{ModuleReference, Sha256Digest};
use tokio_util::sync::CancellationToken;

use crate::manage::manager::PluginManager;
use sglang_router_rs::policies::Origin;

/// Pause between two looks: others who share the cache take what was not marked for two days for unused.
const PAUSE: Duration = Duration::from_secs(86_400);

/// Marks what the router names in the cache as used, and removes what its bounds do not allow, at the start and
/// once a day until it is stopped.
///
/// # Cancel safety
///
/// Dropping the future stops it; what it removes at that moment, it removes to the end.
pub(crate) async fn tend_cache(manager: Arc<PluginManager>, stop: CancellationToken) {
    loop {
        manager.sources().registry.prune(named_modules(&manager)).await;
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Modules of registries that live generations or kept plugins name.
fn named_modules(manager: &PluginManager) -> BTreeSet<Sha256Digest> {
    let details = manager.factory().plugin_infos().into_iter();
    let details = details.filter_map(|info| manager.factory().plugin_detail(&info.name));
    let live = details.flat_map(|detail| detail.generations).filter_map(|one| one.provenance);
    let kept = manager.kept_plugins().into_iter().filter_map(|plugin| plugin.origin);
    live.map(|provenance| provenance.origin).chain(kept).filter_map(digest_of).collect()
}

fn digest_of(origin: Origin) -> Option<Sha256Digest> {
    match origin {
        Origin::Registry { reference } => ModuleReference::parse(&reference).ok()?.digest(),
        _ => None,
    }
}
