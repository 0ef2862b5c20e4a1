//! Where workers come from, beside the tables of the configuration and operators.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::worker_entry::WorkerEntry;
use sglang_router_rs::core::WorkerRole;

/// `[sources]`: where workers come from beside this file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourcesSection {
    /// File of `[[workers]]` tables, which is followed: whatever it lists is a worker. Default: none.
    pub file: Option<PathBuf>,
    /// Seconds for which workers serve on that are missing in an answer of DNS or Kubernetes together with
    /// more than half of the others: 0 to 3600. Those whose checks fail go at once. Default: 60.
    pub hold_secs: u64,
    /// Servers that are asked for names, `ADDRESS` or `ADDRESS:PORT`. Default: those of the system.
    pub dns_servers: Vec<String>,
    /// Names that are looked up again and again. Default: none.
    pub dns: Vec<DnsEntry>,
    /// Pods.
    pub kubernetes: KubernetesSection,
}

impl Default for SourcesSection {
    fn default() -> Self {
        Self {
            file: None,
            hold_secs: 60,
            dns_servers: Vec::new(),
            dns: Vec::new(),
            kubernetes: KubernetesSection::default(),
        }
    }
}

/// `[[sources.dns]]`: a name whose addresses are workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnsEntry {
    /// `http://name:port`: each address of the name (A and AAAA) is a worker at that port; or
    /// `http://_service._tcp.name`: each target (SRV) of the lowest priority is one at its own. Must be given.
    pub url: String,
    /// Seconds between two questions at most: 1 to 86,400; sooner if the answer is to be kept for less.
    /// Default: 30.
    pub interval_secs: u64,
    /// What all of these workers have in common: the keys of `[[workers]]` but `url` and `api_key`.
    pub worker: WorkerEntry,
}

impl Default for DnsEntry {
    fn default() -> Self {
        Self { url: String::new(), interval_secs: 30, worker: WorkerEntry::default() }
    }
}

/// `[sources.kubernetes]`: pods as workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesSection {
    /// Whether pods are looked for. Default: false.
    pub enabled: bool,
    /// Labels that the pods of regular workers have. Default: none, there are no such pods.
    pub selector: BTreeMap<String, String>,
    /// The same of prefill workers.
    pub prefill_selector: BTreeMap<String, String>,
    /// The same of decode workers.
    pub decode_selector: BTreeMap<String, String>,
    /// Their namespace; `*` is all. Default: none, the router's own.
    pub namespace: Option<String>,
    /// The port at which they serve: 1 to 65,535. Default: 80.
    pub port: u16,
    /// Annotations of prefill pods that hold the port of their bootstrap server; the first that there is
    /// counts. Default: `sglang.ai/bootstrap-port` and `vllm.ai/bootstrap-port`.
    pub bootstrap_port_annotations: Vec<String>,
    /// File that says where the API is and who asks. Default: none, as `kubectl` finds it: the variable
    /// `KUBECONFIG`, `~/.kube/config`, the pod's own account.
    pub kubeconfig: Option<PathBuf>,
    /// What all of these workers have in common: the keys of `[[workers]]` but `url`, `role`,
    /// `bootstrap_port` and `api_key`.
    pub worker: WorkerEntry,
}

impl Default for KubernetesSection {
    fn default() -> Self {
        Self {
            enabled: false,
            selector: BTreeMap::new(),
            prefill_selector: BTreeMap::new(),
            decode_selector: BTreeMap::new(),
            namespace: None,
            port: 80,
            bootstrap_port_annotations: ["sglang.ai/bootstrap-port", "vllm.ai/bootstrap-port"]
                .map(str::to_owned)
                .to_vec(),
            kubeconfig: None,
            worker: WorkerEntry::default(),
        }
    }
}

/// The same, checked.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SourceSettings {
    /// The file that is followed.
    pub file: Option<PathBuf>,
    /// For how long many missing workers serve on.
    pub hold: Duration,
    /// Servers that are asked for names; none = those of the system.
    pub dns_servers: Vec<SocketAddr>,
    /// Names that are looked up.
    pub dns: Vec<DnsSettings>,
    /// Pods; `None` = they are not looked for.
    pub kubernetes: Option<KubernetesSettings>,
}

impl SourceSettings {
    /// True if there is no source.
    pub(crate) fn are_none(&self) -> bool {
        self.file.is_none() && self.dns.is_empty() && self.kubernetes.is_none()
    }
}

/// A name that is looked up.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DnsSettings {
    /// As it is shown.
    pub url: String,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The name.
    pub host: String,
    /// The port of its addresses; `None` = services are asked for (SRV).
    pub port: Option<u16>,
    /// Time between two questions.
    pub interval: Duration,
    /// What its workers have in common.
    pub worker: WorkerEntry,
}

/// Pods that are workers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct KubernetesSettings {
    /// By roles: what labels they have, in the form of the API. At least one.
    pub selectors: Vec<(WorkerRole, String)>,
    /// Their namespace; `None` = the router's own.
    pub namespace: Option<String>,
    /// The port at which they serve.
    pub port: u16,
    /// Annotations that hold the ports of bootstrap servers.
    pub bootstrap_port_annotations: Vec<String>,
    /// Says where the API is.
    pub kubeconfig: Option<PathBuf>,
    /// What they have in common.
    pub worker: WorkerEntry,
}
