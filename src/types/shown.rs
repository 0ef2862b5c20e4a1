//! Texts that nobody vouches for, as an operator may see them.

use std::path::Path;

/// Characters that are shown of such a text.
const MAX_SHOWN: usize = 300;

/// A text out of a module or a guest, fit for an error message and a terminal: what cannot be
/// printed is escaped, and a long text is cut.
pub fn shown(text: &str) -> String {
    let whole = text.chars().nth(MAX_SHOWN).is_none();
    let mut shown = escaped(text.chars().take(MAX_SHOWN));
    if !whole {
        shown.push('…');
    }
    shown
}

/// A text of bounded length, fit for a listing: what cannot be printed is escaped. That is what
/// controls a terminal, ends a line, changes the direction of writing, or shows nothing at all.
pub fn printable(text: &str) -> String {
    escaped(text.chars())
}

/// A path as an operator may see it: a name cannot look like lines of a log or of a terminal. It is
/// whole, since the system bounds how long a path is.
pub fn shown_path(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// A text of several lines, each fit for a terminal.
pub fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

fn escaped(chars: impl Iterator<Item = char>) -> String {
    let mut escaped = String::new();
    for c in chars {
        match c {
            // Printable, though `escape_debug` escapes them.
            '"' | '\'' | '\\' => escaped.push(c),
            _ => escaped.extend(c.escape_debug()),
        }
    }
    escaped
}

/// A number, short whatever it is.
pub fn shown_number(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 || (1e-6..1e15).contains(&size) { number.to_string() } else { format!("{number:e}") }
}

/// An error with what caused it, in one line. A cause that a text ends with is not told twice.
pub fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_is_short_whatever_it_is() {
        for (number, text) in [
            (0.0, "0"),
            (-1.5, "-1.5"),
            (1e12, "1000000000000"),
            (1e300, "1e300"),
            (-2.5e-9, "-2.5e-9"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(shown_number(number), text);
        }
    }

    #[test]
    fn printable_text_is_shown_as_it_is() {
        let text = "import `env.f`: \"é\" 'x' \\ 中";
        assert_eq!(shown(text), text);
    }

    #[test]
    fn what_cannot_be_printed_is_escaped() {
        assert_eq!(shown("a\u{1b}[2J\n\u{202e}b"), r"a\u{1b}[2J\n\u{202e}b");
    }

    #[test]
    fn every_control_of_format_direction_and_line_is_escaped() {
        let of = |range: std::ops::RangeInclusive<char>| range;
        let ranges = [
            of('\u{0}'..='\u{1f}'),
            of('\u{7f}'..='\u{9f}'),
            of('\u{ad}'..='\u{ad}'),
            of('\u{61c}'..='\u{61c}'),
            of('\u{200b}'..='\u{200f}'),
            of('\u{2028}'..='\u{202e}'),
            of('\u{2060}'..='\u{2069}'),
            of('\u{feff}'..='\u{feff}'),
            of('\u{e0001}'..='\u{e007f}'),
        ];
        for c in ranges.into_iter().flatten() {
            let text = printable(&c.to_string());
            assert!(text.starts_with('\\') && text.is_ascii(), "{:x} is shown as {text:?}", u32::from(c));
        }
    }

    #[test]
    fn path_is_one_line_and_whole() {
        let long = "x".repeat(2 * MAX_SHOWN);
        let path = Path::new("x\nok\u{202e}.wasm").join(&long);
        assert_eq!(shown_path(&path), format!(r"x\nok\u{{202e}}.wasm/{long}"));
    }

    #[test]
    fn lines_stay_lines_and_nothing_else_does() {
        assert_eq!(printable_lines("two\nlines\r\u{202e}\n"), "two\nlines\\r\\u{202e}\n");
    }

    #[test]
    fn cause_that_a_text_tells_itself_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read: {0}")]
        struct Told(#[source] std::io::Error);
        assert_eq!(in_full(&Told(std::io::Error::other("gone"))), "cannot read: gone");
    }

    #[test]
    fn long_text_is_cut() {
        let text = shown(&"x".repeat(10_000));
        assert_eq!(text.chars().count(), MAX_SHOWN + 1);
        assert!(text.ends_with('…'));
    }
}
