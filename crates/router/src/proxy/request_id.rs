//! Ids of requests: those that clients send, and new ones.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Where workers and clients are told the id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken from a client, in bytes.
const MAX_ID_BYTES: usize = 200;

/// The id of a request, which is in its headers from now on: that of the first of these headers that has
/// one, else a new one.
pub(crate) fn assigned(names: &[HeaderName], headers: &mut HeaderMap) -> HeaderValue {
    let is_id = |id: &&HeaderValue| {
        let id = id.as_bytes();
        (1..=MAX_ID_BYTES).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
    };
    let given = names.iter().filter_map(|name| headers.get(name)).find(is_id);
    let id = given.cloned().unwrap_or_else(made);
    headers.insert(REQUEST_ID, id.clone());
    id
}

/// One that no other request has: 128 bits by chance.
fn made() -> HeaderValue {
    let id = format!("{:032x}", fastrand::u128(..));
    HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_id_that_is_one_counts_and_odd_ones_are_replaced() {
        let names = [REQUEST_ID, HeaderName::from_static("x-correlation-id")];
        let of = |pairs: &[(&'static str, &str)]| {
            let header = |(name, value): &(&'static str, &str)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
            };
            let mut headers: HeaderMap = pairs.iter().map(header).collect();
            let id = assigned(&names, &mut headers);
            assert_eq!(headers[REQUEST_ID], id);
            id.to_str().unwrap().to_owned()
        };
        assert_eq!(of(&[("x-request-id", "a"), ("x-correlation-id", "b")]), "a");
        assert_eq!(of(&[("x-correlation-id", "b")]), "b");
        assert_eq!(of(&[("x-request-id", ""), ("x-correlation-id", "b")]), "b");
        let long = "x".repeat(MAX_ID_BYTES + 1);
        for odd in ["a b", &long] {
            let made = of(&[("x-request-id", odd)]);
            assert_eq!(made.len(), 32, "{made}");
            assert_ne!(made, of(&[]));
        }
    }
}
