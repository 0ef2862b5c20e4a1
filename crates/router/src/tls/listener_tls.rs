//! TLS of one listener.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, SupportedProtocolVersion};
use tokio_rustls::TlsAcceptor;

use crate::config::tls_section::{ClientAuth, ListenerTlsSettings, TlsVersion};
use sgl_upstream::{CertificateValidity, PemFault, crypto, read_authorities, read_pair};

/// TLS of a listener. Its certificate can be replaced while connections are open: those go on as they are.
#[derive(Debug)]
pub(crate) struct ListenerTls {
    settings: ListenerTlsSettings,
    /// Versions of HTTP to pick from, the best first.
    versions: Vec<Vec<u8>>,
    current: ArcSwap<LoadedCertificate>,
    failed_handshakes: AtomicU64,
}

/// What was read from the files.
#[derive(Debug)]
struct LoadedCertificate {
    config: Arc<ServerConfig>,
    validity: CertificateValidity,
}

impl ListenerTls {
    /// Reads the files. Clients may pick from these versions of HTTP.
    ///
    /// # Errors
    ///
    /// [`PemFault`] if one of them cannot be used.
    pub(crate) fn load(settings: ListenerTlsSettings, versions: &[&[u8]]) -> Result<Arc<Self>, PemFault> {
        let versions: Vec<Vec<u8>> = versions.iter().map(|version| version.to_vec()).collect();
        let current = ArcSwap::from_pointee(LoadedCertificate::read(&settings, &versions)?);
        Ok(Arc::new(Self { settings, versions, current, failed_handshakes: AtomicU64::new(0) }))
    }

    /// The same, if a listener has any.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub(crate) fn of(
        settings: Option<ListenerTlsSettings>,
        versions: &[&[u8]],
    ) -> Result<Option<Arc<Self>>, PemFault> {
        settings.map(|settings| Self::load(settings, versions)).transpose()
    }

    /// Reads the files again, for connections that come from now on.
    ///
    /// # Errors
    ///
    /// [`PemFault`] if one of them cannot be used, or the certificate has expired and the one that serves has
    /// not; that goes on then.
    pub(crate) fn reload(&self) -> Result<CertificateValidity, PemFault> {
        let read = self.read()?;
        let validity = read.validity;
        self.current.store(Arc::new(read));
        Ok(validity)
    }

    /// Reads the files and changes nothing.
    ///
    /// # Errors
    ///
    /// As [`reload`](Self::reload).
    pub(crate) fn try_out(&self) -> Result<(), PemFault> {
        self.read().map(drop)
    }

    fn read(&self) -> Result<LoadedCertificate, PemFault> {
        let read = LoadedCertificate::read(&self.settings, &self.versions)?;
        let validity = read.validity;
        if validity.has_expired() && !self.validity().has_expired() {
            let file = self.settings.certificate.clone();
            let fault = format!("has expired ({})", httpdate::fmt_http_date(validity.end()));
            return Err(PemFault { file, fault });
        }
        Ok(read)
    }

    /// When the certificate that serves is valid.
    pub(crate) fn validity(&self) -> CertificateValidity {
        self.current.load().validity
    }

    /// The files that it comes from.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let clients = self.settings.clients.iter().map(|(file, _)| file);
        [&self.settings.certificate, &self.settings.key].into_iter().chain(clients).cloned().collect()
    }

    /// What accepts with the certificate of this moment.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.load().config))
    }

    /// A client did not come to speak TLS.
    pub(crate) fn failed(&self) {
        // Relaxed: a counter.
        self.failed_handshakes.fetch_add(1, Ordering::Relaxed);
    }

    /// How many did not.
    pub(crate) fn failed_handshakes(&self) -> u64 {
        self.failed_handshakes.load(Ordering::Relaxed)
    }
}

impl LoadedCertificate {
    fn read(settings: &ListenerTlsSettings, versions: &[Vec<u8>]) -> Result<Self, PemFault> {
        let pair = read_pair(&settings.certificate, &settings.key)?;
        let fault = |file: &PathBuf, error: &dyn std::fmt::Display| PemFault {
            file: file.clone(),
            fault: format!("cannot be used: {error}"),
        };
        let builder = ServerConfig::builder_with_provider(crypto())
            .with_protocol_versions(protocols(settings.min_version))
            .map_err(|error| fault(&settings.certificate, &error))?;
        let builder = match &settings.clients {
            None => builder.with_no_client_auth(),
            Some((file, auth)) => {
                let mut roots = RootCertStore::empty();
                read_authorities(file, &mut roots)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto());
                let verifier = match auth {
                    ClientAuth::Required => verifier,
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                };
                builder.with_client_cert_verifier(verifier.build().map_err(|error| fault(file, &error))?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(ServedCertificate(pair.certified)));
        config.alpn_protocols = versions.to_vec();
        Ok(Self { config: Arc::new(config), validity: pair.validity })
    }
}

fn protocols(oldest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static SINCE_12: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    static SINCE_13: [&SupportedProtocolVersion; 1] = [&TLS13];
    match oldest {
        TlsVersion::Tls12 => &SINCE_12,
        TlsVersion::Tls13 => &SINCE_13,
    }
}

/// The same certificate for whatever name a client asks.
#[derive(Debug)]
struct ServedCertificate(Arc<rustls::sign::CertifiedKey>);

impl rustls::server::ResolvesServerCert for ServedCertificate {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
