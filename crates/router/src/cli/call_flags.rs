//! The flags of `sgl-router serve` about what clients may call.

use clap::Args;

use crate::config::router::RouterConfig;

/// Flags about what clients may call. They win over `[calls]` of the configuration file.
#[derive(Clone, Debug, Default, Args)]
pub struct CallFlags {
    /// A further path that is passed on to a worker of the policy's choice, or /path/* for all below it;
    /// may be given more than once
    #[arg(long = "forward-path", value_name = "PATH", num_args = 1..)]
    pub forward_paths: Vec<String>,
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
}

impl CallFlags {
    pub(crate) fn lay_over(&self, config: &mut RouterConfig) {
        if !self.forward_paths.is_empty() {
            config.calls.forward_paths.clone_from(&self.forward_paths);
        }
        if !self.cors_allowed_origins.is_empty() {
            config.calls.cors_allowed_origins.clone_from(&self.cors_allowed_origins);
        }
        config.calls.request_ids |= self.request_ids || !self.request_id_headers.is_empty();
        if !self.request_id_headers.is_empty() {
            config.calls.request_id_headers.clone_from(&self.request_id_headers);
        }
        if self.forward_headers.is_some() {
            config.calls.forward_headers.clone_from(&self.forward_headers);
        }
    }

    /// Keys, their flags, and whether these were given.
    pub(crate) fn given(&self) -> Vec<(&'static str, &'static str, bool)> {
        vec![
            ("calls.forward_paths", "--forward-path", !self.forward_paths.is_empty()),
            ("calls.cors_allowed_origins", "--cors-allowed-origins", !self.cors_allowed_origins.is_empty()),
            ("calls.request_id_headers", "--request-id-headers", !self.request_id_headers.is_empty()),
            ("calls.forward_headers", "--forward-headers", self.forward_headers.is_some()),
        ]
    }
}
