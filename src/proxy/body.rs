//! Reading a request's body.

use bytes::Bytes;
use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Body;
use hyper::body::Incoming;

use crate::proxy::pressure::HeldBody;
use crate::proxy::respond::ProxyError;

/// What is reserved at once on a client's word.
const MAX_RESERVED_BYTES: u64 = 1 << 20;

/// How much of a body that is too large is read and dropped. A client that is still sending when
/// the connection closes may never see the answer.
const MAX_DISCARDED_BYTES: u64 = 8 << 20;

/// A body that is still to come.
#[derive(Debug)]
pub struct Arriving {
    /// It.
    pub body: Incoming,
    /// Whether the client waits to be asked for it (`expect: 100-continue`). It is asked by the
    /// first look at the body, so a body that will not be used must not be looked at.
    pub is_held_back: bool,
}

/// The whole body, so that it can be sent more than once. One that came in one piece, as most
/// do, is not copied. `held` counts what it takes.
///
/// # Errors
///
/// [`ProxyError::TooLarge`], [`ProxyError::OutOfMemory`] or [`ProxyError::BrokenBody`].
///
/// # Cancel safety
///
/// Dropping the future loses what was read.
pub async fn read(arriving: Arriving, limit: u64, held: &mut HeldBody<'_>) -> Result<Bytes, ProxyError> {
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
    match collect(&mut body, announced, limit, held).await {
        Err(error @ (ProxyError::TooLarge { .. } | ProxyError::OutOfMemory { .. })) => {
            discard(body, 0).await;
            Err(error)
        }
        other => other,
    }
}

async fn collect(
    body: &mut Incoming,
    announced: u64,
    limit: u64,
    held: &mut HeldBody<'_>,
) -> Result<Bytes, ProxyError> {
    let Some(first) = next(body).await? else { return Ok(Bytes::new()) };
    held.grow(length(&first))?;
    if body.is_end_stream() && length(&first) <= limit {
        return Ok(first);
    }
    let reserved = announced.min(MAX_RESERVED_BYTES).max(length(&first));
    let mut whole = BytesMut::with_capacity(usize::try_from(reserved).unwrap_or_default());
    whole.extend_from_slice(&first);
    loop {
        if length(&whole) > limit {
            return Err(ProxyError::TooLarge { limit });
        }
        let Some(piece) = next(body).await? else { return Ok(whole.freeze()) };
        held.grow(length(&piece))?;
        whole.extend_from_slice(&piece);
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

/// Reads and drops the rest, unless it is far too much.
async fn discard(mut body: Incoming, announced: u64) {
    let mut left = MAX_DISCARDED_BYTES;
    if announced > left {
        return;
    }
    while let Some(Ok(frame)) = body.frame().await {
        left = left.saturating_sub(frame.data_ref().map_or(0, |data| length(data)));
        if left == 0 {
            return;
        }
    }
}

fn length(data: &[u8]) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}
