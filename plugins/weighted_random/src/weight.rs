//! What counts as a weight.

/// The largest weight. Far from where sums of floats would lose small weights.
const MAX: f64 = 1e9;

/// True for a number from 0 to 1e9; NaN is none.
pub(crate) fn is_weight(weight: f64) -> bool {
    (0.0..=MAX).contains(&weight)
}

/// Reads a plain decimal number like `3` or `0.25`.
///
/// Not `str::parse`: its exact rounding of every exponent would double the plugin.
pub(crate) fn parse_weight(text: &str) -> Option<f64> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    if digits().next().is_none() || !digits().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = digits().fold(0.0, |number, digit| number * 10.0 + f64::from(digit - b'0'));
    let scale = fraction.bytes().fold(1.0, |scale, _| scale * 10.0);
    Some(number / scale).filter(|weight| is_weight(*weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_of_plain_decimals_is_read() {
        for (text, weight) in
            [("3", 3.0), (" 0.25 ", 0.25), ("0", 0.0), (".5", 0.5), ("7.", 7.0), ("1000000000", 1e9)]
        {
            assert_eq!(parse_weight(text), Some(weight), "{text}");
        }
    }

    #[test]
    fn weight_of_anything_else_is_none() {
        for text in ["", ".", "-1", "1e3", "NaN", "1.2.3", "2 x", "1000000001", "٣"] {
            assert_eq!(parse_weight(text), None, "{text}");
        }
        let long = "9".repeat(400);
        assert_eq!(parse_weight(&long), None);
        let long = std::format!("0.{}", "9".repeat(400));
        assert_eq!(parse_weight(&long), None);
    }
}
