//! A reader of JSON that takes what engines take, and a little more.
//!
//! Python's `json`, which stands before most engines, takes `NaN`, halves of surrogate pairs, any
//! depth and a byte order mark; clients written in it send them. A body is the worker's to refuse,
//! so nothing here is stricter than it must be to find where a value ends: a value that is read as
//! something else than it is costs that value only. One pass, no recursion, no tree.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// What some editors and clients put before a text.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Bytes of a text that may stand for true; those of longer ones do not.
const MAX_TRUTH_BYTES: usize = 8;

/// The structure is broken, so that nothing after it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no JSON object: unexpected at byte {at}")]
pub struct Broken {
    /// Where, from 0.
    pub at: usize,
}

/// A place in a JSON text.
#[derive(Clone, Debug)]
pub(crate) struct Json<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Json<'a> {
    /// The beginning of a text.
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self { body, at: if body.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 } }
    }

    /// The first byte of what comes next: which kind of value it is.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        let rest = self.rest();
        self.at += rest.iter().take_while(|byte| is_space(**byte)).count();
        self.body.get(self.at).copied()
    }

    /// Passes over one value, whatever it is.
    pub(crate) fn skip(&mut self) -> Result<(), Broken> {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                Some(b'"') => drop(self.string()?),
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                }
                Some(b'}' | b']') if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                Some(b',' | b':') if depth > 0 => self.at += 1,
                _ => drop(self.word()?),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// Passes over one value, and gives it as it is written.
    pub(crate) fn raw(&mut self) -> Result<&'a [u8], Broken> {
        self.peek();
        let start = self.at;
        self.skip()?;
        Ok(self.body.get(start..self.at).unwrap_or_default())
    }

    /// Reads a list, whose items `item` has to read.
    pub(crate) fn list(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        self.expect(b'[')?;
        let mut is_over = self.takes(b']');
        while !is_over {
            item(self)?;
            is_over = self.takes(b']');
            if !is_over {
                self.expect(b',')?;
            }
        }
        Ok(())
    }

    /// Reads an object, whose values `field` has to read.
    pub(crate) fn object(
        &mut self,
        mut field: impl FnMut(&str, &mut Self) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        self.expect(b'{')?;
        let mut is_over = self.takes(b'}');
        while !is_over {
            let key = self.string()?.text(usize::MAX).0;
            self.expect(b':')?;
            field(&key, self)?;
            is_over = self.takes(b'}');
            if !is_over {
                self.expect(b',')?;
            }
        }
        Ok(())
    }

    /// Reads a string.
    pub(crate) fn string(&mut self) -> Result<Quoted<'a>, Broken> {
        self.expect(b'"')?;
        let start = self.at;
        let mut has_escapes = false;
        loop {
            let next = memchr2(b'"', b'\\', self.rest()).ok_or(Broken { at: self.body.len() })?;
            self.at += next;
            if self.body.get(self.at) == Some(&b'"') {
                break;
            }
            has_escapes = true;
            self.at += 2;
        }
        let inside = self.body.get(start..self.at).unwrap_or_default();
        self.at += 1;
        Ok(Quoted { inside, has_escapes })
    }

    /// True for `true`, and for what engines take for it.
    pub(crate) fn truth(&mut self) -> Result<bool, Broken> {
        match self.peek() {
            Some(b'"') => {
                let (text, _) = self.string()?.text(MAX_TRUTH_BYTES);
                Ok(text.eq_ignore_ascii_case("true") || text == "1")
            }
            Some(b'{' | b'[') => self.skip().map(|()| false),
            _ => self.word().map(|word| word == b"true" || word == b"1"),
        }
    }

    /// Reads a number, a literal, or what is none of them but stands where they do.
    pub(crate) fn word(&mut self) -> Result<&'a [u8], Broken> {
        self.peek();
        let rest = self.rest();
        let length = rest.iter().take_while(|byte| !is_space(**byte) && !b",:\"[]{}".contains(byte)).count();
        if length == 0 {
            return Err(Broken { at: self.at });
        }
        self.at += length;
        Ok(rest.get(..length).unwrap_or_default())
    }

    /// Reads a value as a whole number, in the forms that engines take it in: `2`, `2.0`, `2e0`,
    /// `"2"`. `None` if it is something else.
    pub(crate) fn count(&mut self) -> Result<Option<u64>, Broken> {
        match self.peek() {
            Some(b'"') => Ok(whole_number(self.string()?.text(MAX_DIGITS).0.trim().as_bytes())),
            Some(b'{' | b'[') => self.skip().map(|()| None),
            _ => self.word().map(whole_number),
        }
    }

    /// Nothing follows but space.
    pub(crate) fn end(&mut self) -> Result<(), Broken> {
        if self.peek().is_some() { Err(Broken { at: self.at }) } else { Ok(()) }
    }

    fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result<(), Broken> {
        if self.takes(byte) { Ok(()) } else { Err(Broken { at: self.at }) }
    }

    fn rest(&self) -> &'a [u8] {
        self.body.get(self.at..).unwrap_or_default()
    }
}

