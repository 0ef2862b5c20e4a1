//! What a start looks at beside plugins: certificates, tokenizers, keys of rules, files that it writes.

use std::net::{SocketAddr, TcpListener};

use crate::cli::flags::ServeArgs;
use crate::cli::foreign;
use crate::cli::log;
use crate::cli::start_check::finding::{CheckFinding, CheckFindings};
use crate::cli::start_check::folders::{can_append_to, can_write_in};
use crate::cli::surroundings::{Oddity, oddities};
use crate::config::access_log_section::LogTarget;
use crate::config::checked::CheckedConfig;
use crate::config::tls_section::ListenerTlsSettings;
use crate::tls::ListenerTls;
use crate::tokens::TokenizerSet;
use sgl_upstream::WorkerTls;
use sglang_router_rs::config::Faults;
use sglang_router_rs::policies::TrustPolicy;
use sglang_router_rs::types::shown_path;

const PEM_REMEDY: &str = "name PEM files that the router's user can read, the certificate's own key beside it; `openssl x509 -text \
     -noout -in FILE` shows what a certificate is";

const WRITE_REMEDY: &str = "let the router's user write there, or name another place";

/// All of them; reads from the disk.
pub(crate) fn look(args: &ServeArgs, config: &CheckedConfig, found: &mut CheckFindings) {
    if let Err(error) = log::check(&args.log_level) {
        let text = error.to_string();
        let text = text.strip_prefix("--log-level: ").unwrap_or(&text);
        let (problem, remedy) = text.split_once("; ").unwrap_or((text, ""));
        found.fault(CheckFinding::new("--log-level", problem, remedy));
    }
    for (flag, what) in foreign::warnings(&args.foreign, &config.policy) {
        found.warnings.push(CheckFinding::new(
            flag,
            what,
            "docs/migration.md says what becomes of this flag",
        ));
    }
    for Oddity { key, file, text, remedy } in oddities(config) {
        let text = file.map(|file| format!("{file}: {text}")).unwrap_or(text);
        found.warnings.push(CheckFinding::new(key, text, remedy));
    }
    certificates(config, found);
    ports(config, found);
    addresses(config, found);
    if let Err(fault) = TrustPolicy::new(config.trust.clone()).check_keys() {
        let remedy = "a public key in PEM form, as `sgl-router plugin keygen` makes them (NAME.pub)";
        found.fault(CheckFinding::new("trust", fault, remedy));
    }
    tokenizers(config, found);
    folders(config, found);
}

fn certificates(config: &CheckedConfig, found: &mut CheckFindings) {
    let listeners = [
        ("server.tls", &config.tls.data),
        ("metrics.tls", &config.tls.metrics),
        ("admin.tls", &config.tls.admin),
    ];
    for (key, settings) in listeners {
        certificate(key, settings.clone(), found);
    }
    let workers = WorkerTls::new(config.proxy.worker_tls.clone());
    let is_read = !workers.files().is_empty() && !found.has_below("upstream.tls");
    if let (true, Err(fault)) = (is_read, workers.try_out()) {
        found.fault(CheckFinding::new("upstream.tls", fault, PEM_REMEDY));
    }
}

fn certificate(key: &str, settings: Option<ListenerTlsSettings>, found: &mut CheckFindings) {
    // The configuration's own check has read some of the files.
    match ListenerTls::of(settings.filter(|_| !found.has_below(key)), &[]) {
        Ok(None) => {}
        Ok(Some(tls)) if tls.validity().has_expired() => {
            let problem =
                format!("the certificate has expired ({})", httpdate::fmt_http_date(tls.validity().end()));
            found.warnings.push(CheckFinding::new(key, problem, "renew it: most clients refuse it"));
        }
        Ok(Some(_)) => {}
        Err(fault) => found.fault(CheckFinding::new(key, fault, PEM_REMEDY)),
    }
}

/// Nobody can listen at an address that is not this machine's. The port is any free one: a router may be
/// serving at its own while it is checked what would follow it.
fn addresses(config: &CheckedConfig, found: &mut CheckFindings) {
    for (key, address) in listeners(config, "host") {
        if let Err(error) = TcpListener::bind((address.ip(), 0)) {
            let remedy = "an address of this machine, 127.0.0.1 for itself only, or 0.0.0.0 for all of them";
            found.fault(CheckFinding::new(key, format!("{}: {error}", address.ip()), remedy));
        }
    }
}

/// Where the router listens, by this key of each listener's table.
fn listeners(config: &CheckedConfig, key: &str) -> [(String, SocketAddr); 3] {
    let all = [
        ("server", config.data_address),
        ("metrics", config.metrics_address),
        ("admin", config.admin_address),
    ];
    all.map(|(table, address)| (format!("{table}.{key}"), address))
}

/// Two listeners cannot have one port of the same addresses.
fn ports(config: &CheckedConfig, found: &mut CheckFindings) {
    let listeners = listeners(config, "port");
    for (position, (key, address)) in listeners.iter().enumerate() {
        let meets = |other: &&(String, SocketAddr)| {
            let all = other.1.ip().is_unspecified() || address.ip().is_unspecified();
            address.port() != 0 && other.1.port() == address.port() && (all || other.1.ip() == address.ip())
        };
        if let Some((other, _)) = listeners.iter().take(position).find(meets) {
            let problem = format!("found {address}, where {other} is already");
            found.fault(CheckFinding::new(
                key,
                problem,
                "a port of its own for each listener, or 0 for any free one",
            ));
        }
    }
}

fn tokenizers(config: &CheckedConfig, found: &mut CheckFindings) {
    let bytes = config.proxy.tokenizing.cache_bytes;
    if let Err(Faults(faults)) = TokenizerSet::load(&config.tokenizers, bytes, &TokenizerSet::default()) {
        for fault in &faults {
            let remedy = "the engine's own files of that model: tokenizer.json, or the folder that holds it";
            found.fault(CheckFinding { remedy: remedy.to_owned(), ..CheckFinding::of(fault) });
        }
    }
}

fn folders(config: &CheckedConfig, found: &mut CheckFindings) {
    let cannot = |place: &std::path::Path, error| format!("{}: {error}", shown_path(place));
    if let Some((dir, error)) =
        config.state_dir.as_deref().and_then(|dir| Some((dir, can_write_in(dir).err()?)))
    {
        found.fault(CheckFinding::new("state_dir", cannot(dir, error), WRITE_REMEDY));
    }
    let records = config.records.as_ref().and_then(|records| records.file.as_deref());
    let access_log = match config.access_log.as_ref().map(|log| &log.target) {
        Some(LogTarget::File(file)) => Some(file.as_path()),
        _ => None,
    };
    let audit = config.audit_file.as_deref();
    for (key, file) in
        [("records.file", records), ("access_log.file", access_log), ("admin.audit_file", audit)]
    {
        if let Some((file, error)) = file.and_then(|file| Some((file, can_append_to(file).err()?))) {
            found.fault(CheckFinding::new(key, cannot(file, error), WRITE_REMEDY));
        }
    }
    let cache = config.aot_cache.as_deref();
    if let Some((dir, error)) = cache.and_then(|dir| Some((dir, can_write_in(dir).err()?))) {
        let problem = format!("{}; no plugin would load", cannot(dir, error));
        let has_plugins = !config.plugins.is_empty() || config.embedded_policy.is_some();
        found.add(has_plugins, CheckFinding::new("aot_cache", problem, WRITE_REMEDY));
    }
}
