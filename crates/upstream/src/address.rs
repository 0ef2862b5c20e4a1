//! Where a worker is: its name is looked up, and a connection made.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::Instant;

use crate::descriptors::{is_own_shortage, is_want_of_descriptors};
use crate::http_version::HttpVersion;
use crate::tls_fault;
use crate::upstream_error::UpstreamError;
use crate::worker_stream::WorkerStream;
use crate::worker_tls::WorkerTls;
use crate::worker_url::WorkerUrl;

/// Pause before connecting again after a shortage of our own.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(10);

/// A URL, and the address that it led to last. A name that cannot be looked up just now, for want of
/// descriptors or of a server of names, leads there again: its worker is as well as before.
#[derive(Debug)]
pub struct Address {
    url: WorkerUrl,
    last: Mutex<Option<SocketAddr>>,
    tls: Arc<WorkerTls>,
    /// An [`HttpVersion`].
    version: AtomicU8,
    is_multiplexed: AtomicBool,
}

/// A connection that was made, and the version of HTTP that it is for.
#[derive(Debug)]
pub(crate) enum Reached {
    /// HTTP/1.1.
    Http1(WorkerStream),
    /// HTTP/2.
    Http2(WorkerStream),
}

impl Address {
    /// An address that nothing is known of yet, spoken to in HTTP/1.1. If it is one of TLS, the system's
    /// authorities are trusted.
    pub fn new(url: WorkerUrl) -> Self {
        Self::with(url, &Arc::default(), HttpVersion::Http1)
    }

    /// The same with TLS and HTTP as they are set.
    pub fn with(url: WorkerUrl, tls: &Arc<WorkerTls>, version: HttpVersion) -> Self {
        Self {
            url,
            last: Mutex::default(),
            tls: Arc::clone(tls),
            version: AtomicU8::new(version as u8),
            is_multiplexed: AtomicBool::new(false),
        }
    }

    /// The URL.
    pub fn url(&self) -> &WorkerUrl {
        &self.url
    }

    /// The version that it is spoken to in.
    pub fn version(&self) -> HttpVersion {
        // Relaxed, here and below: who sees the one before opens one more connection in it.
        HttpVersion::of_number(self.version.load(Ordering::Relaxed))
    }

    /// Has new connections speak this version.
    pub fn set_version(&self, version: HttpVersion) {
        self.version.store(version as u8, Ordering::Relaxed);
        self.is_multiplexed.store(false, Ordering::Relaxed);
    }

    /// True if the last connection was one of HTTP/2, which many requests can share.
    pub fn is_multiplexed(&self) -> bool {
        self.is_multiplexed.load(Ordering::Relaxed)
    }

    /// Connects, with TLS if the URL says so.
    pub(crate) async fn reach_out(&self, limit: Duration) -> Result<Reached, UpstreamError> {
        let version = self.version();
        let reached = if self.url.is_tls() {
            // Boxed: it is large, and most workers are reached without.
            Box::pin(self.reach_by_tls(version, limit)).await?
        } else {
            let stream = WorkerStream::plain(self.connect(limit).await?);
            match version {
                HttpVersion::Auto | HttpVersion::Http1 => Reached::Http1(stream),
                HttpVersion::Http2 => Reached::Http2(stream),
            }
        };
        self.is_multiplexed.store(matches!(reached, Reached::Http2(_)), Ordering::Relaxed);
        Ok(reached)
    }

