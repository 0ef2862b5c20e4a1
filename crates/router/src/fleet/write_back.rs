//! Gives a server that lost its data what this router served last.

use sgl_fleet::desired_set::{DesiredSet, Epoch};
use sgl_fleet::store::FleetStore;
use sgl_fleet::{FleetStateError, KeyPart};

/// Writes the last good state of this router for all, then has them follow it.
///
/// # Errors
///
/// [`FleetStateError`]; it is safe to begin again.
///
/// # Cancel safety
///
/// Some of it may have been written; nobody follows it before all is.
pub(crate) async fn write_back(store: &FleetStore, last: DesiredSet) -> Result<(), FleetStateError> {
    for (name, revised) in last.plugins {
        match KeyPart::parse("plugin", &name) {
            // Also in the place of what cannot be understood.
            Ok(key) => drop(store.change_or_mend(&key, |_| Ok(Some(revised.plugin.clone()))).await?),
            Err(error) => tracing::warn!(%error, "what no command could name is not written down"),
        }
    }
    store
        .replace_epoch(|epoch| Epoch { from: None, ..epoch.unwrap_or_else(|| Epoch::new(Vec::new(), None)) })
        .await?;
    Ok(())
}
