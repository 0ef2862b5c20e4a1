//! How much of a request's content a plugin is sent.
//!
//! A prompt may be larger than an instance's memory. The plugin does not fail then: it gets the
//! beginning, and the length of the whole if it asks for that (`prompt_bytes`).

use sgl_policy_abi::{Full, Input, Writer};

use crate::policies::select_worker_info::SelectWorkerInfo;

/// All of it together may take one eighth of an instance's memory. The buffer for a message is a power
/// of two and grows with the messages, so that even the sum of all its sizes fits.
const SHARE: usize = 8;

/// Bytes for texts, tokens and header values of one message.
pub(crate) fn bytes_of(memory_bytes: usize) -> usize {
    memory_bytes / SHARE
}

/// The beginning of a text, to the last character that ends within `limit` bytes.
#[inline]
pub(crate) fn text(text: Option<&str>, limit: usize) -> Option<&str> {
    text.map(|text| {
        if text.len() <= limit {
            text
        } else {
            text.get(..text.floor_char_boundary(limit)).unwrap_or_default()
        }
    })
}

/// The first tokens, `limit` bytes of them at most.
#[inline]
pub(crate) fn tokens(tokens: Option<&[u32]>, limit: usize) -> Option<&[u32]> {
    tokens.map(|tokens| tokens.get(..limit / size_of::<u32>()).unwrap_or(tokens))
}

/// The hashes of the first blocks, `limit` bytes of them at most.
#[inline]
pub(crate) fn hashes(hashes: Option<&[u64]>, limit: usize) -> Option<&[u64]> {
    hashes.map(|hashes| hashes.get(..limit / size_of::<u64>()).unwrap_or(hashes))
}

/// True for an input whose size depends on the request.
pub(crate) fn is_variable(input: &Input) -> bool {
    match input {
        Input::RequestText
        | Input::RequestTokens
        | Input::Session
        | Input::PrefixHashes
        | Input::Model
        | Input::Header(_)
        | Input::ConfigHeader(_)
        | Input::Field(_)
        | Input::Query(_) => true,
        Input::Healthy
        | Input::Excluded
        | Input::Column(_)
        | Input::PrefixMatch
        | Input::PromptBytes
        | Input::PromptTokens
        | Input::PromptTokensExact
        | Input::MaxTokens
        | Input::Stream
        | Input::Route
        | Input::ArrivalRate
        | Input::WaitedMs
        | Input::MayWaitMs
        | Input::Held
        | Input::Leg
        | Input::Random
        | Input::NowNs => false,
    }
}

/// Bytes of an input whose size depends on the request; 0 for all others.
pub(crate) fn len(input: &Input, info: &SelectWorkerInfo<'_>, limit: usize) -> usize {
    match input {
        Input::RequestText => text(info.request_text, limit).map_or(0, str::len),
        Input::RequestTokens => tokens(info.tokens, limit).map_or(0, size_of_val::<[u32]>),
        Input::PrefixHashes => hashes(info.prefix_hashes, limit).map_or(0, size_of_val::<[u64]>),
        Input::Session
        | Input::Model
        | Input::Header(_)
        | Input::ConfigHeader(_)
        | Input::Field(_)
        | Input::Query(_) => text(named(input, info), limit).map_or(0, str::len),
        Input::Healthy
        | Input::Excluded
        | Input::Column(_)
        | Input::PrefixMatch
        | Input::PromptBytes
        | Input::PromptTokens
        | Input::PromptTokensExact
        | Input::MaxTokens
        | Input::Stream
        | Input::Route
        | Input::ArrivalRate
        | Input::WaitedMs
        | Input::MayWaitMs
        | Input::Held
        | Input::Leg
        | Input::Random
        | Input::NowNs => 0,
    }
}

/// Writes an input whose size depends on the request. Kept apart, so that the loop over the others stays
/// small.
#[inline(never)]
pub(crate) fn encode(
    writer: &mut Writer<'_>,
    input: &Input,
    info: &SelectWorkerInfo<'_>,
    limit: usize,
) -> Result<(), Full> {
    match input {
        Input::RequestText => writer.opt_str(text(info.request_text, limit)),
        Input::RequestTokens => {
            encode_numbers(writer, tokens(info.tokens, limit), |token| token.to_le_bytes())
        }
        Input::PrefixHashes => {
            encode_numbers(writer, hashes(info.prefix_hashes, limit), |hash| hash.to_le_bytes())
        }
        Input::Session
        | Input::Model
        | Input::Header(_)
        | Input::ConfigHeader(_)
        | Input::Field(_)
        | Input::Query(_) => writer.opt_str(text(named(input, info), limit)),
        // Written by the caller.
        Input::Healthy
        | Input::Excluded
        | Input::Column(_)
        | Input::PrefixMatch
        | Input::PromptBytes
        | Input::PromptTokens
        | Input::PromptTokensExact
        | Input::MaxTokens
        | Input::Stream
        | Input::Route
        | Input::ArrivalRate
        | Input::WaitedMs
        | Input::MayWaitMs
        | Input::Held
        | Input::Leg
        | Input::Random
        | Input::NowNs => writer.nil(),
    }
}

/// The short text that an input is.
fn named<'a>(input: &Input, info: &SelectWorkerInfo<'a>) -> Option<&'a str> {
    match input {
        Input::Session => info.session,
        Input::Model => info.model,
        Input::Header(name) => info.headers?.header(name),
        Input::Field(pointer) => info.fields?.field(pointer),
        Input::Query(name) => info.query?.parameter(name),
        // A header that the configuration names is a header by now; this one it does not name.
        _ => None,
    }
}

fn encode_numbers<T: Copy, const N: usize>(
    writer: &mut Writer<'_>,
    numbers: Option<&[T]>,
    bytes: fn(T) -> [u8; N],
) -> Result<(), Full> {
    let Some(numbers) = numbers else { return writer.nil() };
    let out = writer.bin(size_of_val(numbers))?;
    for (out, number) in out.chunks_exact_mut(N).zip(numbers) {
        out.copy_from_slice(&bytes(*number));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters_and_tokens_between_tokens() {
        assert_eq!(text(None, 0), None);
        assert_eq!(text(Some("ab\u{20ac}"), 5), Some("ab\u{20ac}"));
        assert_eq!(text(Some("ab\u{20ac}"), 4), Some("ab"));
        assert_eq!(tokens(Some(&[1, 2, 3]), 11), Some(&[1, 2][..]));
        assert_eq!(tokens(Some(&[1, 2, 3]), 12), Some(&[1, 2, 3][..]));
        assert_eq!(hashes(Some(&[1, 2, 3]), 23), Some(&[1, 2][..]));
        assert_eq!(hashes(Some(&[1, 2, 3]), 24), Some(&[1, 2, 3][..]));
    }
}
