//! How long a request waits for a silent worker.

use std::time::Duration;

use http::HeaderMap;

use crate::config::checked::SilenceSettings;

/// A client's own limit to the first byte, in seconds.
const FIRST_BYTE_HEADER: &str = "x-sgl-first-byte-timeout";

/// A client's own limit between two pieces, in seconds.
const SILENCE_HEADER: &str = "x-sgl-silence-timeout";

/// The longest that a client may ask for, in seconds.
const LONGEST_SECS: f64 = 86_400.0;

/// The limits of one request at one worker; `None` = as long as the request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// To the first byte of an answer.
    pub first_byte: Option<Duration>,
    /// Between two pieces.
    pub between: Option<Duration>,
    /// Whether one of them is the client's own, so that exceeding it is no failure of the worker.
    pub is_clients: bool,
}

impl Patience {
    /// What the client asks for, else what is set for the worker. What is no number above 0 is not
    /// understood, and does not count.
    pub fn of(headers: &HeaderMap, worker: SilenceSettings) -> Self {
        let (first_byte, between) = (asked(headers, FIRST_BYTE_HEADER), asked(headers, SILENCE_HEADER));
        Self {
            first_byte: first_byte.or(worker.first_byte),
            between: between.or(worker.between),
            is_clients: first_byte.is_some() || between.is_some(),
        }
    }
}

fn asked(headers: &HeaderMap, name: &str) -> Option<Duration> {
    let secs: f64 = headers.get(name)?.to_str().ok()?.trim().parse().ok()?;
    (secs > 0.0).then(|| Duration::from_secs_f64(secs.min(LONGEST_SECS)))
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use http::HeaderValue;

    use super::*;

    #[test]
    fn clients_limit_wins_where_it_is_a_number() {
        let worker = SilenceSettings { first_byte: None, between: Some(Duration::from_secs(9)) };
        let of = |value: &'static str| {
            let header = (HeaderName::from_static(SILENCE_HEADER), HeaderValue::from_static(value));
            Patience::of(&HeaderMap::from_iter([header]), worker).between
        };
        assert_eq!(of("2.5"), Some(Duration::from_millis(2500)));
        assert_eq!(of("1e300"), Some(Duration::from_secs(86_400)));
        for other in ["0", "-1", "NaN", "soon", ""] {
            assert_eq!(of(other), worker.between, "{other}");
        }
        assert!(!Patience::of(&HeaderMap::new(), worker).is_clients);
    }
}
