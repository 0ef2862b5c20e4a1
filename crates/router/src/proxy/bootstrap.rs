//! What a pair of prefill and decode workers must be told to find each other.
//!
//! SGLang's way: both get the same request with three more fields, the prefill worker's bootstrap
//! host and port and a random room number; lists of them if the request has several prompts or
//! choices. (`inject_bootstrap_into_value` in sgl-router's `pd_router.rs`.)

use std::fmt::Write;

use bytes::Bytes;

use crate::proxy::json::BYTE_ORDER_MARK;
use crate::proxy::parse::MAX_INLINE_BYTES;
use crate::proxy::proxy_error::ProxyError;
use crate::proxy::rank::RankMark;
use crate::proxy::target::Target;
use sgl_upstream::Payload;

/// The most prompts or choices of one request, so that a number in a body cannot fill the memory.
const MAX_BATCH: usize = 4096;

/// The body with the bootstrap fields. They are put at the end of the object, where they win over
/// fields of the same name before them; nothing else is touched, and nothing of it copied.
///
/// # Errors
///
/// [`ProxyError::InvalidBody`] if the body is not an object or asks for too much.
///
/// # Cancel safety
///
/// Nothing is lost.
pub(crate) async fn inject(
    body: &Bytes,
    prefill: &Target,
    batch: Option<usize>,
) -> Result<Payload, ProxyError> {
    let invalid = |reason: &str| ProxyError::InvalidBody { reason: reason.to_owned() };
    if batch.is_some_and(|batch| batch > MAX_BATCH) {
        return Err(invalid("more than 4096 prompts or choices"));
    }
    let fields = fields(prefill, batch);
    let extended = if body.len() <= MAX_INLINE_BYTES {
        extend(body, &fields)
    } else {
        // It may consist of blanks, all of which are looked at.
        let body = body.clone();
        tokio::task::spawn_blocking(move || extend(&body, &fields)).await.unwrap_or_default()
    };
    extended.ok_or_else(|| invalid("not a JSON object"))
}

/// The object with more fields.
fn extend(body: &Bytes, fields: &str) -> Option<Payload> {
    let object = body.trim_ascii_end().strip_suffix(b"}")?;
    let before = object.strip_prefix(BYTE_ORDER_MARK).unwrap_or(object);
    let comma = if before.trim_ascii() == b"{" { "" } else { "," };
    Some(Payload::with_tail(body.slice(..object.len()), format!("{comma}{fields}}}").into()))
}

fn fields(prefill: &Target, batch: Option<usize>) -> String {
    let host = format!("\"{}\"", prefill.url().host());
    let port = match prefill.worker().spec().bootstrap_port {
        Some(port) => port.to_string(),
        None => "null".to_owned(),
    };
    let mut fields = String::new();
    add(&mut fields, "bootstrap_host", batch, || host.clone());
    add(&mut fields, "bootstrap_port", batch, || port.clone());
    add(&mut fields, "bootstrap_room", batch, || room(prefill.rank()));
    fields
}

/// The body for the decode half: with the rank that the prefill half is at, where it is at one. Versions that
/// do not read the field find it by the room.
pub(crate) fn at_decode(body: &Payload, prefill: &Target) -> Payload {
    let told = prefill.rank_number().map(|rank| format!("\"disagg_prefill_dp_rank\":{rank}"));
    told.and_then(|told| body.with_members(&told)).unwrap_or_else(|| body.clone())
}

/// A room that no other request has: 63 random bits, which every JSON reader takes. By its remainder SGLang
/// finds the rank of the prefill half.
fn room(rank: Option<&RankMark>) -> String {
    let room = fastrand::u64(..) >> 1;
    let room = rank.map_or(room, |rank| {
        // With a bit less there is room for the rank.
        let (room, count) = (room >> 1, u64::from(rank.count()));
        room - room % count.max(1) + u64::from(rank.number())
    });
    room.to_string()
}

fn add(fields: &mut String, name: &str, batch: Option<usize>, mut value: impl FnMut() -> String) {
    let comma = if fields.is_empty() { "" } else { "," };
    let value = match batch {
        None => value(),
        Some(count) => {
            let values: Vec<String> = (0..count).map(|_| value()).collect();
            format!("[{}]", values.join(","))
        }
    };
    // Writing to a string cannot fail.
    let _ = write!(fields, "{comma}\"{name}\":{value}");
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn fields_are_put_into_the_object_without_a_copy_of_it() {
        for (body, expected) in [
            ("{\"a\": 1}", "{\"a\": 1,\"b\":2}"),
            ("\u{feff} {\"a\": {}} \n", "\u{feff} {\"a\": {},\"b\":2}"),
            ("\u{feff} { } ", "\u{feff} { \"b\":2}"),
        ] {
            let body = Bytes::from(body);
            let mut payload = extend(&body, "\"b\":2").unwrap();
            let first = payload.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(first.as_ptr(), body.as_ptr());
            let rest = payload.collect().await.unwrap().to_bytes();
            assert_eq!([&*first, &*rest].concat(), expected.as_bytes());
        }
        assert!(extend(&Bytes::from_static(b"[]"), "").is_none());
    }
}
