//! Which ports a worker publishes at, and what they are called in its engine's answers.

use std::io;
use std::sync::Arc;

use sgl_zmtp::Publisher;
use tokio::net::TcpListener;

use crate::sim::config::{SimConfig, SimError, kv_address};
use crate::sim::dialect::Dialect;
use crate::sim::kv_feed::{DEPTH, KvFeed};

/// Rows of free ports that are tried before none is thought to be found.
const TRIES: usize = 1000;

/// The sockets of all ranks. Their ports follow one another: those that publish events, those that missed
/// batches are asked for at, those that push loads.
#[derive(Debug)]
pub(crate) struct KvSockets {
    /// As it is advertised: engines say `*` for all addresses.
    pub(crate) host: String,
    pub(crate) feeds: Vec<Arc<KvFeed>>,
    pub(crate) loads: Vec<Publisher>,
}

impl KvSockets {
    /// Listens as configured; none if nothing is to be published.
    pub(crate) async fn bind(config: &SimConfig) -> Result<Option<Self>, SimError> {
        let address = config.kv_events.as_deref().and_then(|endpoint| kv_address(endpoint, &config.host));
        let (Some((host, base)), Some(dialect)) = (address, config.engine) else { return Ok(None) };
        let mut left = if base == 0 { TRIES } else { 1 };
        loop {
            left -= 1;
            match Self::bind_row(config, dialect, host, base).await {
                Ok(sockets) => return Ok(Some(sockets)),
                // Any row will do, and this one was not free.
                Err(error) if left > 0 && error.kind() == io::ErrorKind::AddrInUse => {}
                Err(source) => return Err(SimError::Bind { host: host.to_owned(), port: base, source }),
            }
        }
    }

    async fn bind_row(config: &SimConfig, dialect: Dialect, host: &str, base: u16) -> io::Result<Self> {
        let ranks = u16::try_from(config.dp_size).unwrap_or(u16::MAX);
        let shown = if host == "0.0.0.0" { "*" } else { host };
        let mut sockets = Self { host: shown.to_owned(), feeds: Vec::new(), loads: Vec::new() };
        let first = match base {
            // Free a moment ago; the others follow it.
            0 => TcpListener::bind((host, 0)).await?.local_addr()?.port(),
            base => base,
        };
        let port = |offset: u16| first.checked_add(offset).ok_or(io::ErrorKind::AddrInUse);
        for rank in 0..ranks {
            let ports = (port(rank)?, port(ranks + rank)?);
            let feed = KvFeed::bind(dialect, config.block_tokens, rank.into(), host, ports).await?;
            sockets.feeds.push(Arc::new(feed));
        }
        for rank in 0..if config.push_load { ranks } else { 0 } {
            sockets.loads.push(Publisher::bind((host, port(2 * ranks + rank)?), DEPTH).await?);
        }
        Ok(sockets)
    }
}
