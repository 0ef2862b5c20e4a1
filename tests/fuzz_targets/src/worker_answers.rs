//! What a worker's answer says of its tokens.

use serde_json::Value;
use sgl_router::internals::{BodyForm, TokenUsage, UsageTail};

/// The body of an answer. The first byte says what it is made of and how it is cut.
pub fn worker_answers(bytes: &[u8]) {
    let Some((mode, body)) = bytes.split_first() else { return };
    let form = if mode % 2 == 0 { BodyForm::Json } else { BodyForm::Events };
    let told = read(form, body.chunks(body.len().max(1)));
    assert_eq!(read(form, body.chunks(usize::from(mode / 2) + 1)), told, "however it is cut");
    if form == BodyForm::Json {
        check(body, told);
        // The same as the only event of a stream, if it is one line.
        if !body.iter().any(|byte| b"\r\n".contains(byte)) && told != TokenUsage::default() {
            let stream = [b"data: ", body, b"\n\ndata: [DONE]\n\n"].concat();
            assert_eq!(read(BodyForm::Events, stream.chunks(1000)), told);
        }
    }
}

fn read<'a>(form: BodyForm, pieces: impl Iterator<Item = &'a [u8]>) -> TokenUsage {
    let mut tail = UsageTail::new(form);
    pieces.for_each(|piece| tail.look(piece));
    tail.read()
}

/// What is known of a short body is what everybody else would read there.
fn check(body: &[u8], told: TokenUsage) {
    // An escaped name is none that is looked for; a whole parse would find it.
    let is_escaped = body.windows(2).any(|pair| pair == b"\\u");
    if told == TokenUsage::default() || body.len() > 16 << 10 || is_escaped {
        return;
    }
    // What is JSON for those who skip it, but not for those who read it: huge numbers, deep nesting.
    let Ok(whole) = serde_json::from_slice::<Value>(body) else { return };
    let [usage, meta_info] = ["usage", "meta_info"].map(|name| &whole[name]);
    let (counts, cached) =
        if usage.is_object() { (usage, &usage["prompt_tokens_details"]) } else { (meta_info, meta_info) };
    for (told, counts, name) in [
        (told.prompt_tokens, counts, "prompt_tokens"),
        (told.completion_tokens, counts, "completion_tokens"),
        (told.cached_tokens, cached, "cached_tokens"),
    ] {
        if let Some(told) = told {
            assert_eq!(counts[name].as_u64(), Some(u64::from(told)), "{name}");
        }
    }
}
