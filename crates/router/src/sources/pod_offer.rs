//! What a pod says of the worker in it.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::Pod;

use crate::config::sources_section::KubernetesSettings;
use crate::config::worker_entry::WorkerEntry;
use crate::sources::offer::{Offer, OfferedState};
use sgl_upstream::WorkerUrl;
use sglang_router_rs::core::WorkerRole;

/// llm-d's label of what a pod does.
const ROLE_LABEL: &str = "llm-d.ai/role";

/// The name of a pod within the cluster.
pub(crate) fn id_of(pod: &Pod) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", part(&pod.metadata.namespace), part(&pod.metadata.name))
}

/// The worker of a pod; `None` if it is over, has no address yet, or serves no requests of its own.
pub(crate) fn offer_of(pod: &Pod, role: WorkerRole, settings: &KubernetesSettings) -> Option<Offer> {
    let status = pod.status.as_ref()?;
    if matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
        return None;
    }
    let role = role_of(pod, role)?;
    let address: IpAddr = status.pod_ip.as_deref()?.parse().ok()?;
    let url = format!("http://{}", SocketAddr::new(address, settings.port));
    let url = WorkerUrl::parse(&url).ok()?.to_string();
    let bootstrap_port = (role == WorkerRole::Prefill).then(|| bootstrap_port(pod, settings)).flatten();
    let entry = WorkerEntry { url, role, bootstrap_port, ..settings.worker.clone() };
    let incarnation = pod.metadata.uid.clone().unwrap_or_default();
    Some(Offer { entry, readiness: readiness(pod), incarnation })
}

/// What its worker does: what the selector says, and of regular ones what llm-d's label says, if the pod has it.
/// `None` for one that only encodes pictures and sounds for others.
fn role_of(pod: &Pod, selected: WorkerRole) -> Option<WorkerRole> {
    if selected != WorkerRole::Regular {
        return Some(selected);
    }
    let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get(ROLE_LABEL));
    match label.map(String::as_str) {
        Some("prefill" | "encode-prefill") => Some(WorkerRole::Prefill),
        Some("decode") => Some(WorkerRole::Decode),
        Some("encode") => None,
        // `both`, `prefill-decode`, `encode-prefill-decode`; what nobody knows says nothing.
        _ => Some(WorkerRole::Regular),
    }
}

fn readiness(pod: &Pod) -> OfferedState {
    if pod.metadata.deletion_timestamp.is_some() {
        return OfferedState::Leaving;
    }
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    if ready.any(|condition| condition.status == "True") {
        OfferedState::Ready
    } else {
        OfferedState::NotReady
    }
}

fn bootstrap_port(pod: &Pod, settings: &KubernetesSettings) -> Option<u16> {
    let annotations = pod.metadata.annotations.as_ref()?;
    let named = |name: &String| annotations.get(name)?.trim().parse().ok().filter(|port| *port != 0);
    settings.bootstrap_port_annotations.iter().find_map(named)
}
