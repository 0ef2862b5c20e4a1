//! Why a worker gave no answer.

use std::io;
use std::time::Duration;

use crate::descriptors::{is_own_shortage, is_short_of_descriptors};
use crate::tls_fault;

/// Why a worker gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection within the limit.
    #[error("no connection within {limit:?}")]
    ConnectTimeout {
        /// The limit.
        limit: Duration,
    },
    /// No connection.
    #[error("no connection")]
    Connect(#[source] io::Error),
    /// No TLS with it: its certificate is not trusted, it refuses ours, or it speaks something else.
    #[error("TLS: {told}")]
    Tls {
        /// What is wrong, for people.
        told: String,
    },
    /// The worker's name could not be looked up just now, and no address of it is known.
    #[error("its name cannot be looked up now")]
    Unresolved(#[source] io::Error),
    /// The connection was closed before anything of the request was sent over it.
    #[error("the connection was closed before the request was sent")]
    Unsent(#[source] hyper::Error),
    /// No connection, for want of something of our own: descriptors, ports, memory.
    #[error("no connection, for want of something of our own")]
    OwnShortage(#[source] io::Error),
    /// The connection broke before the head of the answer was complete.
    #[error("the connection broke before an answer")]
    Broken(#[source] hyper::Error),
    /// What came back is no HTTP: as a rule, TLS is spoken there.
    #[error("what answers there speaks no HTTP/1.1; if it speaks TLS, its URL begins with `https://`")]
    NotHttp,
    /// A connection that had been idle broke under the request: the worker closed it at the same moment,
    /// or it crashed.
    #[error("an idle connection broke under the request")]
    Stale,
    /// The connection ended in order, but without an answer.
    #[error("the connection ended without an answer")]
    Ended,
    /// An answer ended in order, but without what it promised: a stream of events without one (comments
    /// at most), JSON up to the end of the connection without anything.
    #[error("the answer ended without the events or the JSON that it promised")]
    Empty,
    /// The body of the answer is coded for this connection in a way that no request offers.
    #[error("the worker answered with a transfer coding other than chunked, which the request did not offer")]
    Coded,
    /// The worker wants to speak another protocol, which no request asks for.
    #[error("the worker answered 101 (switching protocols), which the request did not ask for")]
    Switched,
}

impl UpstreamError {
    /// Of an attempt to connect.
    pub(crate) fn of_connecting(error: io::Error) -> Self {
        if is_own_shortage(&error) { Self::OwnShortage(error) } else { Self::Connect(error) }
    }

    /// Of a request on a connection. What a worker says against our certificate comes only then.
    pub(crate) fn of_sending(error: hyper::Error) -> Self {
        match tls_fault::within(&error) {
            Some(told) => Self::Tls { told },
            // hyper has no other way to tell it from other faults of an answer.
            None if error.is_parse() && error.to_string().contains("HTTP version") => Self::NotHttp,
            None => Self::Broken(error),
        }
    }

    /// The error of a look-up of a name. If it has a code of the system, no server of names was asked;
    /// without a free descriptor, the C library reports whatever it likes.
    pub(crate) fn of_looking_up(error: io::Error) -> Self {
        if error.raw_os_error().is_some() || is_short_of_descriptors() {
            Self::OwnShortage(error)
        } else if is_for_now(&error) {
            Self::Unresolved(error)
        } else {
            Self::Connect(error)
        }
    }

    /// True if the worker cannot help it.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::OwnShortage(_) | Self::Unresolved(_))
    }

    /// True if nobody is there: a refusal, or no answer at all. Shortages of our own are not that.
    pub fn is_absence(&self) -> bool {
        match self {
            Self::ConnectTimeout { .. } => true,
            Self::Connect(error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::TimedOut
            ),
            _ => false,
        }
    }
}

/// True if another attempt may find the name: no server of names answered. The standard library
/// passes on the words of the C library (glibc's, musl's) and no code.
fn is_for_now(error: &io::Error) -> bool {
    let text = error.to_string();
    error.kind() == io::ErrorKind::TimedOut
        || ["Temporary failure in name resolution", "Try again"].iter().any(|words| text.ends_with(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_does_not_exist_is_the_workers_fault_and_one_that_nobody_can_look_up_is_not() {
        let of = |text: &str| {
            let text = format!("failed to lookup address information: {text}");
            UpstreamError::of_looking_up(io::Error::other(text))
        };
        assert!(matches!(of("Name or service not known"), UpstreamError::Connect(_)));
        assert!(matches!(of("Temporary failure in name resolution"), UpstreamError::Unresolved(_)));
        assert!(of("Try again").is_own() && !of("Try again").is_absence());
        let slow = UpstreamError::of_looking_up(io::ErrorKind::TimedOut.into());
        assert!(slow.is_own() && !slow.is_absence(), "{slow}");
    }
}
