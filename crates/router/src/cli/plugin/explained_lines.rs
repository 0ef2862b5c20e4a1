//! Lines of `explain` that are made of parts, each of which may be missing.

use crate::cli::plugin::table::count;
use sgl_api::{OutcomeRecord, RequestFactsRecord};
use sglang_router_rs::types::printable;

/// What the worker counted; nothing if it counted nothing.
pub(crate) fn of_tokens(outcome: &OutcomeRecord) -> String {
    let parts = [
        outcome.prompt_tokens.map(|count| format!("{count} of the prompt")),
        outcome.cached_tokens.map(|count| format!("{count} of them cached")),
        outcome.completion_tokens.map(|count| format!("{count} generated")),
    ];
    line("tokens ", parts)
}

/// What the plugin gave along with its choice; nothing if it gave nothing.
pub(crate) fn of_ticket(head: &str, tag: Option<u64>, cost: Option<f32>) -> String {
    let parts = [tag.map(|tag| format!("tag {tag}")), cost.map(|cost| format!("cost {cost}"))];
    line(head, parts)
}

/// What was known of the request; nothing if nothing was.
pub(crate) fn of_request(request: &RequestFactsRecord) -> String {
    let counted = if request.prompt_tokens_exact == Some(true) { "counted" } else { "estimated" };
    let facts = [
        request.prompt_tokens.map(|tokens| format!("a prompt of {} ({counted})", count(tokens, "token"))),
        request.max_tokens.map(|count| format!("at most {count} generated")),
        request.stream.then(|| "as a stream".to_owned()),
        of_blocks(request.prefix_blocks, request.prefix_block_tokens),
        request.arrival_rate.map(|rate| format!("{rate:.1} requests/s")),
        request.prompt_bytes.map(|bytes| format!("{bytes} bytes of text")),
        request.waited_ms.map(|ms| format!("held for {ms} ms")),
        // Of one that never waited it says nothing of this request: it is the router's setting.
        request.may_wait_ms.filter(|_| request.waited_ms.is_some()).map(|ms| format!("may wait {ms} ms")),
        request.held.map(|count| format!("{count} held in all")),
        (!request.withheld.is_empty())
            .then(|| format!("with {} (not recorded)", printable(&request.withheld.join(" and ")))),
        request.model.as_ref().map(|model| format!("for the model {}", printable(model))),
        request.session.map(|number| format!("of the session {number:016x}")),
        request.client_key.as_ref().map(|name| format!("with the key {}", printable(name))),
    ];
    line("asked  ", facts)
}

/// How much of the prompt was hashed, and how large a block of it is on average.
fn of_blocks(blocks: Option<usize>, tokens: Option<f32>) -> Option<String> {
    let blocks = blocks.map(|blocks| format!("{} hashed", count(blocks, "block")));
    // Whole where the prompt came as tokens, with a fraction where it came as text.
    let tokens = tokens.map(|tokens| format!("{} tokens a block", (tokens * 10.0).round() / 10.0));
    match (blocks, tokens) {
        (Some(blocks), Some(tokens)) => Some(format!("{blocks} ({tokens})")),
        (blocks, tokens) => blocks.or(tokens),
    }
}

/// A line of those parts that are there; nothing if none is.
fn line<const COUNT: usize>(head: &str, parts: [Option<String>; COUNT]) -> String {
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!("{head}  {}\n", parts.join(", ")) }
}
