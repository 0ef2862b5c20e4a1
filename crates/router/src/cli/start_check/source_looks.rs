//! What sources of workers say now. A router starts without them, and goes on asking.

use crate::cli::start_check::finding::{CheckFinding, CheckFindings};
use crate::config::checked::CheckedConfig;
use crate::sources::{SourceLook, look_at_all};

/// All of them; asks servers of names and the API of Kubernetes.
pub(crate) async fn look(config: &CheckedConfig, found: &mut CheckFindings) -> Vec<SourceLook> {
    if found.has_below("sources") {
        // What is at fault there was told.
        return Vec::new();
    }
    let looks = look_at_all(config.sources.clone()).await;
    for SourceLook { source, name, fault, .. } in &looks {
        if let Some(fault) = fault {
            let problem = format!("{name}: {fault}");
            found.warnings.push(CheckFinding::new(format!("sources.{source}"), problem, remedy(source)));
        }
    }
    looks
}

fn remedy(source: &str) -> &'static str {
    match source {
        "file" => {
            "a file of [[workers]] tables that the router's user can read, as docs/workers.md shows; it may come later"
        }
        "dns" => {
            "a name that has records, and servers that answer from here (dns_servers); it is asked again and again"
        }
        _ => {
            "labels that pods have, and an account that may list and watch them \
             (deploy/kubernetes/router/rights.yaml); it is asked again and again"
        }
    }
}
