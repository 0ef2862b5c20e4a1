//! A header that some requests have, and with which values.

use serde::Serialize;

/// Values of all headers together at most: reports have a row for each.
pub const MAX_HEADER_VALUES: usize = 48;

/// A header whose values are spread over requests by chance: all requests of a session have the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeaderMix {
    /// The header, in lower case.
    pub name: String,
    /// Its values, and the share of requests that have each. What is left has none.
    pub values: Vec<(String, f64)>,
}

/// The header that says which session a request is of: it is there where requests have sessions.
pub(crate) const SESSION_HEADER: &str = "x-session-id";

impl HeaderMix {
    /// Reads `priority=high:0.2,low:0.8`.
    ///
    /// # Errors
    ///
    /// What would do.
    pub fn parse(text: &str) -> Result<Self, String> {
        let allowed =
            || "allowed: NAME=VALUE:SHARE,VALUE:SHARE…, such as priority=high:0.2,low:0.8".to_owned();
        let (name, values) = text.split_once('=').ok_or_else(allowed)?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err("the name of a header has letters, digits, '-' and '_' only".to_owned());
        }
        let name = name.to_ascii_lowercase();
        if name == SESSION_HEADER {
            return Err(format!("{SESSION_HEADER} is the key of sessions: requests that have one have it"));
        }
        let value = |part: &str| {
            let (value, share) = part.rsplit_once(':')?;
            let share = share.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share))?;
            let is_text = !value.is_empty() && value.bytes().all(|byte| (0x20..0x7f).contains(&byte));
            is_text.then(|| (value.to_owned(), share))
        };
        let values: Vec<(String, f64)> =
            values.split(',').map(value).collect::<Option<_>>().ok_or_else(allowed)?;
        let sum: f64 = values.iter().map(|(_, share)| share).sum();
        let is_twice = |(place, (value, _)): (usize, &(String, f64))| {
            values.iter().take(place).any(|(other, _)| other == value)
        };
        if values.iter().enumerate().any(is_twice) {
            return Err("a value is there twice".to_owned());
        }
        if values.len() > MAX_HEADER_VALUES {
            return Err(format!("allowed: {MAX_HEADER_VALUES} values at most"));
        }
        // Ten times 0.1 is not 1.
        if sum > 1.0 + 1e-9 {
            return Err(format!("the shares are {sum:.3} together; allowed: up to 1"));
        }
        Ok(Self { name, values })
    }

    /// The place of the value that all requests of a session have, or that a request of none has, by its
    /// number.
    pub(crate) fn drawn(&self, seed: u64, number: u32) -> Option<usize> {
        let name = self.name.bytes().fold(seed, |name, byte| spread(name ^ u64::from(byte)));
        let mut drawn = fastrand::Rng::with_seed(spread(name ^ u64::from(number))).f64();
        self.values.iter().position(|(_, share)| {
            let is_it = drawn < *share;
            drawn -= share;
            is_it
        })
    }

    /// The value at this place.
    pub(crate) fn value(&self, place: usize) -> Option<&str> {
        self.values.get(place).map(|(value, _)| value.as_str())
    }

    /// Whether some requests have no such header.
    pub(crate) fn leaves_some(&self) -> bool {
        self.values.iter().map(|(_, share)| share).sum::<f64>() < 1.0 - 1e-9
    }
}

/// Numbers that are near each other far apart: draws with seeds that differ in few bits are not independent. The last
/// step of SplitMix64 (Steele, Lea and Flood 2014).
fn spread(number: u64) -> u64 {
    let mixed = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_drawn_as_often_as_was_said_and_alike_with_the_same_seed() {
        let mix = HeaderMix::parse("Priority=high:0.2,lo:w:0.5").unwrap();
        assert_eq!((mix.name.as_str(), mix.value(1), mix.leaves_some()), ("priority", Some("lo:w"), true));
        let mut counts = [0_u32; 3];
        for number in 0..20_000 {
            counts[mix.drawn(7, number).unwrap_or(2)] += 1;
            assert_eq!(mix.drawn(7, number), mix.drawn(7, number));
        }
        for (count, expected) in counts.iter().zip([4000, 10_000, 6000]) {
            assert!(count.abs_diff(expected) < 250, "{counts:?}");
        }
        let other = HeaderMix { name: "x-team".to_owned(), ..mix.clone() };
        let alike =
            |one: &HeaderMix, seed| (0..20_000).filter(|n| one.drawn(seed, *n) == mix.drawn(7, *n)).count();
        // Two independent draws agree by chance: 0.04 + 0.25 + 0.09 of them.
        for found in [alike(&mix, 8), alike(&other, 7)] {
            assert!(found.abs_diff(7600) < 300, "{found}");
        }
        let all = HeaderMix::parse(&format!(
            "a={}",
            (0..10).map(|n| format!("{n}:0.1")).collect::<Vec<_>>().join(",")
        ));
        assert!(!all.unwrap().leaves_some());
    }

    #[test]
    fn what_is_no_mix_is_refused() {
        for (text, message) in [
            ("priority", "allowed: NAME=VALUE:SHARE"),
            ("priority=high", "allowed: NAME=VALUE:SHARE"),
            ("priority=:0.5", "allowed: NAME=VALUE:SHARE"),
            ("priority=high:1.5", "allowed: NAME=VALUE:SHARE"),
            ("priority=high:nan", "allowed: NAME=VALUE:SHARE"),
            ("=high:0.5", "the name of a header"),
            ("a b=high:0.5", "the name of a header"),
            ("priority=a:0.7,b:0.7", "the shares are 1.400 together; allowed: up to 1"),
            ("priority=a:0.1,a:0.2", "a value is there twice"),
            ("X-Session-Id=a:0.1", "x-session-id is the key of sessions"),
        ] {
            let error = HeaderMix::parse(text).unwrap_err();
            assert!(error.starts_with(message), "{text}: {error}");
        }
    }
}
