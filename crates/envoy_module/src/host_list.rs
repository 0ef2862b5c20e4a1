//! The hosts that may be chosen, in Envoy's order.

use std::collections::HashMap;
use std::sync::Arc;

use sglang_router_rs::core::Worker;
use sglang_router_rs::types::WorkerSet;

use crate::abi::{ClusterHosts, RequestContext};
use crate::host_worker::{HostWorker, LabelKeys};

/// The healthy hosts of the first priority that has any, as one thread of Envoy's knows them.
///
/// Envoy takes a choice as a place among these, and tells of a host by its place among all.
#[derive(Debug, Default)]
pub(crate) struct HostList {
    priority: u32,
    hosts: Vec<Arc<HostWorker>>,
    /// The same, for policies.
    workers: Vec<Arc<dyn Worker>>,
    /// Where each is among all hosts of the priority.
    places: Vec<usize>,
}

impl HostList {
    /// Reads the hosts. Those that are as before stay the same workers, so that plugins learn only what is new.
    pub(crate) fn read(&mut self, cluster: ClusterHosts<'_>, keys: &LabelKeys) {
        let healthy = |priority: &u32| cluster.healthy_count(*priority) > 0;
        self.priority = (0..cluster.priorities()).find(healthy).unwrap_or_default();
        let priority = self.priority;
        let mut known: HashMap<String, Arc<HostWorker>> =
            self.hosts.drain(..).map(|host| (host.address().to_owned(), host)).collect();
        let all =
            (0..cluster.count(priority)).filter_map(|place| Some((cluster.address(priority, place)?, place)));
        let places: HashMap<&str, usize> = all.collect();
        self.places.clear();
        for index in 0..cluster.healthy_count(priority) {
            let place =
                cluster.healthy_address(priority, index).and_then(|address| places.get(address).copied());
            let Some(place) = place else { continue };
            let Some(host) = HostWorker::read(cluster, (priority, place), keys) else { continue };
            let same = known.remove(host.address()).filter(|known| known.is_like(&host));
            self.hosts.push(same.unwrap_or_else(|| Arc::new(host)));
            self.places.push(place);
        }
        self.workers = self.hosts.iter().map(|host| Arc::clone(host) as Arc<dyn Worker>).collect();
    }

    /// True unless Envoy has other hosts than at the last [`read`](Self::read), as far as their number tells.
    pub(crate) fn fits(&self, cluster: ClusterHosts<'_>) -> bool {
        !self.hosts.is_empty() && cluster.healthy_count(self.priority) == self.hosts.len()
    }

    /// Notes what each host has in flight now.
    pub(crate) fn note_loads(&self, cluster: ClusterHosts<'_>) {
        for (host, place) in self.hosts.iter().zip(&self.places) {
            host.set_load(cluster.active_requests(self.priority, *place));
        }
    }

    /// The hosts that Envoy does not want for this request: on a retry, those that were tried.
    pub(crate) fn avoided(
        &self,
        cluster: ClusterHosts<'_>,
        request: RequestContext<'_>,
    ) -> Option<WorkerSet> {
        if request.selection_attempts() <= 1 {
            return None;
        }
        let avoids = |place: usize| request.avoids(cluster, self.priority, place);
        let places = self.places.iter().copied().enumerate();
        Some(places.filter(|(_, place)| avoids(*place)).map(|(index, _)| index).collect())
    }

    /// As workers, in Envoy's order.
    pub(crate) fn workers(&self) -> &[Arc<dyn Worker>] {
        &self.workers
    }

    /// What Envoy takes for the worker at this index: priority and place. `None` if another host is there now.
    pub(crate) fn place_of(&self, index: usize, cluster: ClusterHosts<'_>) -> Option<(u32, u32)> {
        let host = self.hosts.get(index)?;
        let is_there = cluster.healthy_address(self.priority, index) == Some(host.address());
        is_there.then_some((self.priority, u32::try_from(index).ok()?))
    }
}
