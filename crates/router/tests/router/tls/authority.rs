//! An authority, and the certificates that it issues.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sgl_upstream::crypto;

/// Who issues certificates.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// Writes its certificate to a file.
    pub(crate) fn file(&self, dir: &Path) -> PathBuf {
        let file = dir.join("authority.pem");
        std::fs::write(&file, self.issuer.pem()).unwrap();
        file
    }

    /// Its own certificate, as if it were a server's.
    pub(crate) fn itself(&self) -> Issued {
        Issued { certificate: self.issuer.pem(), key: self.issuer.key().serialize_pem() }
    }

    /// A certificate for loopback.
    pub(crate) fn issue(&self) -> Issued {
        self.issue_for(&["localhost", "127.0.0.1"], 2096)
    }

    /// A certificate for these names until the end of this year.
    pub(crate) fn issue_for(&self, names: &[&str], year: i32) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2015, 1, 1);
        params.not_after = date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }

    /// What a client needs that trusts this authority, and shows this certificate.
    pub(crate) fn client(&self, shown: Option<&Issued>, alpn: &[&str]) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(crypto()).with_safe_default_protocol_versions();
        let builder = builder.unwrap().with_root_certificates(self.roots());
        let mut config = match shown {
            None => builder.with_no_client_auth(),
            Some(shown) => builder.with_client_auth_cert(vec![shown.der()], shown.key_der()).unwrap(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

impl Issued {
    /// Writes both to files of these names.
    pub(crate) fn files(&self, dir: &Path, stem: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = (dir.join(format!("{stem}.pem")), dir.join(format!("{stem}.key")));
        std::fs::write(&certificate, &self.certificate).unwrap();
        std::fs::write(&key, &self.key).unwrap();
        (certificate, key)
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }

    fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }

    /// What a server needs that shows this certificate, and demands one of `clients`.
    pub(crate) fn server(&self, clients: Option<&Authority>, alpn: &[&str]) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(crypto()).with_safe_default_protocol_versions();
        let builder = match clients {
            None => builder.unwrap().with_no_client_auth(),
            Some(clients) => {
                let roots = Arc::new(clients.roots());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, crypto()).build().unwrap();
                builder.unwrap().with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(vec![self.der()], self.key_der()).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}
