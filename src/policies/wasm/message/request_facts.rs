//! The inputs that are one small fact of the request.

use sgl_policy_abi::{Full, Input, Writer};

use crate::policies::select_worker_info::SelectWorkerInfo;
use crate::policies::wasm::message::cut;

/// Longest path of an endpoint.
pub(crate) const MAX_ROUTE_BYTES: usize = 64;

/// Writes such an input; nil for any other. Kept apart, so that the loop over the inputs stays small.
#[inline(never)]
pub(crate) fn encode(
    writer: &mut Writer<'_>,
    input: &Input,
    info: &SelectWorkerInfo<'_>,
) -> Result<(), Full> {
    let tokens = info.prompt_tokens.unwrap_or_default();
    match input {
        Input::PromptTokens => writer.uint(u64::from(tokens.count)),
        Input::PromptTokensExact => writer.uint(u64::from(tokens.exact)),
        Input::MaxTokens => match info.max_tokens {
            Some(count) => writer.uint(count),
            None => writer.nil(),
        },
        Input::Stream => writer.uint(u64::from(info.stream)),
        Input::Route => writer.opt_str(cut::text(info.route, MAX_ROUTE_BYTES)),
        Input::ArrivalRate => writer.f32(info.arrival_rate.unwrap_or(f32::NAN)),
        _ => writer.nil(),
    }
}
