//! The flags of `sgl-router serve` about where workers come from. Names follow `sglang-router` where it has one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;

use crate::config::router::RouterConfig;
use crate::config::sources_section::DnsEntry;
use sglang_router_rs::config::Fault;

/// Flags about where workers come from. They win over `[sources]` of the configuration file.
#[derive(Clone, Debug, Default, Args)]
pub struct SourceFlags {
    /// File of [[workers]] tables that is followed: whatever it lists is a worker
    #[arg(long, value_name = "FILE")]
    pub worker_file: Option<PathBuf>,
    /// Name whose addresses are workers, such as http://engines.example:30000, or http://_http._tcp.engines for
    /// services (SRV); it is looked up again and again; may be given more than once
    #[arg(long, value_name = "URL", num_args = 1..)]
    pub worker_dns: Vec<String>,
    /// Pods of Kubernetes are workers
    #[arg(long)]
    pub service_discovery: bool,
    /// Labels of the pods of regular workers, such as app=sglang
    #[arg(long, value_name = "KEY=VALUE", num_args = 0..)]
    pub selector: Vec<String>,
    /// Labels of the pods of prefill workers
    #[arg(long, value_name = "KEY=VALUE", num_args = 0..)]
    pub prefill_selector: Vec<String>,
    /// Labels of the pods of decode workers
    #[arg(long, value_name = "KEY=VALUE", num_args = 0..)]
    pub decode_selector: Vec<String>,
    /// Port at which the workers in pods serve [default: 80]
    #[arg(long, value_name = "PORT")]
    pub service_discovery_port: Option<u16>,
    /// Namespace of the pods, * for all [default: the router's own]
    #[arg(long, value_name = "NAMESPACE")]
    pub service_discovery_namespace: Option<String>,
}

impl SourceFlags {
    /// Lays the flags over a configuration. One with the wrong form adds to `faults`.
    pub(crate) fn lay_over(&self, config: &mut RouterConfig, faults: &mut Vec<Fault>) {
        let sources = &mut config.sources;
        if self.worker_file.is_some() {
            sources.file.clone_from(&self.worker_file);
        }
        if !self.worker_dns.is_empty() {
            let entry = |url: &String| DnsEntry { url: url.clone(), ..DnsEntry::default() };
            sources.dns = self.worker_dns.iter().map(entry).collect();
        }
        let pods = &mut sources.kubernetes;
        pods.enabled |= self.service_discovery;
        for (flag, given, labels) in [
            ("--selector", &self.selector, &mut pods.selector),
            ("--prefill-selector", &self.prefill_selector, &mut pods.prefill_selector),
            ("--decode-selector", &self.decode_selector, &mut pods.decode_selector),
        ] {
            if !given.is_empty() {
                *labels = labels_of(flag, given, faults);
            }
        }
        pods.port = self.service_discovery_port.unwrap_or(pods.port);
        if self.service_discovery_namespace.is_some() {
            pods.namespace.clone_from(&self.service_discovery_namespace);
        }
    }

    /// The key of each flag, and whether it was given.
    pub(crate) fn given(&self) -> [(&'static str, &'static str, bool); 8] {
        let namespace = self.service_discovery_namespace.is_some();
        [
            ("sources.file", "--worker-file", self.worker_file.is_some()),
            ("sources.dns", "--worker-dns", !self.worker_dns.is_empty()),
            ("sources.kubernetes.enabled", "--service-discovery", self.service_discovery),
            ("sources.kubernetes.selector", "--selector", !self.selector.is_empty()),
            ("sources.kubernetes.prefill_selector", "--prefill-selector", !self.prefill_selector.is_empty()),
            ("sources.kubernetes.decode_selector", "--decode-selector", !self.decode_selector.is_empty()),
            ("sources.kubernetes.port", "--service-discovery-port", self.service_discovery_port.is_some()),
            ("sources.kubernetes.namespace", "--service-discovery-namespace", namespace),
        ]
    }
}

fn labels_of(flag: &str, given: &[String], faults: &mut Vec<Fault>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for text in given {
        match text.split_once('=') {
            Some((key, value)) => drop(labels.insert(key.to_owned(), value.to_owned())),
            None => faults.push(Fault::value(flag, format!("{text:?}"), "KEY=VALUE, such as app=sglang")),
        }
    }
    labels
}
