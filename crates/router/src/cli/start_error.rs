//! Why a router did not start.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use crate::manage::kept_plugin::BadFile;
use crate::proxy::AddError;
use sgl_fleet::FleetStateError;
use sgl_upstream::PemFault;
use sglang_router_rs::config::Faults;
use sglang_router_rs::policies::PluginError;
use sglang_router_rs::types::shown_path;

/// An address where the router listens, and who connects there.
pub(crate) type ListenAddress = (SocketAddr, &'static str);

/// The flag that gives a listener another port.
fn flag_of(purpose: &str) -> &'static str {
    match purpose {
        "metrics" => "--prometheus-port",
        "operators" => "--admin-port",
        _ => "--port",
    }
}

impl StartError {
    /// An address that cannot be bound, with those of the addresses behind it that cannot be bound either.
    /// Those before it are bound by now.
    pub(crate) fn listening(failed: ListenAddress, all: &[ListenAddress], source: io::Error) -> Self {
        let behind = all.iter().skip_while(|one| **one != failed).skip(1);
        let taken = behind.filter(|(address, _)| TcpListener::bind(address).is_err());
        let others = taken
            .map(|(address, purpose)| format!(", nor on {address} for {purpose} ({})", flag_of(purpose)));
        let (address, purpose) = failed;
        Self::Listen { address, purpose, others: others.collect(), source }
    }
}

/// Why a router did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address could not be bound.
    #[error("cannot listen on {address} for {purpose} ({}){others}", flag_of(purpose))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Who would connect there.
        purpose: &'static str,
        /// The other addresses of the router that cannot be bound either, as the rest of the sentence.
        others: String,
        /// What the system said.
        source: io::Error,
    },
    /// There is no such policy.
    #[error("there is no policy {name}")]
    Policy {
        /// Its name.
        name: String,
    },
    /// The embedded module of the policy could not be loaded.
    #[error("cannot load the embedded policy {name}{page}")]
    Embedded {
        /// Its name.
        name: String,
        /// Where its settings are told, as the rest of the sentence.
        page: String,
        /// What is wrong.
        source: Box<PluginError>,
    },
    /// The state directory cannot be used, or holds a bad file of the policy.
    #[error("the state directory cannot be used")]
    State(#[from] BadFile),
    /// Tokenizers cannot be used.
    #[error(transparent)]
    Tokenizers(#[from] Faults),
    /// The fleet cannot be joined.
    #[error("the fleet cannot be joined")]
    Fleet(#[from] FleetStateError),
    /// The plugin directory cannot be watched.
    #[error("the plugin directory {} cannot be watched", shown_path(dir))]
    Watch {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: notify::Error,
    },
    /// The file of decision records cannot be opened.
    #[error("records.file: {} cannot be opened for appending", shown_path(file))]
    Records {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file of the access log cannot be opened.
    #[error("access_log.file: {} cannot be opened for appending", shown_path(file))]
    AccessLog {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Traces cannot be sent.
    #[error("traces.endpoint: traces cannot be sent to {endpoint}")]
    Traces {
        /// Where they would go.
        endpoint: String,
        /// What is wrong with it, or with the variables of the environment about it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file of the audit log cannot be opened.
    #[error("admin.audit_file: {} cannot be opened for appending", shown_path(file))]
    Audit {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of a certificate cannot be used.
    #[error("TLS: {0}")]
    Certificate(#[from] PemFault),
    /// A worker could not be added.
    #[error(transparent)]
    Worker(#[from] AddError),
}
