//! The flags of `sgl-router serve` about what clients may call.

use std::convert::Infallible;
use std::path::PathBuf;

use clap::Args;

use crate::config::router::RouterConfig;
use crate::config::secret::Secret;

/// Flags about what clients may call. They win over `[calls]` of the configuration file.
#[derive(Clone, Debug, Default, Args)]
pub struct CallFlags {
    /// A further path that is passed on to a worker of the policy's choice, or /path/* for all below it;
    /// may be given more than once
    #[arg(long = "forward-path", value_name = "PATH", num_args = 1..)]
    pub forward_paths: Vec<String>,
    /// Workers may be added, listed and removed at the clients' port too, with the operators' token
    #[arg(long)]
    pub client_worker_api: bool,
    /// Origins of web pages that may send requests, such as https://chat.example.com, or * for any
    #[arg(long, value_name = "ORIGIN", num_args = 0..)]
    pub cors_allowed_origins: Vec<String>,
    /// Each request has an id, which workers get as x-request-id, and clients too
    #[arg(long)]
    pub request_ids: bool,
    /// Headers in which clients send ids; with them each request has one [default: x-request-id]
    #[arg(long, value_name = "HEADER", num_args = 1..)]
    pub request_id_headers: Vec<String>,
    /// The only headers of clients that workers get, beside those about the body [default: all]
    #[arg(long, value_name = "HEADER", num_args = 0..)]
    pub forward_headers: Option<Vec<String>>,
    /// Key that workers ask for, and clients too, unless there is --client-keys-file; others on this machine
    /// see it here
    #[arg(long, value_name = "KEY", value_parser = |text: &str| Ok::<_, Infallible>(Secret::new(text)))]
    pub api_key: Option<Secret>,
    /// File that holds the key that workers ask for; clients are not asked for it
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// File of clients' keys (sgl-router key); requests without one of them are refused
    #[arg(long, value_name = "FILE")]
    pub client_keys_file: Option<PathBuf>,
}

impl CallFlags {
    pub(crate) fn lay_over(&self, config: &mut RouterConfig) {
        if !self.forward_paths.is_empty() {
            config.calls.forward_paths.clone_from(&self.forward_paths);
        }
        if !self.cors_allowed_origins.is_empty() {
            config.calls.cors_allowed_origins.clone_from(&self.cors_allowed_origins);
        }
        config.calls.worker_api |= self.client_worker_api;
        config.calls.request_ids |= self.request_ids || !self.request_id_headers.is_empty();
        if !self.request_id_headers.is_empty() {
            config.calls.request_id_headers.clone_from(&self.request_id_headers);
        }
        if self.api_key_file.is_some() {
            config.keys.worker_api_key_file.clone_from(&self.api_key_file);
        }
        if self.client_keys_file.is_some() {
            config.keys.clients_file.clone_from(&self.client_keys_file);
        }
        if self.api_key.is_some() {
            config.keys.worker_api_key.clone_from(&self.api_key);
            // As in sglang-router. Who means workers only has `--api-key-file`.
            config.keys.clients_show_worker_key = config.keys.clients_file.is_none();
        }
        if self.forward_headers.is_some() {
            config.calls.forward_headers.clone_from(&self.forward_headers);
        }
    }

    /// Keys, their flags, and whether these were given.
    pub(crate) fn given(&self) -> Vec<(&'static str, &'static str, bool)> {
        vec![
            ("calls.forward_paths", "--forward-path", !self.forward_paths.is_empty()),
            ("calls.worker_api", "--client-worker-api", self.client_worker_api),
            ("calls.cors_allowed_origins", "--cors-allowed-origins", !self.cors_allowed_origins.is_empty()),
            ("calls.request_id_headers", "--request-id-headers", !self.request_id_headers.is_empty()),
            ("keys.worker_api_key_file", "--api-key-file", self.api_key_file.is_some()),
            ("keys.worker_api_key", "--api-key", self.api_key.is_some()),
            ("keys.clients_file", "--client-keys-file", self.client_keys_file.is_some()),
            ("calls.forward_headers", "--forward-headers", self.forward_headers.is_some()),
        ]
    }
}
