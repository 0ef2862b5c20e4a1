//! Chooses hosts for the requests of one of Envoy's threads.

use crate::abi::{ClusterHosts, RequestContext};
use crate::cluster_policy::SharedPolicy;
use crate::host_list::HostList;
use crate::request_facts::RequestFacts;
use sglang_router_rs::policies::LoadBalancingPolicy;

/// The load balancer of a cluster on one thread.
#[derive(Debug)]
pub(crate) struct Balancer {
    cluster: SharedPolicy,
    hosts: HostList,
    is_stale: bool,
    /// Takes turns where the plugin cannot be asked.
    turn: usize,
}

impl Balancer {
    pub(crate) fn new(cluster: SharedPolicy) -> Self {
        Self { cluster, hosts: HostList::default(), is_stale: true, turn: 0 }
    }

    /// The hosts are read again before the next decision.
    pub(crate) fn hosts_changed(&mut self) {
        self.is_stale = true;
    }

    /// Priority and place of the chosen host among the healthy ones; `None` if there is none to choose, or the
    /// plugin refuses the request.
    pub(crate) fn choose(
        &mut self,
        hosts: ClusterHosts<'_>,
        request: RequestContext<'_>,
    ) -> Option<(u32, u32)> {
        if self.is_stale || !self.hosts.fits(hosts) {
            self.read(hosts);
        }
        let index = self.decide(hosts, request)?;
        if let Some(place) = self.hosts.place_of(index, hosts) {
            return Some(place);
        }
        // As many hosts as before, but not the same, without a word of Envoy's.
        self.read(hosts);
        let index = self.decide(hosts, request)?;
        self.hosts.place_of(index, hosts)
    }

    /// The same where the plugin cannot be asked: hosts take turns.
    pub(crate) fn take_turns(&mut self, hosts: ClusterHosts<'_>) -> Option<(u32, u32)> {
        let priority = (0..hosts.priorities()).find(|priority| hosts.healthy_count(*priority) > 0)?;
        self.turn = self.turn.wrapping_add(1);
        let index = self.turn.checked_rem(hosts.healthy_count(priority))?;
        Some((priority, u32::try_from(index).ok()?))
    }

    fn read(&mut self, hosts: ClusterHosts<'_>) {
        self.hosts.read(hosts, self.cluster.label_keys());
        self.is_stale = false;
    }

    fn decide(&self, hosts: ClusterHosts<'_>, request: RequestContext<'_>) -> Option<usize> {
        let policy = self.cluster.policy();
        self.hosts.note_loads(hosts);
        let needs = policy.needs();
        let arrival_rate = if needs.arrival_rate { self.cluster.count_arrival() } else { None };
        let facts =
            RequestFacts::new(request, needs, self.hosts.avoided(hosts, request)).arriving_at(arrival_rate);
        policy.select_worker(self.hosts.workers(), &facts.info())
    }
}
