//! A host of Envoy's as policies see it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use sglang_router_rs::core::Worker;

use crate::abi::ClusterHosts;

/// What of hosts becomes labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct LabelKeys {
    /// The namespace of the metadata.
    pub namespace: String,
    /// The keys in it.
    pub keys: Vec<String>,
}

/// A healthy host. It belongs to one thread of Envoy's, which notes its load before each decision.
#[derive(Debug)]
pub(crate) struct HostWorker {
    url: String,
    weight: f64,
    labels: BTreeMap<String, String>,
    load: AtomicUsize,
}

/// What stands before a host's address in its URL.
const SCHEME: &str = "http://";

impl HostWorker {
    /// The host at this place among all of the priority, if there is one.
    pub(crate) fn read(hosts: ClusterHosts<'_>, at: (u32, usize), keys: &LabelKeys) -> Option<Self> {
        let (priority, index) = at;
        let url = format!("{SCHEME}{}", hosts.address(priority, index)?);
        let places = ["region", "zone", "sub_zone"].into_iter().zip(hosts.locality(priority, index));
        let place = |key: &str| places.clone().find(|(known, _)| *known == key).and_then(|(_, place)| place);
        let label = |key: &String| {
            let value = hosts.metadata(priority, index, &keys.namespace, key);
            Some((key.clone(), value.or_else(|| place(key).map(str::to_owned))?))
        };
        let labels = keys.keys.iter().filter_map(label).collect();
        // Envoy's weights are 1 or more.
        let weight = f64::from(hosts.weight(priority, index).max(1));
        Some(Self { url, weight, labels, load: AtomicUsize::new(0) })
    }

    /// Its address.
    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix(SCHEME).unwrap_or(&self.url)
    }

    /// True if policies could not tell it from the other one.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.url == other.url && self.weight.total_cmp(&other.weight).is_eq() && self.labels == other.labels
    }

    /// Notes the requests that it has in flight.
    pub(crate) fn set_load(&self, load: usize) {
        // Relaxed: a gauge, of one thread.
        self.load.store(load, Ordering::Relaxed);
    }
}

impl Worker for HostWorker {
    fn url(&self) -> &str {
        &self.url
    }

    fn is_healthy(&self) -> bool {
        true // Others are not in the list.
    }

    fn load(&self) -> usize {
        // Relaxed: see `set_load`.
        self.load.load(Ordering::Relaxed)
    }

    fn increment_load(&self) {} // Envoy counts.

    fn decrement_load(&self) {}

    fn weight(&self) -> f64 {
        self.weight
    }

    fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }
}
