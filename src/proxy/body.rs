//! Reading a request's body.

use bytes::Bytes;
use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Body;
use hyper::body::Incoming;

use crate::proxy::respond::ProxyError;

/// What is reserved at once on a client's word.
const MAX_RESERVED_BYTES: u64 = 1 << 20;

/// How much of a body that is too large is read and dropped. A client that is still sending when
/// the connection closes may never see the answer.
const MAX_DISCARDED_BYTES: u64 = 8 << 20;

/// The whole body, so that it can be sent more than once. One that came in one piece, as most
/// do, is not copied.
///
/// # Errors
///
/// [`ProxyError::TooLarge`] or [`ProxyError::BrokenBody`].
///
/// # Cancel safety
///
/// Dropping the future loses what was read.
pub async fn read(mut body: Incoming, limit: u64) -> Result<Bytes, ProxyError> {
    let announced = body.size_hint().lower();
    if announced > limit {
        discard(body, announced).await;
        return Err(ProxyError::TooLarge { limit });
    }
    let first = loop {
        match body.frame().await {
            None => return Ok(Bytes::new()),
            Some(Err(_)) => return Err(ProxyError::BrokenBody),
            // A frame without data is one of trailers.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => break data,
                Err(_) => continue,
            },
        }
    };
    if body.is_end_stream() && length(&first) <= limit {
        return Ok(first);
    }
    let reserved = announced.min(MAX_RESERVED_BYTES).max(length(&first));
    let mut whole = BytesMut::with_capacity(usize::try_from(reserved).unwrap_or_default());
    whole.extend_from_slice(&first);
    loop {
        if length(&whole) > limit {
            drop(whole);
            discard(body, 0).await;
            return Err(ProxyError::TooLarge { limit });
        }
        match body.frame().await {
            None => return Ok(whole.freeze()),
            Some(Err(_)) => return Err(ProxyError::BrokenBody),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    whole.extend_from_slice(&data);
                }
            }
        }
    }
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