    async fn reach_by_tls(&self, version: HttpVersion, limit: Duration) -> Result<Reached, UpstreamError> {
        let deadline = Instant::now() + limit;
        let connector = self.tls.connector(version).await?;
        let name = ServerName::try_from(self.url.bare_host().trim_end_matches('.').to_owned());
        let name = name.map_err(|_| UpstreamError::Tls {
            told: "its name is none that a certificate could hold; allowed: a DNS name or an IP address"
                .to_owned(),
        })?;
        let stream = self.connect(limit).await?;
        let shaken = tokio::time::timeout_at(deadline, connector.connect(name, stream)).await;
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(UpstreamError::Tls { told: tls_fault::of_handshake(&error) }),
            Err(_) => {
                let told = format!("no handshake within {limit:?}; is it TLS that is spoken there?");
                return Err(UpstreamError::Tls { told });
            }
        };
        let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        let stream = WorkerStream::tls(stream);
        match agreed.as_deref() {
            Some(b"h2") => Ok(Reached::Http2(stream)),
            None if version == HttpVersion::Http2 => {
                let told = "it agrees on no version of HTTP (ALPN), and `http_version` of the worker is 2";
                Err(UpstreamError::Tls { told: told.to_owned() })
            }
            _ => Ok(Reached::Http1(stream)),
        }
    }

    /// Connects, without delaying small writes. Waits where something of our own is short: requests
    /// that end give it back.
    ///
    /// # Errors
    ///
    /// [`UpstreamError`] says whether it took too long, was refused, or was no fault of the worker.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes what was opened.
    pub async fn connect(&self, limit: Duration) -> Result<TcpStream, UpstreamError> {
        let deadline = Instant::now() + limit;
        let mut shortage = None;
        loop {
            match (self.dial(limit, deadline).await, shortage.take()) {
                (Err(UpstreamError::OwnShortage(error)), _) => shortage = Some(error),
                // The worker had less than the whole time.
                (Err(UpstreamError::ConnectTimeout { .. }), Some(error)) => {
                    return Err(UpstreamError::OwnShortage(error));
                }
                (connected, _) => return connected,
            }
            match shortage {
                Some(error) if Instant::now() + SHORTAGE_PAUSE > deadline => {
                    return Err(UpstreamError::OwnShortage(error));
                }
                _ => tokio::time::sleep(SHORTAGE_PAUSE).await,
            }
        }
    }

    /// Looks the name up, and connects to what it stands for. Addresses need no looking up.
    async fn dial(&self, limit: Duration, deadline: Instant) -> Result<TcpStream, UpstreamError> {
        let looking = lookup_host((self.url.bare_host(), self.url.port()));
        self.dial_found(looking, limit, deadline).await
    }

    async fn dial_found<A: Iterator<Item = SocketAddr>>(
        &self,
        looking: impl Future<Output = io::Result<A>>,
        limit: Duration,
        deadline: Instant,
    ) -> Result<TcpStream, UpstreamError> {
        let last = *self.last.lock();
        // Time is left for the address that is known.
        let until = if last.is_some() { deadline - limit / 2 } else { deadline };
        let found = tokio::time::timeout_at(until, looking).await;
        let found = match found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(addresses) => return self.reach(addresses, limit, deadline).await,
            Err(error) => UpstreamError::of_looking_up(error),
        };
        match last.filter(|_| found.is_own()) {
            Some(last) => self.reach([last].into_iter(), limit, deadline).await,
            None => Err(found),
        }
    }

    async fn reach(
        &self,
        addresses: impl Iterator<Item = SocketAddr>,
        limit: Duration,
        deadline: Instant,
    ) -> Result<TcpStream, UpstreamError> {
        let connected = tokio::time::timeout_at(deadline, self.first_of(addresses)).await;
        connected.unwrap_or(Err(UpstreamError::ConnectTimeout { limit }))
    }

    /// Connects to the first of these that takes the connection.
    async fn first_of(
        &self,
        addresses: impl Iterator<Item = SocketAddr>,
    ) -> Result<TcpStream, UpstreamError> {
        let mut failure: Option<(Tells, io::Error)> = None;
        for address in addresses {
            let connected = TcpStream::connect(address).await;
            match connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream)) {
                Ok(stream) => {
                    *self.last.lock() = Some(address);
                    return Ok(stream);
                }
                Err(error) => {
                    let tells = Tells::of(&error);
                    if failure.as_ref().is_none_or(|(before, _)| tells > *before) {
                        failure = Some((tells, error));
                    }
                }
            }
        }
        let none = || io::Error::new(io::ErrorKind::NotFound, "the name stands for no address");
        Err(UpstreamError::of_connecting(failure.map_or_else(none, |(_, error)| error)))
    }
}

/// What the failure at one of several addresses tells of the worker, the weightiest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tells {
    /// Nothing: the address may be of a family that this machine does not have.
    Nothing,
    /// That it is not at this address.
    NotThere,
    /// That this process has no descriptor left to find it: it may be at this address.
    NotKnown,
}

impl Tells {
    fn of(error: &io::Error) -> Self {
        if is_want_of_descriptors(error) {
            Self::NotKnown
        } else if is_own_shortage(error) {
            Self::Nothing
        } else {
            Self::NotThere
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// What a server of names that says nothing does.
    fn nothing_found() -> impl Future<Output = io::Result<std::iter::Empty<SocketAddr>>> {
        std::future::pending()
    }

    #[tokio::test]
    async fn first_address_that_takes_the_connection_is_remembered() {
        let (closed, refusing) = listener().await;
        drop(closed);
        let (_open, taking) = listener().await;
        let address = Address::new(WorkerUrl::parse("http://worker").unwrap());
        address.first_of([refusing, taking].into_iter()).await.unwrap();
        assert_eq!(*address.last.lock(), Some(taking));
        let refused = address.first_of([refusing].into_iter()).await.unwrap_err();
        assert!(refused.is_absence(), "{refused}");
    }

    #[test]
    fn want_of_descriptors_outweighs_a_refusal_at_another_address() {
        use rustix::io::Errno;
        let tells = |errno: Errno| Tells::of(&errno.into());
        assert!(tells(Errno::MFILE) > tells(Errno::CONNREFUSED));
        assert!(tells(Errno::CONNREFUSED) > tells(Errno::ADDRNOTAVAIL));
    }

    #[tokio::test]
    async fn name_that_is_not_found_in_time_leads_where_it_led_last() {
        let (_open, known) = listener().await;
        let address = Address::new(WorkerUrl::parse("http://worker").unwrap());
        *address.last.lock() = Some(known);
        // No time at all for looking up, and enough for connecting.
        let dialled = address.dial_found(nothing_found(), LIMIT * 2, Instant::now() + LIMIT).await;
        assert_eq!(dialled.unwrap().peer_addr().unwrap(), known);
    }

    #[tokio::test]
    async fn name_that_is_not_found_in_time_is_no_silence_of_the_worker() {
        let address = Address::new(WorkerUrl::parse("http://worker").unwrap());
        let error = address.dial_found(nothing_found(), Duration::ZERO, Instant::now()).await.unwrap_err();
        assert!(error.is_own() && !error.is_absence(), "{error:?}");
    }
}
