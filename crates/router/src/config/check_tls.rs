//! The checks of TLS: that files go together, can be read, and hold what they should.

use std::path::Path;

use rustls::RootCertStore;

use crate::config::tls_section::{
    Http2Section, Http2Settings, ListenerTlsSection, ListenerTlsSettings, WorkerTlsSection,
};
use sgl_upstream::{PemFault, WorkerTlsSettings, read_authorities, read_pair};
use sglang_router_rs::config::Fault;
use sglang_router_rs::types::shown_path;

/// Most requests of one connection that can be allowed at a time.
const MAX_STREAMS: u32 = 10_000;

/// TLS of the listener that this section sets up; `None` if it has none.
pub(crate) fn check_listener_tls(
    section: &ListenerTlsSection,
    path: &str,
    faults: &mut Vec<Fault>,
) -> Option<ListenerTlsSettings> {
    let pair = check_pair(
        section.cert_path.as_deref().map(|file| (format!("{path}.cert_path"), file)),
        section.key_path.as_deref().map(|file| (format!("{path}.key_path"), file)),
        [&format!("{path}.cert_path"), &format!("{path}.key_path")],
        faults,
    );
    if let Some(file) = &section.client_ca_path {
        let key = format!("{path}.client_ca_path");
        if section.cert_path.is_none() {
            faults.push(Fault::value(key, shown_path(file), format!("only beside {path}.cert_path")));
        } else {
            check_authorities(&key, file, faults);
        }
    }
    let (certificate, key) = pair?;
    Some(ListenerTlsSettings {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        clients: section.client_ca_path.clone().map(|file| (file, section.client_auth)),
        min_version: section.min_version,
    })
}

/// TLS to workers.
pub(crate) fn check_worker_tls(section: &WorkerTlsSection, faults: &mut Vec<Fault>) -> WorkerTlsSettings {
    for (position, file) in section.ca_cert_paths.iter().enumerate() {
        check_authorities(&format!("upstream.tls.ca_cert_paths[{position}]"), file, faults);
    }
    let [certificate, key] = ["upstream.tls.client_cert_path", "upstream.tls.client_key_path"];
    let pair = check_pair(
        section.client_cert_path.as_deref().map(|file| (certificate.to_owned(), file)),
        section.client_key_path.as_deref().map(|file| (key.to_owned(), file)),
        [certificate, key],
        faults,
    );
    WorkerTlsSettings {
        authorities: section.ca_cert_paths.clone(),
        system_authorities: section.system_authorities,
        certificate: pair.map(|(certificate, key)| (certificate.to_owned(), key.to_owned())),
    }
}

/// HTTP/2 to clients.
pub(crate) fn check_http2(section: &Http2Section, faults: &mut Vec<Fault>) -> Http2Settings {
    let max_streams = section.max_concurrent_streams;
    if !(1..=MAX_STREAMS).contains(&max_streams) {
        let allowed = format!("1 to {MAX_STREAMS}");
        faults.push(Fault::value("server.http2.max_concurrent_streams", max_streams, allowed));
    }
    Http2Settings { over_tls: section.enabled, cleartext: section.cleartext, max_streams }
}

/// The files of a certificate and its key, if both are given.
fn check_pair<'a>(
    certificate: Option<(String, &'a Path)>,
    key: Option<(String, &'a Path)>,
    [certificate_key, key_key]: [&str; 2],
    faults: &mut Vec<Fault>,
) -> Option<(&'a Path, &'a Path)> {
    match (certificate, key) {
        (None, None) => None,
        (Some((_, file)), None) => {
            let found = format!("none beside {certificate_key} = {}", shown_path(file));
            faults.push(Fault::value(key_key, found, "the file of the certificate's private key"));
            None
        }
        (None, Some((_, file))) => {
            let found = format!("none beside {key_key} = {}", shown_path(file));
            faults.push(Fault::value(certificate_key, found, "the file of the key's certificate"));
            None
        }
        (Some((certificate_path, certificate)), Some((key_path, key))) => {
            if let Err(fault) = read_pair(certificate, key) {
                let at = if fault.file == certificate { certificate_path } else { key_path };
                faults.push(unusable(at, &fault));
            }
            Some((certificate, key))
        }
    }
}

fn check_authorities(path: &str, file: &Path, faults: &mut Vec<Fault>) {
    if let Err(fault) = read_authorities(file, &mut RootCertStore::empty()) {
        faults.push(unusable(path.to_owned(), &fault));
    }
}

fn unusable(path: String, fault: &PemFault) -> Fault {
    Fault::value(
        path,
        format!("{}, which {}", shown_path(&fault.file), fault.fault),
        "a PEM file that can be used",
    )
}
