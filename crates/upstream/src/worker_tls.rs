//! TLS to workers: whom the router trusts, and what it shows of itself.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::ClientConfig;
use rustls::{RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use crate::certificate_validity::CertificateValidity;
use crate::http_version::HttpVersion;
use crate::pem_files::{PemFault, crypto, read_authorities, read_pair};
use crate::upstream_error::UpstreamError;

/// Whom to trust, and what to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerTlsSettings {
    /// Files with authorities of our own.
    pub authorities: Vec<PathBuf>,
    /// Whether the system's authorities are trusted too.
    pub system_authorities: bool,
    /// Files of the certificate that is shown to workers that ask for one, and of its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl Default for WorkerTlsSettings {
    fn default() -> Self {
        Self { authorities: Vec::new(), system_authorities: true, certificate: None }
    }
}

/// TLS to workers. What the files say is read when it is needed first, and again by
/// [`reload`](Self::reload).
///
/// # Concurrency
///
/// The lock is held to copy a pointer, once for each connection.
#[derive(Debug, Default)]
pub struct WorkerTls {
    settings: WorkerTlsSettings,
    loaded: Mutex<Option<LoadedTls>>,
}

/// What was read from the files: one for each [`HttpVersion`].
#[derive(Clone, Debug)]
struct LoadedTls {
    any: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    validity: Option<CertificateValidity>,
    /// Whether anybody is trusted.
    has_authority: bool,
}

impl WorkerTls {
    /// With these settings.
    pub fn new(settings: WorkerTlsSettings) -> Arc<Self> {
        Arc::new(Self { settings, loaded: Mutex::default() })
    }

    /// The files that a change of is to be noticed of.
    pub fn files(&self) -> Vec<PathBuf> {
        let pair = self.settings.certificate.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.settings.authorities.iter().chain(pair).cloned().collect()
    }

    /// Reads the files. New connections follow them; those that are open stay. Reads from the disk.
    ///
    /// # Errors
    ///
    /// [`PemFault`]; what was read before goes on.
    pub fn reload(&self) -> Result<Option<CertificateValidity>, PemFault> {
        let loaded = LoadedTls::read(&self.settings)?;
        let validity = loaded.validity;
        *self.loaded.lock() = Some(loaded);
        Ok(validity)
    }

    /// Reads the files and changes nothing. Reads from the disk.
    ///
    /// # Errors
    ///
    /// [`PemFault`].
    pub fn try_out(&self) -> Result<(), PemFault> {
        LoadedTls::read(&self.settings).map(drop)
    }

    /// What connects with this version.
    pub(crate) async fn connector(
        self: &Arc<Self>,
        version: HttpVersion,
    ) -> Result<TlsConnector, UpstreamError> {
        let known = self.loaded.lock().as_ref().map(|loaded| loaded.connector(version));
        if let Some(known) = known {
            return known;
        }
        let this = Arc::clone(self);
        // It reads the system's authorities, a hundred and more.
        let read = tokio::task::spawn_blocking(move || this.reload()).await;
        let read = read.map_err(|error| UpstreamError::Tls { told: error.to_string() })?;
        read.map_err(|fault| UpstreamError::Tls { told: fault.to_string() })?;
        let loaded = self.loaded.lock();
        loaded.as_ref().map_or_else(|| Err(no_authority()), |loaded| loaded.connector(version))
    }
}

impl LoadedTls {
    fn read(settings: &WorkerTlsSettings) -> Result<Self, PemFault> {
        let mut roots = RootCertStore::empty();
        for file in &settings.authorities {
            read_authorities(file, &mut roots)?;
        }
        if settings.system_authorities {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::debug!(%error, "some of the system's authorities cannot be read");
            }
            // Old ones that no verifier takes are among them on most systems.
            roots.add_parsable_certificates(found.certs);
        }
        let has_authority = !roots.is_empty();
        let pair = settings.certificate.as_ref();
        let pair = pair.map(|(certificate, key)| read_pair(certificate, key)).transpose()?;
        let builder = ClientConfig::builder_with_provider(crypto());
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(|error| PemFault { file: PathBuf::new(), fault: error.to_string() })?;
        let builder = builder.with_root_certificates(roots);
        let config = match &pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let shown = ShownCertificate(Arc::clone(&pair.certified));
                builder.with_client_cert_resolver(Arc::new(shown))
            }
        };
        let of = |version: HttpVersion| {
            let mut config = config.clone();
            config.alpn_protocols = version.alpn();
            Arc::new(config)
        };
        Ok(Self {
            any: of(HttpVersion::Auto),
            http1: of(HttpVersion::Http1),
            http2: of(HttpVersion::Http2),
            validity: pair.map(|pair| pair.validity),
            has_authority,
        })
    }

    fn connector(&self, version: HttpVersion) -> Result<TlsConnector, UpstreamError> {
        if !self.has_authority {
            return Err(no_authority());
        }
        let config = match version {
            HttpVersion::Auto => &self.any,
            HttpVersion::Http1 => &self.http1,
            HttpVersion::Http2 => &self.http2,
        };
        Ok(TlsConnector::from(Arc::clone(config)))
    }
}

fn no_authority() -> UpstreamError {
    let told = "nobody is trusted: this system has no authorities (Debian: apt-get install ca-certificates), and \
                --ca-cert-paths (upstream.tls.ca_cert_paths) names none";
    UpstreamError::Tls { told: told.to_owned() }
}

/// The same certificate for every worker that asks for one.
#[derive(Debug)]
struct ShownCertificate(Arc<rustls::sign::CertifiedKey>);

impl rustls::client::ResolvesClientCert for ShownCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
