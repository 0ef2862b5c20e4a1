//! Times as people write them, in UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds of a day.
const DAY: u64 = 86_400;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment in the Gregorian calendar, from 1970 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Calendar {
    year: u64,
    /// From 1 on.
    month: u64,
    day: u64,
    second_of_day: u64,
    millis: u32,
}

impl Calendar {
    /// Of this moment; of one before 1970, that begin.
    pub(crate) fn of(time: SystemTime) -> Self {
        let since: Duration = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, second_of_day) = (since.as_secs() / DAY, since.as_secs() % DAY);
        // Howard Hinnant's civil_from_days: years begin in March, so that the leap day is the last one.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        Self { year, month, day, second_of_day, millis: since.subsec_millis() }
    }

    /// As RFC 3339 has it, with milliseconds.
    pub(crate) fn rfc3339(self) -> String {
        let (hour, minute, second) = self.clock();
        let Self { year, month, day, millis, .. } = self;
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }

    /// As access logs of web servers have it.
    pub(crate) fn common(self) -> String {
        let (hour, minute, second) = self.clock();
        let place = usize::try_from(self.month.saturating_sub(1)).unwrap_or_default();
        let month = MONTHS.get(place).copied().unwrap_or_default();
        format!("{:02}/{month}/{:04}:{hour:02}:{minute:02}:{second:02} +0000", self.day, self.year)
    }

    fn clock(self) -> (u64, u64, u64) {
        let second = self.second_of_day;
        (second / 3600, second / 60 % 60, second % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        let at = |seconds: u64, millis: u64| {
            Calendar::of(UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis))
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
            assert_eq!(at(seconds, 7).rfc3339(), text);
        }
        assert_eq!(at(971_211_336, 0).common(), "10/Oct/2000:20:55:36 +0000");
    }
}
