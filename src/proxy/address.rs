//! Where a worker is: its name is looked up, and a connection made.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::net::lookup_host;

use crate::config::worker_url::WorkerUrl;
use crate::proxy::call_error::CallError;
use crate::proxy::descriptors::is_own_shortage;

/// Pause before connecting again after a shortage of our own.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(10);

/// A URL, and the address that it led to last. A name that cannot be looked up just now, for want of
/// descriptors or of a server of names, leads there again: its worker is as well as before.
#[derive(Debug)]
pub struct Address {
    url: WorkerUrl,
    last: Mutex<Option<SocketAddr>>,
}

impl Address {
    /// An address that nothing is known of yet.
    pub fn new(url: WorkerUrl) -> Self {
        Self { url, last: Mutex::default() }
    }

    /// The URL.
    pub fn url(&self) -> &WorkerUrl {
        &self.url
    }

    /// Connects, without delaying small writes. Waits where something of our own is short: requests
    /// that end give it back.
    ///
    /// # Errors
    ///
    /// [`CallError`] says whether it took too long, was refused, or was no fault of the worker.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes what was opened.
    pub async fn connect(&self, limit: Duration) -> Result<TcpStream, CallError> {
        let mut shortage = None;
        let connecting = async {
            loop {
                match self.dial(limit / 2).await {
                    Err(CallError::OwnShortage(error)) => shortage = Some(error),
                    connected => return connected,
                }
                tokio::time::sleep(SHORTAGE_PAUSE).await;
            }
        };
        let connected = tokio::time::timeout(limit, connecting).await;
        match (connected, shortage) {
            (Ok(connected), _) => connected,
            (Err(_), Some(error)) => Err(CallError::OwnShortage(error)),
            (Err(_), None) => Err(CallError::ConnectTimeout { limit }),
        }
    }

    /// Looks the name up for that long, and connects to what it stands for. Addresses need no looking up.
    async fn dial(&self, limit: Duration) -> Result<TcpStream, CallError> {
        let looking = lookup_host((self.url.bare_host(), self.url.port()));
        let found = tokio::time::timeout(limit, looking).await;
        let error = match found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(addresses) => return self.reach(addresses).await,
            Err(error) => CallError::of_looking_up(error),
        };
        let last = *self.last.lock();
        match last.filter(|_| error.is_own()) {
            Some(last) => self.reach([last].into_iter()).await,
            None => Err(error),
        }
    }

    /// Connects to the first of these that takes the connection.
    async fn reach(&self, addresses: impl Iterator<Item = SocketAddr>) -> Result<TcpStream, CallError> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name stands for no address");
        let mut is_telling = false;
        for address in addresses {
            let connected = TcpStream::connect(address).await;
            match connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream)) {
                Ok(stream) => {
                    *self.last.lock() = Some(address);
                    return Ok(stream);
                }
                // One of a family that this machine does not have looks like a shortage of ours, so
                // what another one says counts more.
                Err(error) if !is_telling => {
                    is_telling = !is_own_shortage(&error);
                    failure = error;
                }
                Err(_) => {}
            }
        }
        Err(CallError::of_connecting(failure))
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

    #[tokio::test]
    async fn first_address_that_takes_the_connection_is_remembered() {
        let (closed, refusing) = listener().await;
        drop(closed);
        let (_open, taking) = listener().await;
        let address = Address::new(WorkerUrl::parse("http://worker").unwrap());
        address.reach([refusing, taking].into_iter()).await.unwrap();
        assert_eq!(*address.last.lock(), Some(taking));
        let refused = address.reach([refusing].into_iter()).await.unwrap_err();
        assert!(refused.is_absence(), "{refused}");
    }

    #[tokio::test]
    async fn name_that_does_not_exist_is_no_shortage_of_ours_and_leads_nowhere() {
        let (_open, known) = listener().await;
        let address = Address::new(WorkerUrl::parse("http://no-such-worker.invalid").unwrap());
        *address.last.lock() = Some(known);
        // A machine without a server of names cannot tell.
        match address.connect(LIMIT).await {
            Err(CallError::Connect(_)) | Ok(_) => {}
            other => panic!("{other:?}"),
        }
    }
}
