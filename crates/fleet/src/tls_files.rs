//! Files for TLS to NATS: looked at before the connection is made, since a connection that is made in the
//! background tells nobody what is wrong with them. They are read anew for each connection.

use std::path::{Path, PathBuf};

use async_nats::ConnectOptions;
use async_nats::rustls::pki_types::pem::PemObject;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::fleet_state_error::FleetStateError;

/// Files for TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM files of the authorities whose certificates the servers may have; none: the system's.
    pub authorities: Vec<PathBuf>,
    /// The certificate, with those between it and its authority, and the key that this side shows.
    pub own: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    /// Options with them.
    ///
    /// # Errors
    ///
    /// [`FleetStateError::File`].
    pub(crate) fn laid_over(&self, mut options: ConnectOptions) -> Result<ConnectOptions, FleetStateError> {
        for file in &self.authorities {
            check_certificates(file)?;
            options = options.add_root_certificates(file.clone());
        }
        let Some((certificate, key)) = &self.own else { return Ok(options) };
        check_certificates(certificate)?;
        PrivateKeyDer::from_pem_file(key).map_err(|error| FleetStateError::file(key, error))?;
        Ok(options.add_client_certificate(certificate.clone(), key.clone()))
    }
}

fn check_certificates(file: &Path) -> Result<(), FleetStateError> {
    let bad = |error| FleetStateError::file(file, error);
    let count = CertificateDer::pem_file_iter(file)
        .map_err(bad)?
        .try_fold(0, |count, certificate| certificate.map(|_| count + 1).map_err(bad))?;
    if count == 0 { Err(FleetStateError::file(file, "there is no certificate in it (PEM)")) } else { Ok(()) }
}
