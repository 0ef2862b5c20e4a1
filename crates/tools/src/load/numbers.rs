//! Numbers as people read them.

/// A number with about three digits.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        below if below < 1.0 => format!("{value:.3}"),
        below if below < 10.0 => format!("{value:.2}"),
        below if below < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A share in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", not_rounded_away(share * 100.0))
}

/// A ratio.
pub(crate) fn times(ratio: f64) -> String {
    format!("{}×", not_rounded_away(ratio))
}

/// Two digits behind the point, or as many as it takes to be more than 0.
fn not_rounded_away(value: f64) -> String {
    let shows = |digits: &u8| value == 0.0 || value.abs() >= 0.5 / 10_f64.powi(i32::from(*digits));
    let digits = (2..=6).find(shows).map(usize::from);
    digits.map_or_else(|| "<0.000001".to_owned(), |digits| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_about_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.1234, "0.123"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (1234.5, "1234"),
            (9.996, "10.00"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(percent(0.01234), "1.23 %");
    }

    #[test]
    fn what_is_more_than_nothing_is_not_shown_as_nothing() {
        for (ratio, text) in
            [(0.0, "0.00×"), (1.234, "1.23×"), (0.005, "0.01×"), (0.0042, "0.004×"), (1e-9, "<0.000001×")]
        {
            assert_eq!(times(ratio), text);
        }
        assert_eq!(percent(0.00001), "0.001 %");
    }
}
