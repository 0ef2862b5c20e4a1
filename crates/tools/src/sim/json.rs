//! Writes JSON by hand where it is written per token: the text around the few changing values is
//! constant, and none of them needs escaping.

use bytes::{BufMut, BytesMut};

/// Appends a number in decimal.
pub(crate) fn push_u64(out: &mut BytesMut, value: u64) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    let mut rest = value;
    for (index, digit) in digits.iter_mut().enumerate().rev() {
        // The remainder is below ten.
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        start = index;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(digits.get(start..).unwrap_or_default());
}

/// Appends a number as 16 hexadecimal digits.
pub(crate) fn push_hex(out: &mut BytesMut, value: u64) {
    for byte in value.to_be_bytes() {
        for nibble in [byte >> 4, byte & 15] {
            out.put_u8(if nibble < 10 { b'0' + nibble } else { b'a' + (nibble - 10) });
        }
    }
}

/// A text as a JSON string, quotes included.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_standard_library_writes_them() {
        for value in [0, 7, 10, 12_345, 1_700_000_000, u64::MAX] {
            let mut out = BytesMut::new();
            push_u64(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
            out.clear();
            push_hex(&mut out, value);
            assert_eq!(out, format!("{value:016x}").as_bytes());
        }
    }

    #[test]
    fn quoted_escapes() {
        assert_eq!(quoted("a\"b\n"), r#""a\"b\n""#);
    }
}
