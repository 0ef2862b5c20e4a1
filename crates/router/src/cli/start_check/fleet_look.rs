//! What a router needs to join its fleet: files that it reads before it serves. NATS may be away.

use crate::cli::start_check::finding::{CheckFinding, CheckFindings};
use crate::config::checked::CheckedConfig;
use sgl_fleet::connection::FleetConnection;

/// As a start does it, which reads the files and goes on to connect in the background.
///
/// # Cancel safety
///
/// Nothing is left.
pub(crate) async fn look(config: &CheckedConfig, found: &mut CheckFindings) {
    let Some(settings) = &config.fleet else { return };
    if let Err(error) = FleetConnection::in_background(&settings.connection).await {
        let remedy = "name files that are there and that the router's user can read: credentials as NATS makes them \
                      (.creds), certificates in PEM form";
        found.fault(CheckFinding::new("fleet", error, remedy));
    }
}