/// Longer numbers are no counts.
const MAX_DIGITS: usize = 64;

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn whole_number(word: &[u8]) -> Option<u64> {
    let word = std::str::from_utf8(word.get(..MAX_DIGITS).unwrap_or(word)).ok()?;
    if let Ok(number) = word.parse() {
        return Some(number);
    }
    let number: f64 = word.parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole and not negative"
    )]
    (number >= 0.0 && number.fract() == 0.0).then_some(number as u64)
}

/// A string between its quotation marks, as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quoted<'a> {
    inside: &'a [u8],
    has_escapes: bool,
}

impl<'a> Quoted<'a> {
    /// The text, cut at a character after at most `limit` bytes, and how many bytes there are in
    /// all. Borrowed unless there are escapes. What is no character becomes U+FFFD.
    pub(crate) fn text(self, limit: usize) -> (Cow<'a, str>, usize) {
        if !self.has_escapes {
            let cut = self.inside.get(..limit).unwrap_or(self.inside);
            let is_cut = cut.len() < self.inside.len();
            match std::str::from_utf8(cut) {
                Ok(text) => return (Cow::Borrowed(text), self.inside.len()),
                // A character that the cut goes through.
                Err(error) if is_cut && error.error_len().is_none() => {
                    let text = std::str::from_utf8(cut.get(..error.valid_up_to()).unwrap_or_default());
                    return (Cow::Borrowed(text.unwrap_or_default()), self.inside.len());
                }
                Err(_) => {}
            }
        }
        let mut text = String::with_capacity(self.inside.len().min(limit));
        let whole = self.write(&mut text, limit);
        (Cow::Owned(text), whole)
    }

    /// Appends the text, until `into` would be longer than `limit`; tells its length in all.
    pub(crate) fn write(self, into: &mut String, limit: usize) -> usize {
        let mut whole = 0;
        let mut is_cut = false;
        self.pieces(|piece| {
            whole += piece.len();
            if is_cut {
                return;
            }
            let end = piece.floor_char_boundary(limit.saturating_sub(into.len()));
            is_cut = end < piece.len();
            into.push_str(piece.get(..end).unwrap_or_default());
        });
        whole
    }

    /// Gives the text piece by piece, and keeps nothing of it.
    pub(crate) fn pieces(self, mut add: impl FnMut(&str)) {
        let mut rest = self.inside;
        while !rest.is_empty() {
            let plain = if self.has_escapes { memchr(b'\\', rest).unwrap_or(rest.len()) } else { rest.len() };
            let (run, escaped) = rest.split_at(plain);
            match std::str::from_utf8(run) {
                Ok("") => {}
                Ok(text) => add(text),
                // Byte by byte: ten times slower.
                Err(_) => run.utf8_chunks().for_each(|chunk| {
                    add(chunk.valid());
                    if !chunk.invalid().is_empty() {
                        add("\u{fffd}");
                    }
                }),
            }
            let (letter, after) = unescape(escaped);
            if !escaped.is_empty() {
                add(letter.encode_utf8(&mut [0; 4]));
            }
            rest = after;
        }
    }
}

