//! Values in messages to operators, without the formatting code that `format!` links in.

use alloc::string::String;

use sgl_policy_abi::Value;

/// Characters of a text that are shown.
const SHOWN_CHARS: usize = 64;

/// A value as a message names it.
pub(crate) fn push_value(out: &mut String, value: &Value) {
    match (value, value.as_f64()) {
        (_, Some(number)) => push_number(out, number),
        (Value::Str(text), _) => {
            out.push('`');
            out.extend(text.chars().take(SHOWN_CHARS));
            out.push('`');
        }
        (Value::Bool(true), _) => out.push_str("true"),
        (Value::Bool(false), _) => out.push_str("false"),
        (Value::Array(_), _) => out.push_str("a list"),
        (Value::Map(_), _) => out.push_str("a map"),
        _ => out.push_str("no value"),
    }
}

/// A number to six digits behind the point; above 10¹⁵ only that it is.
pub(crate) fn push_number(out: &mut String, number: f64) {
    if number.is_nan() {
        return out.push_str("NaN");
    }
    if number < 0.0 {
        out.push('-');
    }
    let size = number.abs();
    if size > 1e15 {
        return out.push_str(if size.is_finite() { "more than 1e15" } else { "infinity" });
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and below 2^60"
    )]
    let whole = size as u64;
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    let rest = size - whole as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to a million")]
    let millionths = (rest * 1e6 + 0.5) as u64;
    push_digits(out, whole + millionths / 1_000_000, 1);
    let millionths = millionths % 1_000_000;
    if millionths > 0 {
        out.push('.');
        push_digits(out, millionths, 6);
        out.truncate(out.trim_end_matches('0').len());
    }
}

/// At least so many digits of a number.
fn push_digits(out: &mut String, number: u64, digits: usize) {
    if number >= 10 || digits > 1 {
        push_digits(out, number / 10, digits.saturating_sub(1));
    }
    out.extend(u8::try_from(number % 10).map(|digit| char::from(b'0' + digit)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::ToOwned;

    #[test]
    fn number_is_shown_as_people_write_it() {
        for (number, shown) in [
            (0.0, "0"),
            (-1.0, "-1"),
            (0.99, "0.99"),
            (10.5, "10.5"),
            (-0.000_001, "-0.000001"),
            (1_234.567_89, "1234.56789"),
            (0.999_999_9, "1"),
            (8192.0, "8192"),
            (1e15, "1000000000000000"),
            (1e16, "more than 1e15"),
            (f64::NEG_INFINITY, "-infinity"),
            (f64::NAN, "NaN"),
        ] {
            let mut out = String::new();
            push_number(&mut out, number);
            assert_eq!(out, shown);
        }
    }

    #[test]
    fn value_of_any_kind_is_named() {
        let long = "é".repeat(100);
        for (value, shown) in [
            (Value::Int(-3), "-3".to_owned()),
            (Value::Bool(true), "true".to_owned()),
            (Value::Array(std::vec![]), "a list".to_owned()),
            (Value::Map(std::vec![]), "a map".to_owned()),
            (Value::Bin(std::vec![1]), "no value".to_owned()),
            (Value::Str(long), std::format!("`{}`", "é".repeat(64))),
        ] {
            let mut out = String::new();
            push_value(&mut out, &value);
            assert_eq!(out, shown);
        }
    }
}
