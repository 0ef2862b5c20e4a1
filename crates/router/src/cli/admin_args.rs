//! Which running router a command speaks to.

use std::path::PathBuf;

use clap::Args;

/// Where a router's operators' listener is, and what it asks for.
#[derive(Clone, Debug, Args)]
pub struct AdminArgs {
    /// Where the router's operators' listener is
    #[arg(
        long,
        global = true,
        env = "SGL_ROUTER_ADMIN_URL",
        default_value = "http://127.0.0.1:29001",
        value_name = "URL"
    )]
    pub admin_url: String,
    /// File that holds the bearer token
    #[arg(long, global = true, env = "SGL_ROUTER_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// PEM file of an authority that is trusted for https://, besides the system's; may be given more than once
    #[arg(long, global = true, env = "SGL_ROUTER_CA_CERT_PATHS", value_delimiter = ',', value_name = "FILE")]
    pub ca_cert_paths: Vec<PathBuf>,
}
