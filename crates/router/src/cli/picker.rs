//! `sgl-router picker`: the endpoint picker for Envoy.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use clap::Args;

use crate::cli::configuration::configuration;
use crate::cli::flags::ServeArgs;
use crate::cli::serve;
use crate::cli::serve::ServeError;
use crate::config::checked::{CheckedConfig, PickerSettings};
use crate::picker::EnvoyConfig;
use sgl_upstream::WorkerUrl;
use sglang_router_rs::config::{Fault, Faults};
use sglang_router_rs::core::WorkerRole;

/// Where pickers listen, by the manifests of the Gateway API Inference Extension's users.
const DEFAULT_PORT: u16 = 9002;

/// The most workers that are named beside the picked one.
const MAX_FALLBACKS: i64 = 16;

/// Picks workers for requests that Envoy carries (ext_proc, Gateway API Inference Extension)
///
/// It has all flags of `serve`: the policy, the workers, records and operators are the same. --host and --port are
/// where Envoy connects, by gRPC [default port: 9002].
#[derive(Clone, Debug, Args)]
pub struct PickerArgs {
    /// Other workers that are named beside the picked one, for Envoy's retries; only the load-balancing policy
    /// `override_host` takes them
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=MAX_FALLBACKS), help_heading = "Envoy")]
    pub fallbacks: u16,
    /// Prints a whole configuration of Envoy for these workers and this picker, and ends
    #[arg(long, help_heading = "Envoy")]
    pub print_envoy_config: bool,
    /// Where Envoy listens for clients, in the configuration that is printed
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:10000", help_heading = "Envoy")]
    pub envoy_listen: SocketAddr,
    /// Flags of `serve`.
    #[command(flatten)]
    pub serve: ServeArgs,
}

impl PickerArgs {
    /// The flags of `serve`, with the port of pickers where none is given.
    pub fn serve_args(&self) -> ServeArgs {
        let mut args = self.serve.clone();
        if args.config.is_none() {
            args.port.get_or_insert(DEFAULT_PORT);
        }
        args
    }
}

/// Runs the picker as `serve` runs the router, or prints the configuration for Envoy.
///
/// # Errors
///
/// [`ServeError`] if it did not start, or if Envoy cannot be told of these workers.
pub fn run(args: &PickerArgs) -> Result<(), ServeError> {
    let serve_args = args.serve_args();
    let mut config = configuration(&serve_args)?;
    let workers = worker_addresses(&config)?;
    if args.print_envoy_config {
        return print(args, &config, workers);
    }
    config.picker = Some(PickerSettings { fallbacks: usize::from(args.fallbacks) });
    serve::run_with(&serve_args, config)
}

fn print(args: &PickerArgs, config: &CheckedConfig, workers: Vec<SocketAddr>) -> Result<(), ServeError> {
    if workers.is_empty() {
        let found =
            Fault::value("workers", "none", "those that Envoy is to know: --worker-urls http://IP:PORT …");
        return Err(Faults(vec![found]).into());
    }
    let mut faults = Vec::new();
    for (place, worker) in
        config.workers.iter().enumerate().filter(|(_, worker)| worker.url.starts_with("https:"))
    {
        faults.push(Fault::value(
            format!("workers[{place}].url"),
            &worker.url,
            "http://IP:PORT: the configuration that is printed speaks plain HTTP to workers; print it for those, and \
             give its cluster `workers` a transport_socket with an UpstreamTlsContext",
        ));
    }
    let mut picker = config.data_address;
    if picker.port() == 0 {
        faults.push(Fault::value("server.port", 0, "a port that Envoy can be told: --port"));
    }
    if !faults.is_empty() {
        return Err(Faults(faults).into());
    }
    if picker.ip().is_unspecified() {
        // It listens everywhere, so here too.
        picker.set_ip(if picker.is_ipv4() {
            [127, 0, 0, 1].into()
        } else {
            IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])
        });
    }
    let text = EnvoyConfig { listen: args.envoy_listen, picker, workers }.to_string();
    std::io::stdout().write_all(text.as_bytes()).map_err(ServeError::Print)
}

/// Where the workers of the configuration are, as Envoy is told: addresses, no names.
fn worker_addresses(config: &CheckedConfig) -> Result<Vec<SocketAddr>, Faults> {
    let mut faults = Vec::new();
    let mut fault = |place: usize, found: &str, allowed: &str| {
        faults.push(Fault::value(format!("workers[{place}].url"), found, allowed));
    };
    let mut addresses = Vec::new();
    for (place, worker) in config.workers.iter().enumerate() {
        // It was checked.
        let Ok(url) = WorkerUrl::parse(&worker.url) else { continue };
        match url.bare_host().parse() {
            Ok(ip) => addresses.push(SocketAddr::new(ip, url.port())),
            Err(_) => fault(
                place,
                &worker.url,
                "http://IP:PORT: Envoy is told addresses, and compares them as text",
            ),
        }
    }
    // Those of a source are not known yet.
    if !config.workers.is_empty() && config.workers.iter().all(|worker| worker.role != WorkerRole::Regular) {
        let allowed =
            "a regular worker at least (--worker-urls): pairs of prefill and decode workers are not picked";
        faults.push(Fault::value("workers", "only halves of pairs", allowed));
    }
    if config.tls.data.is_some() {
        let allowed =
            "no certificate for a picker: it speaks gRPC without TLS; keep it on loopback or in a mesh";
        faults.push(Fault::value("server.tls_cert_path", "set", allowed));
    }
    if faults.is_empty() { Ok(addresses) } else { Err(Faults(faults)) }
}
