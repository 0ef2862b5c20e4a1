//! A socket that sends to all who subscribed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::connection::ZmtpConnection;
use crate::frames::{ZmtpError, ZmtpLimits};
use crate::handshake::SocketKind;

/// A subscriber has to go through its handshake in this time.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Pause after a failed accept, so that running out of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Subscriptions are short; nobody sends a publisher anything else.
const SUBSCRIPTIONS: ZmtpLimits = ZmtpLimits { message_bytes: 4096, frames: 1 };
/// Topics of one subscriber.
const MAX_TOPICS: usize = 1024;

type Published = Arc<[Bytes]>;

/// A PUB socket.
///
/// Sending never waits: a subscriber that is so many messages behind loses the oldest. Dropping it closes
/// all connections.
#[derive(Debug)]
pub struct Publisher {
    address: SocketAddr,
    messages: Sender<Published>,
    serving: JoinHandle<()>,
}

impl Publisher {
    /// Listens for subscribers, on the current runtime. Each may be `depth` messages behind, at least 1.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn bind(address: impl ToSocketAddrs, depth: usize) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let messages = Sender::new(depth.max(1));
        let serving = tokio::spawn(serve(listener, messages.clone()));
        Ok(Self { address, messages, serving })
    }

    /// Where it listens, with the port that was picked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many are connected.
    pub fn subscriber_count(&self) -> usize {
        self.messages.receiver_count()
    }

    /// Sends a message to all whose subscriptions its first frame begins with.
    pub fn send(&self, frames: impl Into<Arc<[Bytes]>>) {
        // Fails if there are no subscribers: then it is nobody's.
        let _ = self.messages.send(frames.into());
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, messages: Sender<Published>) {
    let mut subscribers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    subscribers.spawn(subscriber(stream, messages.subscribe()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a publisher could not accept a subscriber");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = subscribers.join_next() => {}
        }
    }
}

async fn subscriber(stream: TcpStream, messages: Receiver<Published>) {
    let begun = timeout(HANDSHAKE, ZmtpConnection::begin(stream, SocketKind::Pub, SUBSCRIPTIONS)).await;
    let ended = match begun {
        Ok(Ok(connection)) => pass_on(connection, messages).await,
        Ok(Err(error)) => Err(error),
        Err(_) => return,
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "a subscriber left");
    }
}

async fn pass_on(mut connection: ZmtpConnection, mut messages: Receiver<Published>) -> Result<(), ZmtpError> {
    let mut topics: Vec<Bytes> = Vec::new();
    loop {
        let message = tokio::select! {
            // What a subscriber asked for before a message holds for that message.
            biased;
            asked = connection.recv() => {
                change(&mut topics, asked?.first())?;
                continue;
            }
            message = messages.recv() => message,
        };
        match message {
            Ok(message) => {
                let first = message.first().map(Bytes::as_ref).unwrap_or_default();
                if topics.iter().any(|topic| first.starts_with(topic)) {
                    connection.send(&message).await?;
                }
            }
            // As with ZeroMQ's high-water mark: the sequence numbers of what follows tell of the gap.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

fn change(topics: &mut Vec<Bytes>, asked: Option<&Bytes>) -> Result<(), ZmtpError> {
    match asked.map(|frame| frame.split_first()) {
        Some(Some((1, topic))) if topics.len() < MAX_TOPICS => topics.push(Bytes::copy_from_slice(topic)),
        Some(Some((0, topic))) => {
            // One subscription less, should there be several to the same topic.
            if let Some(at) = topics.iter().position(|known| known == topic) {
                topics.swap_remove(at);
            }
        }
        _ => return Err(ZmtpError::Protocol { what: "a subscriber sent what is no subscription" }),
    }
    Ok(())
}
