//! The checks of sources of workers.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::config::check_workers::check_worker;
use crate::config::checked::DAY_SECS;
use crate::config::sources_section::{
    DnsEntry, DnsSettings, KubernetesSection, KubernetesSettings, SourceSettings, SourcesSection,
};
use crate::config::worker_entry::WorkerEntry;
use sgl_upstream::WorkerUrl;
use sglang_router_rs::config::Fault;
use sglang_router_rs::core::WorkerRole;

/// The port of servers of names.
const DNS_PORT: u16 = 53;

/// Where a template's workers are while it is checked; no answer is one.
const NOWHERE: &str = "http://worker.invalid";

/// Sources within their limits; what is beyond adds to `faults`.
pub(crate) fn check_sources(section: &SourcesSection, faults: &mut Vec<Fault>) -> SourceSettings {
    if section.hold_secs > 3600 {
        faults.push(Fault::value("sources.hold_secs", section.hold_secs, "0 to 3600"));
    }
    let mut dns: Vec<DnsSettings> = Vec::new();
    for (position, entry) in section.dns.iter().enumerate() {
        let path = format!("sources.dns[{position}]");
        let Some(settings) = check_name(entry, &path, faults) else { continue };
        if dns.iter().any(|earlier| earlier.url == settings.url) {
            let allowed = "a name that no other table has";
            faults.push(Fault::value(format!("{path}.url"), format!("{:?}", settings.url), allowed));
        }
        dns.push(settings);
    }
    SourceSettings {
        file: section.file.clone(),
        hold: Duration::from_secs(section.hold_secs),
        dns_servers: check_servers(&section.dns_servers, faults),
        dns,
        kubernetes: check_kubernetes(&section.kubernetes, faults),
    }
}

fn check_servers(servers: &[String], faults: &mut Vec<Fault>) -> Vec<SocketAddr> {
    let mut checked = Vec::new();
    for (position, text) in servers.iter().enumerate() {
        let address =
            text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT)));
        match address {
            Ok(address) => checked.push(address),
            Err(_) => {
                let allowed = "an IP address, or one with a port, such as 10.0.0.2:53";
                faults.push(Fault::value(
                    format!("sources.dns_servers[{position}]"),
                    format!("{text:?}"),
                    allowed,
                ));
            }
        }
    }
    checked
}

fn check_name(entry: &DnsEntry, path: &str, faults: &mut Vec<Fault>) -> Option<DnsSettings> {
    if !(1..=DAY_SECS).contains(&entry.interval_secs) {
        let allowed = format!("1 to {DAY_SECS}");
        faults.push(Fault::value(format!("{path}.interval_secs"), entry.interval_secs, allowed));
    }
    let worker = check_template(&entry.worker, &format!("{path}.worker"), faults);
    let found = || format!("{:?}", WorkerUrl::refused(&entry.url));
    let mut fault = |allowed: &str| faults.push(Fault::value(format!("{path}.url"), found(), allowed));
    let Ok(url) = WorkerUrl::parse(&entry.url) else {
        fault("`http://name:port`, or `http://_service._tcp.name` for services (SRV)");
        return None;
    };
    let is_service = url.host().starts_with('_');
    if url.bare_host().parse::<IpAddr>().is_ok() {
        fault("a name: an address is a worker, for `[[workers]]`");
        return None;
    }
    if is_service && url.to_string().matches(':').count() > 1 {
        fault("a service without a port: its records (SRV) tell the ports");
        return None;
    }
    if !is_service && url.is_tls() {
        fault("`https` only for services (SRV): certificates are for names, and not for their addresses");
        return None;
    }
    Some(DnsSettings {
        url: url.to_string(),
        scheme: url.scheme(),
        host: url.host().to_owned(),
        port: (!is_service).then(|| url.port()),
        interval: Duration::from_secs(entry.interval_secs),
        worker,
    })
}

fn check_kubernetes(section: &KubernetesSection, faults: &mut Vec<Fault>) -> Option<KubernetesSettings> {
    let mut fault = |key: &str, found: &str, allowed: &str| {
        faults.push(Fault::value(format!("sources.kubernetes.{key}"), found, allowed));
    };
    let roles = [
        ("selector", WorkerRole::Regular, &section.selector),
        ("prefill_selector", WorkerRole::Prefill, &section.prefill_selector),
        ("decode_selector", WorkerRole::Decode, &section.decode_selector),
    ];
    for (key, _, labels) in roles {
        if !labels.is_empty() && !section.enabled {
            fault(key, "labels", "only with enabled = true (--service-discovery)");
        }
        for (name, value) in
            labels.iter().filter(|(name, value)| !is_label(name, true) || !is_label(value, false))
        {
            fault(
                key,
                &format!("{:?}", format!("{name}={value}")),
                "a label of Kubernetes, such as app = \"sglang\"",
            );
        }
    }
    let selectors: Vec<_> = roles
        .iter()
        .filter(|(.., labels)| !labels.is_empty())
        .map(|(_, role, labels)| (*role, text_of(labels)))
        .collect();
    if section.enabled && selectors.is_empty() {
        fault("selector", "no labels", "labels of the workers' pods (--selector app=sglang)");
    }
    if section.port == 0 {
        fault("port", "0", "1 to 65535");
    }
    if section.namespace.as_deref() == Some("") {
        fault("namespace", "\"\"", "the name of a namespace, or * for all");
    }
    let worker = &section.worker;
    if worker.role != WorkerRole::Regular || worker.bootstrap_port.is_some() {
        fault("worker", "a role or a bootstrap_port", "neither: selectors and annotations tell them");
    }
    let worker = check_template(worker, "sources.kubernetes.worker", faults);
    section.enabled.then(|| KubernetesSettings {
        selectors,
        namespace: section.namespace.clone(),
        port: section.port,
        bootstrap_port_annotations: section.bootstrap_port_annotations.clone(),
        kubeconfig: section.kubeconfig.clone(),
        worker,
    })
}

/// What workers of a source have in common.
fn check_template(worker: &WorkerEntry, path: &str, faults: &mut Vec<Fault>) -> WorkerEntry {
    if !worker.url.is_empty() {
        let found = format!("{:?}", WorkerUrl::refused(&worker.url));
        faults.push(Fault::value(format!("{path}.url"), found, "nothing: the source tells it"));
    }
    if worker.api_key.is_some() {
        // It would stand in the log when it changes.
        faults.push(Fault::value(format!("{path}.api_key"), "a key", "api_key_file"));
    }
    check_worker(&WorkerEntry { url: NOWHERE.to_owned(), ..worker.clone() }, path, faults)
}

/// Whether it may be the name of a label, or its value.
fn is_label(text: &str, is_name: bool) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) || (is_name && byte == b'/');
    text.bytes().all(allowed) && text.len() <= 317 && (!is_name || !text.is_empty())
}

fn text_of(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}
