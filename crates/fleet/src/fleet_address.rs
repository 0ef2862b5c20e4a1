//! Where the servers of NATS are.

use std::fmt;

use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;

use crate::fleet_state_error::FleetStateError;

/// Where the servers are: one, or some of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetAddress(Vec<ServerAddr>);

impl FleetAddress {
    /// Reads `nats://HOST:PORT`, several with commas between them; `tls://` asks for TLS. A user and a
    /// password, or a token, may stand before the host.
    ///
    /// # Errors
    ///
    /// [`FleetStateError::Address`].
    pub fn parse(text: &str) -> Result<Self, FleetStateError> {
        let shown = || without_secrets(text);
        let one = |part: &str| {
            let (scheme, _) = part.split_once("://").unwrap_or(("", part));
            if !matches!(scheme, "nats" | "tls") {
                let reason = format!("its scheme is {scheme:?}");
                return Err(FleetStateError::Address { found: shown(), reason });
            }
            part.parse().map_err(|error: std::io::Error| FleetStateError::Address {
                found: shown(),
                reason: error.to_string(),
            })
        };
        text.split(',').map(|part| one(part.trim())).collect::<Result<_, _>>().map(Self)
    }

    /// The servers.
    pub(crate) fn servers(&self) -> &[ServerAddr] {
        &self.0
    }

    /// What stands before the host of the first server that has something there: a user and a password, or a
    /// token. It is shown to all of them, since those of a cluster are found that no address names.
    pub(crate) fn secrets(&self) -> Option<(String, Option<String>)> {
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        self.0.iter().find_map(|server| Some((plain(server.username()?), server.password().map(plain))))
    }
}

/// Passwords are not shown.
impl fmt::Display for FleetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, server) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{}://{}:{}", server.scheme(), server.host(), server.port())?;
        }
        Ok(())
    }
}

fn without_secrets(text: &str) -> String {
    let one = |part: &str| match (part.split_once("://"), part.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        (_, None) => part.to_owned(),
    };
    text.split(',').map(one).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_without_passwords() {
        let one = |text| FleetAddress::parse(text).unwrap().to_string();
        assert_eq!(one("nats://127.0.0.1:4222"), "nats://127.0.0.1:4222");
        assert_eq!(one("nats://me:secret@a, tls://b:1"), "nats://a:4222,tls://b:1");
        let secrets = |text| FleetAddress::parse(text).unwrap().secrets();
        assert_eq!(secrets("nats://a:1"), None);
        let both = Some(("me".to_owned(), Some("p@ss".to_owned())));
        assert_eq!(secrets("nats://a:1,nats://me:p%40ss@b:1"), both, "of whichever has them");
        assert_eq!(secrets("tls://t0ken@a:1"), Some(("t0ken".to_owned(), None)));
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_password() {
        for bad in ["", "a:4222", "http://me:secret@a:1", "nats://me:secret@", "nats://me:secret@a:x"] {
            let said = FleetAddress::parse(bad).unwrap_err().to_string();
            assert!(said.contains("expected: nats://HOST:PORT") && !said.contains("secret"), "{said}");
        }
    }
}
