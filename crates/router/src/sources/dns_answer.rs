//! What servers of names say, as workers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};

use crate::config::sources_section::DnsSettings;
use crate::config::worker_entry::WorkerEntry;
use crate::sources::offer::Offer;
use sgl_upstream::WorkerUrl;

/// Time for an answer of servers that are named; it is asked twice more. The system's settings have their own.
const SERVER_LIMIT: Duration = Duration::from_secs(2);

/// Records of one type, and for how long they may be kept; none where there are none of that name.
pub(crate) type Records = (Vec<RData>, Option<Duration>);

/// What is asked about names. It keeps no answers, and is made anew for each question, so that it follows the
/// system's settings.
///
/// # Errors
///
/// [`NetError`] if those cannot be read.
pub(crate) fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let server = |address: &SocketAddr| {
            let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            connections.iter_mut().for_each(|connection| connection.port = address.port());
            NameServerConfig::new(address.ip(), true, connections.to_vec())
        };
        let config = ResolverConfig::from_name_servers(servers.iter().map(server).collect());
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().timeout = SERVER_LIMIT;
        builder
    };
    builder.options_mut().cache_size = 0;
    builder.build()
}

/// Asks for records. A name without any, or that there is none of, is no error.
///
/// # Errors
///
/// [`NetError`] if nobody answers, or only that it cannot.
///
/// # Cancel safety
///
/// Dropping the future ends the question.
pub(crate) async fn ask(resolver: &TokioResolver, name: &str, kind: RecordType) -> Result<Records, NetError> {
    match resolver.lookup(name, kind).await {
        Ok(lookup) => Ok(records(&lookup, kind)),
        Err(error) if error.is_no_records_found() => Ok((Vec::new(), None)),
        Err(error) => Err(error),
    }
}

fn records(lookup: &Lookup, kind: RecordType) -> Records {
    // Aliases on the way stand among them.
    let found = || lookup.answers().iter().filter(|record| record.data.record_type() == kind);
    let ttl = lookup.answers().iter().map(|record| record.ttl).min();
    (found().map(|record| record.data.clone()).collect(), ttl.map(|secs| Duration::from_secs(secs.into())))
}

/// Workers that records tell of, and addresses of some at which nobody can be.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NamedWorkers {
    pub(crate) offers: BTreeMap<String, Offer>,
    pub(crate) left_out: BTreeSet<IpAddr>,
}

impl NamedWorkers {
    fn add(&mut self, settings: &DnsSettings, url: &str, weight: Option<f64>) {
        let Ok(url) = WorkerUrl::parse(url) else { return };
        match url.bare_host().parse::<IpAddr>() {
            Ok(address) if !is_of_a_host(address) => {
                self.left_out.insert(address);
            }
            _ => {
                let (url, weight) = (url.to_string(), weight.unwrap_or(settings.worker.weight));
                let entry = WorkerEntry { url: url.clone(), weight, ..settings.worker.clone() };
                self.offers.insert(url, Offer::ready(entry));
            }
        }
    }

    /// Those of both.
    pub(crate) fn and(mut self, others: Self) -> Self {
        self.offers.extend(others.offers);
        self.left_out.extend(others.left_out);
        self
    }
}

/// False for what means this host, all hosts or many: servers of names that block a name say 0.0.0.0.
fn is_of_a_host(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || is_broadcast)
}

/// The workers at these addresses.
pub(crate) fn at_addresses(settings: &DnsSettings, port: u16, records: &[RData]) -> NamedWorkers {
    let address = |record: &RData| match record {
        RData::A(address) => Some(IpAddr::from(address.0)),
        RData::AAAA(address) => Some(IpAddr::from(address.0)),
        _ => None,
    };
    let mut workers = NamedWorkers::default();
    for ip in records.iter().filter_map(address) {
        workers.add(settings, &format!("{}://{}", settings.scheme, SocketAddr::new(ip, port)), None);
    }
    workers
}

/// The workers behind these records of a service: those of the lowest priority, with their weights.
pub(crate) fn at_targets(settings: &DnsSettings, records: &[RData]) -> NamedWorkers {
    let targets = || {
        records.iter().filter_map(|record| match record {
            RData::SRV(target) => Some(target),
            _ => None,
        })
    };
    let first = targets().map(|target| target.priority).min();
    let mut workers = NamedWorkers::default();
    for target in targets().filter(|target| Some(target.priority) == first) {
        let name = target.target.to_utf8();
        // A dot alone says that the service is not there.
        let Some(name) = name.strip_suffix('.').filter(|name| !name.is_empty()) else { continue };
        let weight = (target.weight > 0).then(|| f64::from(target.weight));
        workers.add(settings, &format!("{}://{name}:{}", settings.scheme, target.port), weight);
    }
    workers
}
