//! TLS of a simulated worker.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use rustls::sign::SingleCertAndKey;
use sgl_upstream::{PemFault, crypto, read_pair};
use tokio_rustls::TlsAcceptor;

/// What accepts with this certificate. Clients get HTTP/1.1.
///
/// # Errors
/// Which of the files cannot be used, and why.
pub(crate) fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, PemFault> {
    let pair = read_pair(certificate, key)?;
    let unusable = |error: rustls::Error| PemFault {
        file: certificate.to_owned(),
        fault: format!("cannot be used: {error}"),
    };
    let builder = ServerConfig::builder_with_provider(crypto());
    let builder = builder.with_safe_default_protocol_versions().map_err(unusable)?.with_no_client_auth();
    let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(pair.certified));
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
