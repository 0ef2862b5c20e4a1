//! The function `strftime_now` of chat templates: today's date, as templates ask for it.

use std::time::SystemTime;

use minijinja::{Error, ErrorKind};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The time in UTC, in a form of Python's `strftime`.
pub(crate) fn strftime_now(form: &str) -> Result<String, Error> {
    // `Sun, 06 Nov 1994 08:49:37 GMT`
    formatted(&httpdate::fmt_http_date(SystemTime::now()), form)
}

fn formatted(date: &str, form: &str) -> Result<String, Error> {
    let part = |range: std::ops::Range<usize>| date.get(range).unwrap_or_default();
    let month = MONTHS.iter().position(|month| month.starts_with(part(8..11))).unwrap_or_default();
    let mut text = String::new();
    let mut letters = form.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        match letters.next() {
            Some('a') => text.push_str(part(0..3)),
            Some('d') => text.push_str(part(5..7)),
            Some('b') => text.push_str(part(8..11)),
            Some('B') => text.push_str(MONTHS.get(month).unwrap_or(&"")),
            Some('m') => text.push_str(&format!("{:02}", month + 1)),
            Some('Y') => text.push_str(part(12..16)),
            Some('y') => text.push_str(part(14..16)),
            Some('H') => text.push_str(part(17..19)),
            Some('M') => text.push_str(part(20..22)),
            Some('S') => text.push_str(part(23..25)),
            Some('%') => text.push('%'),
            other => {
                let asked = other.map_or_else(|| "%".to_owned(), |letter| format!("%{letter}"));
                return Err(Error::new(ErrorKind::InvalidOperation, format!("strftime_now has no {asked}")));
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_templates_ask_for_them() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(formatted(date, "%d %b %Y").unwrap(), "06 Nov 1994");
        assert_eq!(
            formatted(date, "%a %B %Y-%m-%d %H:%M:%S %y%%").unwrap(),
            "Sun November 1994-11-06 08:49:37 94%"
        );
        assert!(formatted(date, "%Q").is_err() && formatted(date, "%").is_err());
    }
}
