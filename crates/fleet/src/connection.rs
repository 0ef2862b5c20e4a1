//! The connection to NATS: comes back by itself, and tells when it does.

use std::fmt;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{Client, ClientError, ConnectOptions, Event, jetstream};
use tokio::sync::watch;

use crate::access::FleetAccess;
use crate::fleet_address::FleetAddress;
use crate::fleet_state_error::FleetStateError;
use crate::tls_files::TlsFiles;

/// A server that is silent for two of these is gone: with NATS' own minute a frozen one was not noticed.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// Longest pause between two tries to connect.
const MAX_PAUSE_MS: u64 = 500;

/// For an answer.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// How the servers are spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// Where they are.
    pub address: FleetAddress,
    /// Who asks.
    pub access: FleetAccess,
    /// Files for TLS.
    pub tls: TlsFiles,
    /// Servers that keep each bucket that is made: an odd number of those of a cluster.
    pub replicas: usize,
    /// What the connection is called in the servers' lists.
    pub name: String,
}

impl ConnectionSettings {
    /// As the address says, with one replica.
    pub fn new(address: FleetAddress, name: &str) -> Self {
        let (access, tls) = (FleetAccess::default(), TlsFiles::default());
        Self { address, access, tls, replicas: 1, name: name.to_owned() }
    }
}

/// Whether there is a connection now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Whether it is there.
    pub is_up: bool,
    /// How often it came about.
    pub times: u64,
    /// Why the last try to connect failed, if it did.
    pub fault: Option<String>,
}

/// The connection to NATS.
#[derive(Clone)]
pub struct FleetConnection {
    client: Client,
    context: jetstream::Context,
    link: watch::Receiver<LinkState>,
    replicas: usize,
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
        let options = ConnectOptions::new()
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
                        told.send_modify(|link| {
                            *link = LinkState { is_up: true, times: link.times + 1, fault: None };
                        });
                    }
                    Event::ClientError(ClientError::Other(fault)) => {
                        told.send_if_modified(|link| {
                            let is_new = !link.is_up && link.fault.as_ref() != Some(&fault);
                            if is_new {
                                link.fault = Some(fault);
                            }
                            is_new
                        });
                    }
                    Event::Disconnected | Event::Closed => told.send_modify(|link| link.is_up = false),
                    _ => {}
                }
                async {}
            });
        let address = settings.address.to_string();
        let options = settings.access.shown_by(options, &settings.address).await?;
        let options = settings.tls.laid_over(options)?;
        let unreachable = |error| FleetStateError::Unreachable { address, source: Box::new(error) };
        let client = retry(options).connect(settings.address.servers()).await.map_err(unreachable)?;
        let context =
            ContextBuilder::new().timeout(ANSWER_LIMIT).ack_timeout(ANSWER_LIMIT).build(client.clone());
        Ok(Self { client, context, link, replicas: settings.replicas })
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

    /// Servers that keep each bucket that is made.
    pub(crate) fn replicas(&self) -> usize {
        self.replicas
    }

    /// Buckets and objects.
    pub(crate) fn context(&self) -> &jetstream::Context {
        &self.context
    }
}
