//! How long a request waits for a silent worker.

use std::time::Duration;

use http::HeaderValue;

use crate::config::checked::SilenceSettings;
use crate::proxy::head::Head;

/// A client's own limit to the first byte, in seconds.
const FIRST_BYTE_HEADER: &str = "x-sgl-first-byte-timeout";

/// A client's own limit between two pieces, in seconds.
const SILENCE_HEADER: &str = "x-sgl-silence-timeout";

/// The longest that a client may ask for, in seconds.
const LONGEST_SECS: f64 = 86_400.0;

/// How long a worker may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// So long; `None` = as long as the request may take.
    pub after: Option<Duration>,
    /// Whether it is the client's own, so that exceeding it is no failure of the worker.
    pub is_clients: bool,
}

impl Limit {
    /// What is left of a client's own limit after this time; a worker's counts for each worker anew.
    pub(crate) fn left_after(self, spent: Duration) -> Self {
        if !self.is_clients {
            return self;
        }
        Self { after: self.after.map(|after| after.saturating_sub(spent)), ..self }
    }
}

/// The limits of one request at one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// To the first byte of an answer.
    pub first_byte: Limit,
    /// Between two pieces.
    pub between: Limit,
}

impl Patience {
    /// What the client asks for, else what is set for the worker. What is no number above 0 is not
    /// understood, and does not count.
    pub(crate) fn of(head: &Head, worker: SilenceSettings) -> Self {
        let limit = |name, of_worker: Option<Duration>| {
            let asked = head.own(name).find_map(asked);
            Limit { after: asked.or(of_worker), is_clients: asked.is_some() }
        };
        Self {
            first_byte: limit(FIRST_BYTE_HEADER, worker.first_byte),
            between: limit(SILENCE_HEADER, worker.between),
        }
    }

    /// The same, but to the first byte no longer than this.
    pub(crate) fn within(self, first_byte: Limit) -> Self {
        let after = self.first_byte.after.into_iter().chain(first_byte.after).min();
        Self { first_byte: Limit { after, ..self.first_byte }, ..self }
    }
}

fn asked(value: &HeaderValue) -> Option<Duration> {
    let secs: f64 = value.to_str().ok()?.trim().parse().ok()?;
    (secs > 0.0).then(|| Duration::from_secs_f64(secs.min(LONGEST_SECS)))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn clients_limit_runs_on_from_one_worker_to_the_next() {
        let secs = |secs| Some(Duration::from_secs(secs));
        for (after, is_clients, left) in [
            (secs(5), true, secs(3)),
            (secs(1), true, secs(0)),
            (secs(5), false, secs(5)),
            (None, false, None),
        ] {
            let limit = Limit { after, is_clients }.left_after(Duration::from_secs(2));
            assert_eq!(limit, Limit { after: left, is_clients });
        }
    }

    #[test]
    fn clients_limit_wins_where_it_is_a_number() {
        let worker = SilenceSettings { first_byte: None, between: Some(Duration::from_secs(9)) };
        let of = |value: &'static str| {
            let request = Request::builder().header(SILENCE_HEADER, value);
            let (parts, ()) = request.body(()).unwrap().into_parts();
            Patience::of(&Head::new(parts, &HeaderValue::from_static("::1")), worker)
        };
        assert_eq!(of("2.5").between.after, Some(Duration::from_millis(2500)));
        assert_eq!(of("1e300").between.after, Some(Duration::from_secs(86_400)));
        for other in ["0", "-1", "NaN", "soon", ""] {
            assert_eq!(of(other).between, Limit { after: worker.between, is_clients: false }, "{other}");
        }
        let both = Request::builder().header(SILENCE_HEADER, "soon").header(SILENCE_HEADER, "7");
        let (parts, ()) = both.body(()).unwrap().into_parts();
        let both = Patience::of(&Head::new(parts, &HeaderValue::from_static("::1")), worker);
        assert_eq!(both.between.after, Some(Duration::from_secs(7)), "the first that is a number");
        assert!(of("2.5").between.is_clients);
        assert!(!of("2.5").first_byte.is_clients, "the other limit is the worker's");
    }
}
