//! Starts what asks the sources.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::sources_section::SourceSettings;
use crate::config::worker_source::WorkerSource;
use crate::metrics::Metrics;
use crate::proxy::Backends;
use crate::sources::membership::Membership;
use crate::sources::pods::PodSelector;
use crate::sources::source_board::SourceBoard;
use crate::sources::{dns_name, pods, worker_file};
use sglang_router_rs::types::shown_path;

/// How often what waits for time is looked at.
const TICK: Duration = Duration::from_secs(1);

/// Starts the sources of these settings. The tasks end when they are told to stop.
pub(crate) fn start(
    settings: SourceSettings,
    backends: &Arc<Backends>,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> (SourceBoard, Vec<JoinHandle<()>>) {
    let (mut sources, mut tasks) = (Vec::new(), Vec::new());
    let mut open = |source, hold, scopes: Vec<String>| {
        let members = Arc::new(Mutex::new(Membership::new(source, hold, Arc::clone(backends), scopes)));
        sources.push(Arc::clone(&members));
        members
    };
    if let Some(path) = settings.file {
        let name = shown_path(&path).to_string();
        // Nothing is held: it is what an operator wrote.
        let members = open(WorkerSource::File, Duration::ZERO, vec![name.clone()]);
        tasks.push(tokio::spawn(worker_file::follow(path, name, members, stop.clone())));
    }
    if !settings.dns.is_empty() {
        let names = settings.dns.iter().map(|name| name.url.clone()).collect();
        let members = open(WorkerSource::Dns, settings.hold, names);
        tasks.extend(settings.dns.into_iter().map(|name| {
            let servers = settings.dns_servers.clone();
            tokio::spawn(dns_name::follow(name, servers, Arc::clone(&members), stop.clone()))
        }));
    }
    if let Some(pods) = settings.kubernetes.map(Arc::new) {
        let selector = |(role, labels): &(_, String)| PodSelector { role: *role, labels: labels.clone() };
        let selectors: Vec<PodSelector> = pods.selectors.iter().map(selector).collect();
        let members =
            open(WorkerSource::Kubernetes, settings.hold, selectors.iter().map(PodSelector::name).collect());
        tasks.extend(selectors.into_iter().map(|selector| {
            tokio::spawn(pods::follow(Arc::clone(&pods), selector, Arc::clone(&members), stop.clone()))
        }));
    }
    tasks.extend(sources.iter().map(|members| tokio::spawn(tick(Arc::clone(members), stop.clone()))));
    (SourceBoard::new(sources, metrics), tasks)
}

async fn tick(members: Arc<Mutex<Membership>>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TICK) => members.lock().tick(),
        }
    }
}
