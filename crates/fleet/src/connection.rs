//! The connection to NATS: comes back by itself, and tells when it does.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{Client, ConnectOptions, Event, ServerAddr, jetstream};
use tokio::sync::watch;

use crate::fleet_state_error::FleetStateError;

/// A server that is silent for two of these is gone: with NATS' own minute a frozen one was not noticed.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// Longest pause between two tries to connect.
const MAX_PAUSE_MS: u64 = 500;

/// For an answer.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Where the servers are: one, or some of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetAddress(Vec<ServerAddr>);

impl FleetAddress {
    /// Reads `nats://HOST:PORT`, several with commas between them; `tls://` asks for TLS. A user and a
    /// password may stand before the host.
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

/// How the servers are spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// Where they are.
    pub address: FleetAddress,
    /// File of credentials (`.creds`).
    pub credentials: Option<PathBuf>,
    /// PEM files of authorities besides the system's.
    pub authorities: Vec<PathBuf>,
    /// What the connection is called in the servers' lists.
    pub name: String,
}

/// Whether there is a connection now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Whether it is there.
    pub is_up: bool,
    /// How often it came about.
    pub times: u64,
}

/// The connection to NATS.
#[derive(Clone)]
pub struct FleetConnection {
    client: Client,
    context: jetstream::Context,
    link: watch::Receiver<LinkState>,
}

impl fmt::Debug for FleetConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetConnection").field("link", &*self.link.borrow()).finish_non_exhaustive()
    }
}

impl FleetConnection {
    /// Connects now, or fails.
    ///
    /// # Errors
    ///
    /// [`FleetStateError::Unreachable`], or what is wrong with the files of the settings.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future connects nothing.
    pub async fn now(settings: &ConnectionSettings) -> Result<Self, FleetStateError> {
        Self::connect(settings, |options| options).await
    }

    /// Goes on trying in the background if nobody is there.
    ///
    /// # Errors
    ///
    /// As [`now`](Self::now), but for a server that is away.
    ///
    /// # Cancel safety
    ///
    /// As there.
    pub async fn in_background(settings: &ConnectionSettings) -> Result<Self, FleetStateError> {
        Self::connect(settings, ConnectOptions::retry_on_initial_connect).await
    }

    async fn connect(
        settings: &ConnectionSettings,
        retry: impl FnOnce(ConnectOptions) -> ConnectOptions,
    ) -> Result<Self, FleetStateError> {
        let (told, link) = watch::channel(LinkState::default());
        let mut options = ConnectOptions::new()
            .name(&settings.name)
            .ping_interval(PING_INTERVAL)
            .connection_timeout(ANSWER_LIMIT)
            .request_timeout(Some(ANSWER_LIMIT))
            // With jitter: all routers of a fleet lose a server at once.
            .reconnect_delay_callback(|tries| match tries {
                0 => Duration::ZERO,
                _ => Duration::from_millis(fastrand::u64(50..=MAX_PAUSE_MS)),
            })
            .event_callback(move |event| {
                match event {
                    Event::Connected => {
                        told.send_modify(|link| *link = LinkState { is_up: true, times: link.times + 1 });
                    }
                    Event::Disconnected | Event::Closed => told.send_modify(|link| link.is_up = false),
                    _ => {}
                }
                async {}
            });
        let address = settings.address.to_string();
        if let Some(file) = &settings.credentials {
            let bad = |error: std::io::Error| FleetStateError::Address {
                found: file.display().to_string(),
                reason: error.to_string(),
            };
            options = options.credentials_file(file).await.map_err(bad)?;
        }
        for file in &settings.authorities {
            options = options.add_root_certificates(file.clone());
        }
        let unreachable = |error| FleetStateError::Unreachable { address, source: Box::new(error) };
        let client = retry(options).connect(&settings.address.0).await.map_err(unreachable)?;
        let context =
            ContextBuilder::new().timeout(ANSWER_LIMIT).ack_timeout(ANSWER_LIMIT).build(client.clone());
        Ok(Self { client, context, link })
    }

    /// Whether it is there, and when that changes.
    pub fn link(&self) -> watch::Receiver<LinkState> {
        self.link.clone()
    }

    /// Fails at once while it is away: what is sent then would be kept and sent much later.
    pub(crate) fn check(&self) -> Result<(), FleetStateError> {
        if self.client.connection_state() == State::Connected { Ok(()) } else { Err(FleetStateError::Away) }
    }

    /// Plain subjects.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Buckets and objects.
    pub(crate) fn context(&self) -> &jetstream::Context {
        &self.context
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_without_passwords() {
        let one = |text| FleetAddress::parse(text).unwrap().to_string();
        assert_eq!(one("nats://127.0.0.1:4222"), "nats://127.0.0.1:4222");
        assert_eq!(one("nats://me:secret@a, tls://b:1"), "nats://a:4222,tls://b:1");
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_password() {
        for bad in ["", "a:4222", "http://me:secret@a:1", "nats://me:secret@", "nats://me:secret@a:x"] {
            let said = FleetAddress::parse(bad).unwrap_err().to_string();
            assert!(said.contains("expected: nats://HOST:PORT") && !said.contains("secret"), "{said}");
        }
    }
}
