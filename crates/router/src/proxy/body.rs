//! Reading a request's body.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use crate::proxy::pressure::HeldBody;
use crate::proxy::proxy_error::ProxyError;

/// What is reserved at once on a client's word. Beyond that as much again as came, so that nobody
/// takes memory by announcing much.
const MAX_RESERVED_BYTES: u64 = 1 << 20;

/// How much of a body that is too large is read and dropped. A client that is still sending when
/// the connection closes may never see the answer.
const MAX_DISCARDED_BYTES: u64 = 8 << 20;

/// How long it is read at most.
const MAX_DISCARDING: Duration = Duration::from_secs(5);

/// A body that is still to come.
#[derive(Debug)]
pub(crate) struct Arriving {
    /// The body.
    pub body: Incoming,
    /// Whether the client waits until it is asked for the body (`expect: 100-continue`). hyper asks when
    /// the body is first polled, so nobody may poll a body that will not be used.
    pub is_held_back: bool,
}

/// The whole body, so that it can be sent more than once. One that came in one piece, as most
/// do, is not copied. `held` counts what it takes, and `heard` is told of each piece.
///
/// # Errors
///
/// [`ProxyError::TooLarge`], [`ProxyError::OutOfMemory`] or [`ProxyError::BrokenBody`].
///
/// # Cancel safety
///
/// Dropping the future loses what was read.
pub(crate) async fn read(
    arriving: Arriving,
    limit: u64,
    held: &mut HeldBody,
    heard: impl Fn(),
) -> Result<Bytes, ProxyError> {
    let Arriving { mut body, is_held_back } = arriving;
    let announced = body.size_hint().lower();
    let has_room = || held.check(announced).map_err(ProxyError::from);
    let allowed = if announced > limit { Err(ProxyError::TooLarge { limit }) } else { has_room() };
    if let Err(error) = allowed {
        if !is_held_back {
            discard(body, announced).await;
        }
        return Err(error);
    }
    match collect(&mut body, limit, held, heard).await {
        Err(error @ (ProxyError::TooLarge { .. } | ProxyError::OutOfMemory { .. })) => {
            held.give_back();
            discard(body, 0).await;
            Err(error)
        }
        other => other,
    }
}

async fn collect(
    body: &mut Incoming,
    limit: u64,
    held: &mut HeldBody,
    heard: impl Fn(),
) -> Result<Bytes, ProxyError> {
    let hint = body.size_hint();
    let most = hint.upper().map_or(limit, |upper| upper.min(limit));
    let Some(mut piece) = next(body).await? else { return Ok(Bytes::new()) };
    if body.is_end_stream() && length(&piece) <= limit {
        held.grow(length(&piece))?;
        return Ok(piece);
    }
    let mut whole = Vec::new();
    let mut room = 0;
    loop {
        heard();
        let needed = length(&whole) + length(&piece);
        if needed > limit {
            return Err(ProxyError::TooLarge { limit });
        }
        if needed > room {
            let wanted = (2 * room).max(hint.lower().min(MAX_RESERVED_BYTES)).min(most).max(needed);
            held.grow(wanted - room)?;
            room = wanted;
            whole.reserve_exact(usize::try_from(room).unwrap_or_default().saturating_sub(whole.len()));
        }
        whole.extend_from_slice(&piece);
        let Some(next) = next(body).await? else { return Ok(Bytes::from(whole)) };
        piece = next;
    }
}

/// The next piece; `None` at the end.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, ProxyError> {
    while let Some(frame) = body.frame().await {
        // A frame without data is one of trailers.
        if let Ok(data) = frame.map_err(|_| ProxyError::BrokenBody)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Reads and drops the rest, unless it is far too much or does not come.
async fn discard(mut body: Incoming, announced: u64) {
    let mut left = MAX_DISCARDED_BYTES;
    if announced > left {
        return;
    }
    let discarding = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, |data| length(data)));
            if left == 0 {
                return;
            }
        }
    };
    // Whatever is left then, the error is told.
    let _ = tokio::time::timeout(MAX_DISCARDING, discarding).await;
}

fn length(data: &[u8]) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}
