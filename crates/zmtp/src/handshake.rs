//! How a connection begins: a greeting of 64 bytes and a READY command from either side.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::frames::{ZmtpError, put_command};

/// Bytes of a greeting.
pub(crate) const GREETING_BYTES: usize = 64;

/// What a socket does. A peer of another kind than the one that goes with it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// Sends to all who subscribed.
    Pub,
    /// Subscribes.
    Sub,
    /// Answers several askers.
    Router,
    /// Asks.
    Dealer,
}

impl SocketKind {
    fn name(self) -> &'static str {
        match self {
            Self::Pub => "PUB",
            Self::Sub => "SUB",
            Self::Router => "ROUTER",
            Self::Dealer => "DEALER",
        }
    }

    fn goes_with(self, peer: &[u8]) -> bool {
        let peers: &[&str] = match self {
            Self::Pub => &["SUB", "XSUB"],
            Self::Sub => &["PUB", "XPUB"],
            Self::Router => &["DEALER", "REQ", "ROUTER"],
            Self::Dealer => &["ROUTER", "REP", "DEALER"],
        };
        peers.iter().any(|name| name.as_bytes() == peer)
    }
}

/// Greeting and READY of a socket of this kind. They need not wait for the peer's: with NULL nothing
/// depends on it.
pub(crate) fn opening(kind: SocketKind) -> BytesMut {
    let mut out = BytesMut::with_capacity(128);
    out.put_u8(0xFF);
    out.put_bytes(0, 8);
    // Version 3.0: with 3.1, subscriptions would have another form.
    out.put_slice(&[0x7F, 3, 0]);
    out.put_slice(b"NULL");
    out.put_bytes(0, GREETING_BYTES - out.len());
    let mut ready = BytesMut::from(&b"\x05READY\x0bSocket-Type"[..]);
    ready.put_u32(u32::try_from(kind.name().len()).unwrap_or(0));
    ready.put_slice(kind.name().as_bytes());
    if kind == SocketKind::Dealer {
        // An identity of no bytes: the peer picks one.
        ready.put_slice(b"\x08Identity\0\0\0\0");
    }
    put_command(&mut out, &ready);
    out
}

/// Checks a peer's greeting.
pub(crate) fn check_greeting(greeting: &[u8]) -> Result<(), ZmtpError> {
    let fault = |what| Err(ZmtpError::Protocol { what });
    let [0xFF, _, _, _, _, _, _, _, _, 0x7F, major, _, rest @ ..] = greeting else {
        return fault("the greeting has another signature");
    };
    if *major < 3 {
        return fault("the peer's version is older than 3");
    }
    let mechanism = rest.get(..20).unwrap_or_default();
    if mechanism.strip_prefix(b"NULL").is_none_or(|rest| rest.iter().any(|byte| *byte != 0)) {
        return fault("the peer's mechanism is not NULL");
    }
    Ok(())
}

/// Checks a peer's first command.
pub(crate) fn check_ready(kind: SocketKind, command: &Bytes) -> Result<(), ZmtpError> {
    let fault = |what| Err(ZmtpError::Protocol { what });
    let Some(mut properties) = command.strip_prefix(b"\x05READY") else {
        return fault("the first command is not READY");
    };
    while let Some((name, value)) = property(&mut properties) {
        if name.eq_ignore_ascii_case(b"Socket-Type") {
            return if kind.goes_with(value) {
                Ok(())
            } else {
                fault("the peer's kind does not go with ours")
            };
        }
    }
    fault("READY names no kind")
}

/// Takes a property off the front.
fn property<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (length, tail) = rest.split_first()?;
    let (name, mut tail) = tail.split_at_checked(usize::from(*length))?;
    let length = usize::try_from(tail.try_get_u32().ok()?).ok()?;
    let (value, tail) = tail.split_at_checked(length)?;
    *rest = tail;
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_passes_the_peers_checks() {
        let opening = opening(SocketKind::Sub).freeze();
        check_greeting(&opening[..GREETING_BYTES]).unwrap();
        // After flags and length.
        let ready = opening.slice(GREETING_BYTES + 2..);
        check_ready(SocketKind::Pub, &ready).unwrap();
        check_ready(SocketKind::Router, &ready).unwrap_err();
    }

    #[test]
    fn other_protocols_and_mechanisms_are_refused() {
        let good = opening(SocketKind::Pub);
        let good = &good[..GREETING_BYTES];
        for (at, byte) in [(0, b'H'), (9, 0), (10, 2), (12, b'P'), (16, b'X')] {
            let mut greeting = good.to_vec();
            greeting[at] = byte;
            assert!(matches!(check_greeting(&greeting), Err(ZmtpError::Protocol { .. })), "byte {at}");
        }
    }

    #[test]
    fn ready_with_lengths_that_lie_is_refused() {
        for ready in [&b"\x05READY"[..], b"\x05READY\xffabc", b"\x05READY\x0bSocket-Type\xff\xff\xff\xffPUB"]
        {
            check_ready(SocketKind::Sub, &Bytes::from_static(ready)).unwrap_err();
        }
    }
}