/// The character that an escape at the beginning of `text` stands for, and what is after it.
fn unescape(text: &[u8]) -> (char, &[u8]) {
    let after = text.get(2..).unwrap_or_default();
    let letter = match text.get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unescape_unit(after),
        Some(byte) if byte.is_ascii() => char::from(*byte),
        // An escape that is none: the letter after it is left where it is.
        _ => return (char::REPLACEMENT_CHARACTER, text.get(1..).unwrap_or_default()),
    };
    (letter, after)
}

/// The character of one UTF-16 unit, or of a pair of them; half a pair is U+FFFD.
fn unescape_unit(text: &[u8]) -> (char, &[u8]) {
    let Some(first) = unit(text) else { return (char::REPLACEMENT_CHARACTER, text) };
    let after = text.get(4..).unwrap_or_default();
    let second = after.strip_prefix(b"\\u").and_then(unit);
    let units = [first, second.unwrap_or_default()];
    match char::decode_utf16(units).next() {
        Some(Ok(letter)) if letter.len_utf16() == 2 => (letter, after.get(6..).unwrap_or_default()),
        Some(Ok(letter)) => (letter, after),
        _ => (char::REPLACEMENT_CHARACTER, after),
    }
}

fn unit(text: &[u8]) -> Option<u16> {
    let digits = text.get(..4).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> String {
        Json::new(json.as_bytes()).string().unwrap().text(usize::MAX).0.into_owned()
    }

    #[test]
    fn escapes_are_read_and_halves_of_characters_replaced() {
        for (json, expected) in [
            (r#""a\"\\\/\b\f\n\r\t""#, "a\"\\/\u{8}\u{c}\n\r\t"),
            (r#""\u00e9\ud83d\ude00!""#, "\u{e9}\u{1f600}!"),
            (r#""\ud83d""#, "\u{fffd}"),
            (r#""\ud83dx\ude00""#, "\u{fffd}x\u{fffd}"),
            (r#""\ud83d\u0041""#, "\u{fffd}A"),
            (r#""\u12""#, "\u{fffd}12"),
        ] {
            assert_eq!(text(json), expected, "{json}");
        }
    }

    #[test]
    fn text_is_cut_between_characters_and_tells_its_whole_length() {
        for json in ["\"ab\u{20ac}cd\"", r#""ab\u20accd""#] {
            let quoted = Json::new(json.as_bytes()).string().unwrap();
            for (limit, expected) in [(0, ""), (2, "ab"), (4, "ab"), (5, "ab\u{20ac}"), (99, "ab\u{20ac}cd")]
            {
                assert_eq!(quoted.text(limit), (Cow::Borrowed(expected), 7), "{json} {limit}");
            }
        }
    }

    #[test]
    fn raw_value_is_what_the_text_has_there() {
        let mut json = Json::new(br#" {"a": [1, "]}"] } x"#);
        assert_eq!(json.raw(), Ok(&br#"{"a": [1, "]}"] }"#[..]));
        assert_eq!(json.raw(), Ok(&b"x"[..]));
        assert_eq!(Json::new(b" [1").raw(), Err(Broken { at: 3 }));
    }

    #[test]
    fn counts_are_read_in_every_form_that_engines_take() {
        for json in ["2", "2.0", "2e0", "0.2e1", "\"2\"", " 2 "] {
            assert_eq!(Json::new(json.as_bytes()).count(), Ok(Some(2)), "{json}");
        }
        for json in ["-1", "1.5", "NaN", "Infinity", "null", "[2]", "{}", "\"x\"", "true"] {
            assert_eq!(Json::new(json.as_bytes()).count(), Ok(None), "{json}");
        }
    }
}
