//! When a certificate is valid. rustls judges that, and does not tell it.

use std::time::{Duration, SystemTime};

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version, which the first certificates did not have.
const VERSION: u8 = 0xa0;

/// The time in which a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateValidity {
    /// Seconds after 1970 at which it ends.
    pub not_after: u64,
}

impl CertificateValidity {
    /// Of an X.509 certificate in DER form (RFC 5280, section 4.1); `None` if it is none.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (_, whole, _) = element(certificate)?;
        let (tag, mut signed, _) = element(whole)?;
        if tag != SEQUENCE {
            return None;
        }
        if signed.first() == Some(&VERSION) {
            signed = element(signed)?.2;
        }
        // The serial number, the algorithm and the issuer.
        for _ in 0..3 {
            signed = element(signed)?.2;
        }
        let (_, validity, _) = element(signed)?;
        let (_, _, rest) = element(validity)?;
        let (tag, time, _) = element(rest)?;
        Some(Self { not_after: seconds(tag, time)? })
    }

    /// True if its end has come.
    pub fn has_expired(&self) -> bool {
        SystemTime::now() > self.end()
    }

    /// Its end.
    pub fn end(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.not_after)
    }
}

/// The first element: its tag, what it holds, and what is behind it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.len() > 4 {
            return None;
        }
        (bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)), rest)
    };
    let (value, behind) = rest.split_at_checked(length)?;
    Some((tag, value, behind))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` as seconds after 1970.
fn seconds(tag: u8, time: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(time).ok()?.strip_suffix('Z')?;
    let number = |from: usize, to: usize| digits.get(from..to)?.parse::<u64>().ok();
    let (year, at) = match tag {
        UTC_TIME => {
            let year = number(0, 2)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, 2)
        }
        GENERALIZED_TIME => (number(0, 4)?, 4),
        _ => return None,
    };
    let part = |index: usize| number(at + 2 * index, at + 2 * index + 2);
    let days = days_before(year, part(0)?)? + part(1)?.checked_sub(1)?;
    Some(((days * 24 + part(2)?) * 60 + part(3)?) * 60 + part(4)?)
}

/// Days from the beginning of 1970 to that of a month.
fn days_before(year: u64, month: u64) -> Option<u64> {
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let passed = year.checked_sub(1970)?;
    // Leap days of the years before this one, from the year 0 on.
    let leap_days = |before: u64| before / 4 - before / 100 + before / 400;
    let is_leap = leap_days(year) > leap_days(year - 1);
    let in_year = BEFORE.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    let this_year = u64::from(is_leap && month > 2);
    Some(passed * 365 + leap_days(year - 1) - leap_days(1969) + in_year + this_year)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_after_1970() {
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", 0),
            (UTC_TIME, "000229120000Z", 951_825_600),
            (UTC_TIME, "491231235959Z", 2_524_607_999),
            (GENERALIZED_TIME, "20500101000000Z", 2_524_608_000),
            (GENERALIZED_TIME, "21000301000000Z", 4_107_542_400),
            (GENERALIZED_TIME, "20261128070730Z", 1_795_849_650),
        ] {
            assert_eq!(seconds(tag, text.as_bytes()), Some(expected), "{text}");
        }
        for text in ["700101000000", "7001Z", "701301000000Z", "700100000000Z", "é"] {
            assert_eq!(seconds(UTC_TIME, text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_is_cut_short_is_no_certificate() {
        for der in [&[][..], &[0x30], &[0x30, 0x82, 1], &[0x30, 0x85, 1, 1, 1, 1, 1], &[0x30, 2, 0x30, 0]] {
            assert_eq!(CertificateValidity::of(der), None, "{der:?}");
        }
    }
}
