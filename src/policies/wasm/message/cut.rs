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

/// The content of an input whose size depends on the request, as far as it is sent.
enum SentContent<'a> {
    Text(Option<&'a str>),
    Tokens(Option<&'a [u32]>),
    Hashes(Option<&'a [u64]>),
}

/// What such an input says of a request, `limit` bytes of it at most; `None` for all others.
fn content<'a>(input: &Input, info: &SelectWorkerInfo<'a>, limit: usize) -> Option<SentContent<'a>> {
    let short = |whole| Some(SentContent::Text(text(whole, limit)));
    match input {
        Input::RequestText => short(info.request_text),
        Input::Session => short(info.session),
        Input::ClientKey => short(info.client_key),
        Input::Model => short(info.model),
        Input::Header(name) => short(info.headers.and_then(|headers| headers.header(name))),
        // A header that the configuration names is a header by now; this one it does not name.
        Input::ConfigHeader(_) => short(None),
        Input::Field(pointer) => short(info.fields.and_then(|fields| fields.field(pointer))),
        Input::Query(name) => short(info.query.and_then(|query| query.parameter(name))),
        Input::RequestTokens => Some(SentContent::Tokens(tokens(info.tokens, limit))),
        Input::PrefixHashes => Some(SentContent::Hashes(hashes(info.prefix_hashes, limit))),
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
        | Input::NowNs => None,
    }
}

/// True for an input whose size depends on the request.
pub(crate) fn is_variable(input: &Input) -> bool {
    content(input, &SelectWorkerInfo::NOTHING, 0).is_some()
}

/// Bytes of an input whose size depends on the request; 0 for all others.
pub(crate) fn len(input: &Input, info: &SelectWorkerInfo<'_>, limit: usize) -> usize {
    match content(input, info, limit) {
        Some(SentContent::Text(text)) => text.map_or(0, str::len),
        Some(SentContent::Tokens(tokens)) => tokens.map_or(0, size_of_val::<[u32]>),
        Some(SentContent::Hashes(hashes)) => hashes.map_or(0, size_of_val::<[u64]>),
        None => 0,
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
    match content(input, info, limit) {
        Some(SentContent::Text(text)) => writer.opt_str(text),
        Some(SentContent::Tokens(tokens)) => encode_numbers(writer, tokens, u32::to_le_bytes),
        Some(SentContent::Hashes(hashes)) => encode_numbers(writer, hashes, u64::to_le_bytes),
        // Written by the caller.
        None => writer.nil(),
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
