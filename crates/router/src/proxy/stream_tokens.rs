//! How many tokens of a stream have come, while it passes by.
//!
//! An event with data counts as one. Where it says itself how many there are (`usage` in each event, as
//! `continuous_usage_stats` has it; `meta_info` of SGLang's `/generate`), that counts instead. It is looked
//! for in whole lines only: of an event that is cut, the next one tells.

use std::sync::LazyLock;

use memchr::memmem::{Finder, FinderRev};
use memchr::{memchr, memrchr};

use crate::proxy::json_end::{member, object};
use crate::proxy::usage::in_object;

/// Longest line that is read. SGLang's `/generate` repeats all of its text in each event, and must not be
/// read again and again.
const MAX_LINE_BYTES: usize = 4 << 10;

/// A line of data that another line comes before.
static NEXT_DATA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\ndata:"));

/// What ends a stream, and is no token.
static DONE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\ndata: [DONE]"));

/// The count. Within a text its quotes have escapes.
static COUNT: LazyLock<FinderRev<'static>> = LazyLock::new(|| FinderRev::new("\"completion_tokens\":"));

/// What a piece of a stream says of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokensCame {
    /// So many more.
    More(u32),
    /// So many in all.
    InAll(u32),
}

/// Counts the tokens of one stream.
#[derive(Debug, Default)]
pub(crate) struct StreamTokens {
    /// Whether it has several choices: events count the tokens of their own then.
    has_choices: bool,
}

impl StreamTokens {
    /// What the next piece says.
    pub(crate) fn look(&mut self, piece: &[u8]) -> TokensCame {
        let told = told_in(piece);
        self.has_choices |= told.as_ref().is_some_and(|told| told.choice > Some(0));
        match told {
            Some(told) if !self.has_choices || told.choice.is_none() => TokensCame::InAll(told.tokens),
            _ => TokensCame::More(events_in(piece)),
        }
    }
}

/// What an event says.
struct TokensTold {
    tokens: u32,
    /// The choice that it is of; `None` if it has none.
    choice: Option<u32>,
}

/// What the last event says that says something.
fn told_in(piece: &[u8]) -> Option<TokensTold> {
    let at = COUNT.rfind(piece)?;
    let begin = memrchr(b'\n', piece.get(..at)?).map_or(0, |end| end + 1);
    let line = piece.get(begin..)?;
    let data = line.get(..memchr(b'\n', line)?)?.strip_prefix(b"data:")?;
    if data.len() > MAX_LINE_BYTES {
        return None;
    }
    let tokens = in_object(data, false)?.completion_tokens?;
    Some(TokensTold { tokens, choice: choice_of(data.trim_ascii()) })
}

fn choice_of(data: &[u8]) -> Option<u32> {
    let first = object(member(data, b"choices")?.strip_prefix(b"[")?)?;
    std::str::from_utf8(member(first, b"index")?).ok()?.parse().ok()
}

/// How many events with data begin in a piece of a stream. Comments are none, and `[DONE]` is not counted.
/// A line that is cut within its name is missed.
pub(crate) fn events_in(piece: &[u8]) -> u32 {
    let first = piece.starts_with(b"data:") && !piece.starts_with(b"data: [DONE]");
    let others = NEXT_DATA.find_iter(piece).count() - DONE.find_iter(piece).count();
    u32::from(first).saturating_add(u32::try_from(others).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_where_they_begin() {
        let token = |number: usize| format!("data: {{\"text\": \"\\ndata: {number}\"}}\n\n");
        let whole: String = (0..5).map(token).collect();
        assert_eq!(events_in(whole.as_bytes()), 5);
        assert_eq!(events_in(token(0).as_bytes()), 1);
        assert_eq!(events_in(b"event: token\r\ndata:{}\r\n\r\n"), 1);
        assert_eq!(events_in(b": keep-alive\n\n"), 0);
        assert_eq!(events_in(b"data: [DONE]\n\n"), 0);
        assert_eq!(events_in(b"data: {}\n\ndata: [DONE]\n\n"), 1);
        assert_eq!(events_in(b""), 0);
        let (begin, end) = whole.as_bytes().split_at(10);
        assert_eq!((events_in(begin), events_in(end)), (1, 4));
    }

    /// An event of a choice, which says that there are so many tokens.
    fn event(choice: u32, tokens: &str) -> String {
        format!(
            "data: {{\"choices\": [{{\"index\": {choice}, \"delta\": {{\"content\": \"x\"}}}}], \
             \"usage\": {{\"prompt_tokens\": 9, \"completion_tokens\": {tokens}}}}}\n\n"
        )
    }

    #[test]
    fn counts_that_events_tell_are_better_than_their_number() {
        let mut tokens = StreamTokens::default();
        let mut look = |piece: &str| tokens.look(piece.as_bytes());
        assert_eq!(look("data: {\"choices\": [{\"index\": 0}], \"usage\": null}\n\n"), TokensCame::More(1));
        assert_eq!(look(&event(0, "4")), TokensCame::InAll(4));
        assert_eq!(look(&(event(0, "5") + &event(0, "8"))), TokensCame::InAll(8));
        assert_eq!(look(&(event(0, "9") + "data: [DONE]\n\n")), TokensCame::InAll(9));
        let quoted = "data: {\"choices\": [{\"index\": 0, \"text\": \"\\\"completion_tokens\\\": 7\"}]}\n\n";
        assert_eq!(look(quoted), TokensCame::More(1));
        let generate =
            "data: {\"text\": \"x\", \"meta_info\": {\"prompt_tokens\": 9, \"completion_tokens\": 3}}\n\n";
        assert_eq!(look(generate), TokensCame::InAll(3));
    }

    #[test]
    fn counts_that_are_cut_too_long_or_no_counts_leave_the_number_of_events() {
        let whole = event(0, "12");
        for cut in 1..whole.len() {
            let (begin, end) = whole.as_bytes().split_at(cut);
            let mut tokens = StreamTokens::default();
            let is_told = begin.ends_with(b"\n");
            let first = if is_told { TokensCame::InAll(12) } else { TokensCame::More(events_in(begin)) };
            assert_eq!(tokens.look(begin), first, "{cut}");
            assert_eq!(tokens.look(end), TokensCame::More(0), "{cut}");
        }
        for nonsense in ["-1", "1.5", "\"3\"", "4294967296", "null", "3, \"completion_tokens\": 4"] {
            assert_eq!(
                StreamTokens::default().look(event(0, nonsense).as_bytes()),
                TokensCame::More(1),
                "{nonsense}"
            );
        }
        let long = whole.replace("\"x\"", &format!("\"{}\"", "x".repeat(MAX_LINE_BYTES)));
        assert_eq!(StreamTokens::default().look(long.as_bytes()), TokensCame::More(1));
    }

    #[test]
    fn choices_count_their_own_tokens_until_the_end_says_it_for_all() {
        let mut tokens = StreamTokens::default();
        let mut look = |piece: &str| tokens.look(piece.as_bytes());
        assert_eq!(look(&event(0, "1")), TokensCame::InAll(1));
        assert_eq!(look(&event(1, "1")), TokensCame::More(1));
        assert_eq!(look(&event(0, "2")), TokensCame::More(1));
        let end = "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 9, \"completion_tokens\": 4}}\n\n";
        assert_eq!(look(end), TokensCame::InAll(4));
    }
}
