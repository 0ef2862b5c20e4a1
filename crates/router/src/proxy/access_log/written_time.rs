//! Times as people write them, in UTC.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use crate::config::access_log_section::LineForm;

/// The time of a line, which is put into words once a second: calendars are dear.
#[derive(Debug, Default)]
pub(in crate::proxy::access_log) struct LineClock {
    /// Since the epoch; `None` before the first line.
    second: Option<u64>,
    text: String,
}

impl LineClock {
    /// This time in the words of this form; a clock serves one form.
    pub(in crate::proxy::access_log) fn of(&mut self, form: LineForm, time: SystemTime) -> &str {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if self.second != Some(since.as_secs()) {
            let second = UNIX_EPOCH + Duration::from_secs(since.as_secs());
            self.text = match form {
                LineForm::Json => rfc3339(second),
                LineForm::Common | LineForm::Combined => common(second),
            };
            self.second = Some(since.as_secs());
        }
        if form == LineForm::Json {
            self.set_millis(since.subsec_millis());
        }
        &self.text
    }

    /// Puts these in the place of the last second's, before the `Z`.
    fn set_millis(&mut self, millis: u32) {
        self.text.truncate(self.text.len().saturating_sub("000Z".len()));
        // Strings take all that is written to them.
        let _ = write!(self.text, "{millis:03}Z");
    }
}

/// As RFC 3339 has it, with milliseconds.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    format!("{:.3}", timestamp(time))
}

/// As access logs of web servers have it.
fn common(time: SystemTime) -> String {
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

    #[test]
    fn clock_says_what_the_calendar_says_whatever_time_was_before() {
        let at = |millis: u64| UNIX_EPOCH + Duration::from_millis(millis);
        let (mut json, mut web) = (LineClock::default(), LineClock::default());
        for time in [7, 7, 999, 1000, 1_735_689_599_999, 1_735_689_600_000, 1_735_689_600_050, 20] {
            assert_eq!(json.of(LineForm::Json, at(time)), rfc3339(at(time)));
            assert_eq!(web.of(LineForm::Combined, at(time)), common(at(time)));
        }
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(json.of(LineForm::Json, before), rfc3339(UNIX_EPOCH));
    }
}
