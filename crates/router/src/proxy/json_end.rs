//! Members of a JSON object of which perhaps only the end is there.
//!
//! The end of an answer's body is all that is kept of it. It is read from behind: where it ends nothing
//! is open, so what lies before is known; forwards, from the middle of a text, nothing would be.

use memchr::memrchr;
use serde::de::IgnoredAny;

/// Where the object that a text ends with begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begins {
    /// With the text.
    Here,
    /// Before the text.
    Before,
    /// Within the text: something else comes before it, or the text ends with no object.
    Elsewhere,
}

/// A member of an object.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum FoundMember<'t> {
    #[default]
    Absent,
    Once(&'t [u8]),
    /// Which of them counts is anybody's guess.
    Twice,
}

/// The object that a text begins with.
pub(crate) fn object(text: &[u8]) -> Option<&[u8]> {
    value(text).filter(|value| value.starts_with(b"{"))
}

/// The value that a text begins with, without the blanks around it.
fn value(text: &[u8]) -> Option<&[u8]> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    Some(text.get(..values.byte_offset())?.trim_ascii())
}

/// The value of the only member of that name.
pub(crate) fn member<'t>(object: &'t [u8], name: &[u8]) -> Option<&'t [u8]> {
    let mut found = FoundMember::default();
    let begins = walk(object, |depth, known, rest| {
        if depth == 1 && known == name {
            found.add(rest);
        }
    });
    match found {
        FoundMember::Once(rest) if begins == Begins::Here => value(rest),
        _ => None,
    }
}

impl<'t> FoundMember<'t> {
    pub(crate) fn add(&mut self, rest: &'t [u8]) {
        *self = if matches!(self, Self::Absent) { Self::Once(rest) } else { Self::Twice };
    }
}

/// Walks backwards through the object that the text ends with, and gives the name of each
/// member, its own ones at depth 1, with what follows the colon. Behind the end nothing is open, so each quote that is met there
/// ends a text, and what lies before it is known: forwards, from the middle of a text, nothing would be.
pub(crate) fn walk<'t>(text: &'t [u8], mut on_member: impl FnMut(usize, &'t [u8], &'t [u8])) -> Begins {
    let text = text.trim_ascii_end();
    if !text.ends_with(b"}") {
        return Begins::Elsewhere;
    }
    let mut depth = 0_usize;
    let mut before = text;
    while let Some((byte, rest)) = before.split_last() {
        let end = rest.len();
        before = rest;
        match byte {
            b'}' | b']' => depth += 1,
            b'{' | b'[' => depth -= 1,
            b'"' => {
                let Some(opening) = opening_quote(rest) else { return Begins::Before };
                before = text.get(..opening).unwrap_or_default();
                let name = text.get(opening + 1..end).unwrap_or_default();
                let after = text.get(end + 1..).unwrap_or_default().trim_ascii_start();
                if let Some(rest) = after.strip_prefix(b":") {
                    on_member(depth, name, rest);
                }
            }
            _ => {}
        }
        if depth == 0 {
            return if before.trim_ascii().is_empty() { Begins::Here } else { Begins::Elsewhere };
        }
    }
    Begins::Before
}

/// Where the text begins whose end comes right behind `before`.
fn opening_quote(before: &[u8]) -> Option<usize> {
    let mut end = before.len();
    loop {
        let quote = memrchr(b'"', before.get(..end)?)?;
        let escapes = before.get(..quote)?.iter().rev().take_while(|byte| **byte == b'\\').count();
        // Escapes that go back to the beginning may go on before it.
        if escapes % 2 == 0 && escapes < quote {
            return Some(quote);
        }
        end = quote;
    }
}
