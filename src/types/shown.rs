//! Texts that nobody vouches for, as an operator may see them.

/// Characters that are shown of such a text.
const MAX_SHOWN: usize = 300;

/// A text out of a module or a guest, fit for an error message and a terminal: what cannot be
/// printed is escaped, and a long text is cut.
pub fn shown(text: &str) -> String {
    let mut chars = text.chars();
    let mut shown = String::new();
    for c in chars.by_ref().take(MAX_SHOWN) {
        match c {
            // Printable, though `escape_debug` escapes them.
            '"' | '\'' | '\\' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn long_text_is_cut() {
        let text = shown(&"x".repeat(10_000));
        assert_eq!(text.chars().count(), MAX_SHOWN + 1);
        assert!(text.ends_with('…'));
    }
}
