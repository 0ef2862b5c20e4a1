//! Joins the fleet.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::fleet_section::FleetSettings;
use crate::fleet::fleet_board::FleetBoard;
use crate::fleet::fleet_member::{FleetMember, RETRY};
use crate::fleet::held_plugin::HeldPlugin;
use crate::fleet::kept_fleet::{FollowedState, KeptFleet};
use crate::fleet::retry_pause::RetryPause;
use crate::fleet::rollout_steps::RolloutSteps;
use crate::fleet::sharing::Sharing;
use crate::fleet::version_loader::VersionLoader;
use crate::manage::{PluginManager, PolicySwitch};
use crate::metrics::Metrics;
use crate::proxy::DataPlane;
use sgl_fleet::connection::{ConnectionSettings, FleetConnection};
use sgl_fleet::follow::follow;
use sgl_fleet::sight::FleetSight;
use sgl_fleet::store::FleetStore;
use sgl_fleet::{FleetStateError, KeyPart};

/// What a member of a fleet is made of.
#[derive(Debug)]
pub(crate) struct FleetParts {
    /// Which fleet.
    pub(crate) settings: FleetSettings,
    /// What changes plugins.
    pub(crate) manager: Arc<PluginManager>,
    /// What changes the policy.
    pub(crate) switch: Arc<PolicySwitch>,
    /// The workers, and what is sent to them.
    pub(crate) proxy: Arc<DataPlane>,
    /// Where it is kept how far the fleet was followed.
    pub(crate) state_dir: Option<PathBuf>,
    /// Where clients connect: names the router, if nobody else does.
    pub(crate) data: SocketAddr,
    /// Where operators connect.
    pub(crate) admin: SocketAddr,
}

/// Joins the fleet, in the background: NATS may be away.
///
/// # Errors
///
/// [`FleetStateError`] if the files of the settings cannot be used.
///
/// # Cancel safety
///
/// Dropping the future joins nothing.
pub(crate) async fn start(
    parts: FleetParts,
    board: &FleetBoard,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<Vec<JoinHandle<()>>, FleetStateError> {
    let FleetParts { settings, manager, switch, proxy, state_dir, data, admin } = parts;
    let router = match settings.router {
        Some(router) => router,
        None => own_name(data)?,
    };
    let connecting = ConnectionSettings { name: format!("sgl-router {router}"), ..settings.connection };
    let connection = FleetConnection::in_background(&connecting).await?;
    let store = FleetStore::new(connection.clone(), settings.fleet);
    let kept = state_dir.as_deref().map(KeptFleet::new);
    let followed = read(kept.as_ref(), store.fleet().as_str());
    let held = held_again(&followed, &manager);
    let (address, fleet) = (connecting.address.to_string(), store.fleet().as_str());
    tracing::info!(address, fleet, router = router.as_str(), "a router of a fleet");
    if kept.is_none() {
        tracing::warn!(fleet, "without --state-dir a restart does not know how far the fleet was followed");
    }
    let life = fastrand::u64(..);
    let sharing = Sharing {
        connection: connection.clone(),
        fleet: store.fleet().clone(),
        router: router.clone(),
        life,
        prefix_bytes_per_sec: settings.prefix_bytes_per_sec,
    };
    let mut tasks = sharing.start(&proxy, board, metrics, stop);
    let member = FleetMember {
        store: store.clone(),
        router,
        admin: admin.to_string(),
        loader: VersionLoader { manager, switch, connection },
        kept,
        followed,
        board: board.clone(),
        held,
        steps: RolloutSteps::new(),
        life,
        holding: None,
        epoch_pause: RetryPause::new(RETRY),
        is_up: None,
        link_since: Instant::now(),
        is_doubled: false,
    };
    member.show_first();
    let (told, sight) = watch::channel(FleetSight::default());
    let stopped = stop.clone();
    let following = tokio::spawn(async move {
        tokio::select! {
            () = stopped.cancelled() => {}
            () = follow(&store, &told) => {}
        }
    });
    tasks.extend([following, tokio::spawn(member.run(sight, stop.clone()))]);
    Ok(tasks)
}

fn read(kept: Option<&KeptFleet>, fleet: &str) -> FollowedState {
    let fresh = || FollowedState { fleet: fleet.to_owned(), ..FollowedState::default() };
    match kept.map(|kept| kept.read(fleet)) {
        None => fresh(),
        Some(Ok(state)) => state,
        Some(Err(error)) => {
            tracing::error!(%error, "how far the fleet was followed is not known any more; what it says now is followed");
            fresh()
        }
    }
}

/// What the state directory brought back of the fleet's.
fn held_again(followed: &FollowedState, manager: &PluginManager) -> BTreeMap<String, HeldPlugin> {
    let again = followed.serving.iter().filter_map(|(name, kept)| {
        let serving = kept.again(&manager.serving(name)?)?;
        let wanted = serving.target.generation;
        let own = followed.own.get(name).cloned();
        Some((name.clone(), HeldPlugin { wanted, serving: Some(serving), own, ..HeldPlugin::default() }))
    });
    again.collect()
}

/// The machine and the port: no two routers have both.
fn own_name(data: SocketAddr) -> Result<KeyPart, FleetStateError> {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain = machine.trim().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
    let machine: String = plain.take(48).collect();
    let machine = if machine.is_empty() { "router" } else { &machine };
    KeyPart::parse("router", &format!("{machine}-{}", data.port()))
}
