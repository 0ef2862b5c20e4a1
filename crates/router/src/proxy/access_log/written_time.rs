//! Times as people write them, in UTC.

use std::time::SystemTime;

use jiff::Timestamp;

/// As RFC 3339 has it, with milliseconds.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    format!("{:.3}", timestamp(time))
}

/// As access logs of web servers have it.
pub(in crate::proxy::access_log) fn common(time: SystemTime) -> String {
    timestamp(time).strftime("%d/%b/%Y:%H:%M:%S +0000").to_string()
}

/// That of the epoch for one that no calendar has.
fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        let at = |seconds: u64, millis: u64| {
            UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis)
        };
        // Checked with `date -u -d @…`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (951_868_800, "2000-03-01T00:00:00.007Z"),
            (1_709_251_199, "2024-02-29T23:59:59.007Z"),
            (1_735_689_599, "2024-12-31T23:59:59.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            assert_eq!(rfc3339(at(seconds, 7)), text);
            assert_eq!(
                rfc3339(at(seconds, 7) + Duration::from_micros(999)),
                text,
                "what is below is cut off"
            );
        }
        assert_eq!(rfc3339(at(951_782_400, 0)), "2000-02-29T00:00:00.000Z");
        assert_eq!(common(at(971_211_336, 0)), "10/Oct/2000:20:55:36 +0000");
    }
}
