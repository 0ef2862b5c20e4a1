//! Certificates and keys in PEM files.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};

use crate::certificate_validity::CertificateValidity;

/// Largest file of certificates or keys that is read, in bytes.
pub const MAX_PEM_BYTES: u64 = 4 << 20;

/// Longest chain of certificates: TLS libraries give up at about as many.
const MAX_CHAIN: usize = 10;

/// Why a file of certificates or a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {fault}", file.display())]
pub struct PemFault {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub fault: String,
}

/// A certificate with its chain, and its key.
#[derive(Clone, Debug)]
pub struct CertificatePair {
    /// As rustls uses it.
    pub certified: Arc<CertifiedKey>,
    /// When it is valid.
    pub validity: CertificateValidity,
}

/// The cryptography of all TLS here.
pub fn crypto() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificate, its own first and those of its issuers behind it, and its key.
///
/// # Errors
///
/// [`PemFault`] if a file cannot be read, holds no such thing, or the key is of another certificate.
pub fn read_pair(certificate: &Path, key: &Path) -> Result<CertificatePair, PemFault> {
    let chain = read_certificates(certificate)?;
    let fault = |file: &Path, fault: String| PemFault { file: file.to_owned(), fault };
    if chain.len() > MAX_CHAIN {
        let what = format!("holds {} certificates: clients take chains of at most {MAX_CHAIN}", chain.len());
        return Err(fault(certificate, what));
    }
    let key_text = read(key)?;
    let private = PrivateKeyDer::from_pem_slice(&key_text).map_err(|_| {
        fault(key, "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)".to_owned())
    })?;
    let first = chain.first().map(|first| CertificateValidity::of(first));
    let validity = first.flatten().ok_or_else(|| fault(certificate, "is no X.509 certificate".to_owned()))?;
    let certified = CertifiedKey::from_der(chain, private, &crypto()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            fault(key, format!("is not the key of the certificate in {}", certificate.display()))
        }
        other => fault(key, format!("cannot be used with {}: {other}", certificate.display())),
    })?;
    Ok(CertificatePair { certified: Arc::new(certified), validity })
}

/// Adds the authorities in a file.
///
/// # Errors
///
/// [`PemFault`] if it cannot be read or holds none.
pub fn read_authorities(file: &Path, roots: &mut RootCertStore) -> Result<(), PemFault> {
    for certificate in read_certificates(file)? {
        let unusable = |error| PemFault {
            file: file.to_owned(),
            fault: format!("holds a certificate that cannot be used: {error}"),
        };
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(())
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, PemFault> {
    let text = read(file)?;
    let fault = |fault: String| PemFault { file: file.to_owned(), fault };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let all = all.map_err(|error| fault(format!("is no PEM file: {error}")))?;
    if all.is_empty() {
        return Err(fault("holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)".to_owned()));
    }
    Ok(all)
}

fn read(path: &Path) -> Result<Vec<u8>, PemFault> {
    let fault = |fault: String| PemFault { file: path.to_owned(), fault };
    let unreadable = |error| fault(format!("cannot be read: {error}"));
    // A named pipe would be waited for.
    let facts = std::fs::metadata(path).map_err(unreadable)?;
    if !facts.is_file() {
        return Err(fault("cannot be read: it is no regular file".to_owned()));
    }
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_PEM_BYTES + 1).read_to_end(&mut text).map_err(unreadable)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX_PEM_BYTES) {
        return Err(fault(format!("cannot be read: it has more than {MAX_PEM_BYTES} bytes")));
    }
    Ok(text)
}
