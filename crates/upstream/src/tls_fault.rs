//! Why there is no TLS, in words for operators.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage};

/// The fault of TLS that an error comes from, if it does.
pub(crate) fn within(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && let Some(fault) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            return Some(words(fault));
        }
        next = error.source();
    }
    None
}

/// Of a handshake that failed.
pub(crate) fn of_handshake(error: &io::Error) -> String {
    within(error).unwrap_or_else(|| match error.kind() {
        io::ErrorKind::UnexpectedEof => "the connection was closed in the middle of the handshake".to_owned(),
        _ => format!("the connection broke in the handshake: {error}"),
    })
}

fn words(fault: &rustls::Error) -> String {
    match fault {
        rustls::Error::InvalidCertificate(fault) => of_certificate(fault),
        rustls::Error::AlertReceived(alert) => of_alert(*alert),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "what answers there speaks no TLS; is its URL `http://`?".to_owned()
        }
        rustls::Error::PeerIncompatible(fault) => format!("no version or cipher in common: {fault:?}"),
        other => other.to_string(),
    }
}

fn of_certificate(fault: &CertificateError) -> String {
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; is a clock wrong?".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "its certificate is of an unknown issuer; --ca-cert-paths (upstream.tls.ca_cert_paths) names those \
             to trust"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "its certificate is for another name: found {}, expected {}",
            if presented.is_empty() { "none".to_owned() } else { bare_names(presented).join(", ") },
            expected.to_str()
        ),
        CertificateError::NotValidForName => "its certificate is for another name".to_owned(),
        CertificateError::Other(other) if is_authority(other) => {
            "its certificate is an authority itself (CA:TRUE), as `openssl req -x509` makes them, and cannot be a \
             server's; make one with CA:FALSE (docs/tls.md shows how)"
                .to_owned()
        }
        CertificateError::Revoked => "its certificate was revoked".to_owned(),
        other => format!("its certificate cannot be used: {other}"),
    }
}

/// rustls hands this fault through without a name of its own.
fn is_authority(fault: &rustls::OtherError) -> bool {
    fault.0.to_string() == "CaUsedAsEndEntity"
}

/// The names alone: they come as `DnsName("worker.example")` and `IpAddress(127.0.0.1)`.
fn bare_names(presented: &[String]) -> Vec<&str> {
    presented.iter().map(|name| bare_name(name)).collect()
}

fn bare_name(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.map_or(name, |inner| inner.trim_matches('"'))
}

fn of_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => "it demands a client certificate; --client-cert-path and \
             --client-key-path (upstream.tls.client_cert_path, client_key_path) name one"
            .to_owned(),
        AlertDescription::NoApplicationProtocol => {
            "it speaks no version of HTTP that the router offers; see `http_version` of the worker".to_owned()
        }
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => {
            format!("no version or cipher in common, or it demands a client certificate: it said {alert:?}")
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied => format!("it refuses the client certificate: it said {alert:?}"),
        other => format!("it ended TLS: it said {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_is_found_where_it_is_wrapped_and_nowhere_else() {
        let expired = rustls::Error::InvalidCertificate(CertificateError::Expired);
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, expired);
        assert_eq!(within(&wrapped).as_deref(), Some("its certificate has expired"));
        assert_eq!(within(&io::Error::other("no")), None);
    }

    #[test]
    fn names_are_shown_as_people_write_them() {
        for (told, bare) in [
            ("DnsName(\"worker.example\")", "worker.example"),
            ("IpAddress(127.0.0.1)", "127.0.0.1"),
            ("Unsupported", "Unsupported"),
        ] {
            assert_eq!(bare_name(told), bare);
        }
    }
}
