//! Forms with fields and files (`multipart/form-data`, RFC 7578): the value of one field, found without
//! reading what the files are.

use http::{HeaderMap, HeaderValue, header};
use memchr::memmem::{self, Finder};

/// Longest head of a part that is read.
const MAX_HEAD_BYTES: usize = 4096;

/// Longest value that is taken.
const MAX_VALUE_BYTES: usize = 256;

/// Longest delimiter (RFC 2046, section 5.1.1).
const MAX_BOUNDARY_BYTES: usize = 70;

/// What stands between the parts of a form, if a body is one by its head.
pub(crate) fn boundary(headers: &HeaderMap) -> Option<Box<[u8]>> {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes)?;
    let mut parameters = kind.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    if !parameters.next()?.eq_ignore_ascii_case(b"multipart/form-data") {
        return None;
    }
    let value = parameters.find_map(|parameter| value_of(parameter, b"boundary"))?;
    let value = unquoted(value);
    (1..=MAX_BOUNDARY_BYTES).contains(&value.len()).then(|| [b"--", value].concat().into())
}

/// The value of the field of this name in a form whose parts are delimited so; the last of several. `None`
/// if there is none, or it is no short text.
pub(crate) fn field<'a>(body: &'a [u8], boundary: &[u8], name: &str) -> Option<&'a str> {
    let delimiter = Finder::new(boundary);
    let mut found = None;
    let mut rest = body.get(delimiter.find(body)? + boundary.len()..)?;
    // The last delimiter has two dashes behind it, and no head.
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let end = delimiter.find(part)?;
        let content = part.get(..end)?.strip_suffix(b"\r\n");
        if let Some(value) = content.and_then(|content| value_if_named(content, name)) {
            found = value;
        }
        rest = part.get(end + boundary.len()..)?;
    }
    found
}

/// The value of a part, if it has this name; nothing in that if it is no short text.
fn value_if_named<'a>(part: &'a [u8], name: &str) -> Option<Option<&'a str>> {
    let head_end = memmem::find(part.get(..part.len().min(MAX_HEAD_BYTES))?, b"\r\n\r\n")?;
    let head = part.get(..head_end)?;
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let disposition = lines.find_map(|line| {
        let (known, value) = line.split_at_checked(b"content-disposition:".len())?;
        known.eq_ignore_ascii_case(b"content-disposition:").then_some(value)
    })?;
    let named = disposition.split(|byte| *byte == b';').find_map(|part| value_of(part.trim_ascii(), b"name"));
    if unquoted(named?) != name.as_bytes() {
        return None;
    }
    let value = part.get(head_end + 4..)?;
    Some(std::str::from_utf8(value).ok().filter(|value| value.len() <= MAX_VALUE_BYTES))
}

/// What follows `name=`, in whatever case the name is.
fn value_of<'a>(parameter: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (known, value) = parameter.split_at_checked(name.len())?;
    known.eq_ignore_ascii_case(name).then(|| value.strip_prefix(b"="))?
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boundary_of(kind: &'static str) -> Option<String> {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
        boundary(&headers).map(|bytes| String::from_utf8(bytes.into()).unwrap())
    }

    #[test]
    fn boundary_is_read_from_forms_only() {
        assert_eq!(boundary_of("multipart/form-data; boundary=abc").as_deref(), Some("--abc"));
        assert_eq!(boundary_of("Multipart/Form-Data;charset=x; Boundary=\"a b\"").as_deref(), Some("--a b"));
        for other in ["multipart/form-data", "multipart/mixed; boundary=a", "application/json", ""] {
            assert_eq!(boundary_of(other), None, "{other}");
        }
        assert_eq!(boundary_of("multipart/form-data; boundary="), None);
    }

    #[test]
    fn field_is_found_before_and_behind_files_whatever_these_hold() {
        let file = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model\"\r\n\
                    Content-Type: audio/wav\r\n\r\n\u{0}\u{1}name=\"model\"\r\n\r\nfake\r\n";
        let model = "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n";
        for body in [format!("{model}{file}--b--\r\n"), format!("preamble\r\n{file}{model}--b--")] {
            assert_eq!(field(body.as_bytes(), b"--b", "model"), Some("whisper"));
            assert_eq!(field(body.as_bytes(), b"--b", "language"), None);
            for end in 0..body.len() {
                let _ = field(&body.as_bytes()[..end], b"--b", "model");
            }
        }
        let long =
            format!("--b\r\ncontent-disposition: form-data; name=model\r\n\r\n{}\r\n--b--", "x".repeat(300));
        assert_eq!(field(long.as_bytes(), b"--b", "model"), None);
        let twice = format!("{model}{}--b--", model.replace("whisper", "other"));
        assert_eq!(field(twice.as_bytes(), b"--b", "model"), Some("other"));
    }
}
