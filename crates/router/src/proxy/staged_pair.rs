//! A pair whose halves work one after the other: vLLM's, with the parameters of `crate::proxy::kv_transfer`.
//!
//! ```text
//!  prefill worker:  request for one token ──► answer, with where the KV cache lies
//!   decode worker:                                 └──► request with that ──► the client's answer
//! ```
//!
//! Both halves are placed at once, so that the decode worker counts as taken while the prompt is processed.
//! A prefill half that fails is judged as that of any pair, and then nothing was sent to the decode worker. A
//! prompt that was processed is a run of the request, whatever becomes of it at the decode worker: a retry
//! after that is its second run, which processes the prompt again. What the prefill worker has kept for a
//! decode worker that never fetches it, it keeps until a time limit of its own
//! (`VLLM_NIXL_ABORT_REQUEST_TIMEOUT`).

use std::pin::pin;
use std::sync::Arc;

use http::header;
use tokio::time::Instant;

use crate::proxy::attempt::attempt;
use crate::proxy::client_deadlines::GaveUp;
use crate::proxy::clients::Client;
use crate::proxy::culprit::Culprit;
use crate::proxy::form::Attempted;
use crate::proxy::head::Head;
use crate::proxy::kv_transfer::{HalfBodies, params_of};
use crate::proxy::others::Others;
use crate::proxy::outcome::Outcome;
use crate::proxy::patience::Patience;
use crate::proxy::placement::Placement;
use crate::proxy::prefill_guard::MAX_ANSWER_BYTES;
use crate::proxy::proxy_error::ProxyError;
use crate::proxy::retry::{Ending, SecondRun};
use crate::proxy::usage;
use sgl_upstream::AnswerBody;
use sglang_router_rs::core::Worker;

/// Where a prefill worker says that the cache lies.
type Params = Option<Vec<u8>>;

/// A request for a pair that works in stages.
#[derive(Debug)]
pub(crate) struct StagedPair<'a> {
    pub(crate) client: &'a Client,
    pub(crate) head: &'a Head,
    pub(crate) bodies: HalfBodies,
    pub(crate) second: &'a SecondRun,
    pub(crate) others: Others<'a>,
}

impl StagedPair<'_> {
    /// Serves it at both workers.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection to the worker that is at it.
    pub(crate) async fn attempt(&self, prefill: Placement, decode: Placement) -> Attempted {
        let began = Instant::now();
        match self.prefill(prefill).await {
            Ok(params) => {
                let other = Some(Ending::SERVED);
                Attempted { other, ..self.decode(params.as_deref(), decode, began).await }
            }
            Err(outcome) => Attempted { outcome, culprit: Culprit::Prefill, other: None, prefill: None },
        }
    }

    /// Serves it at the decode worker alone, which processes the prompts itself: parameters are those of one
    /// prompt and one choice.
    pub(crate) async fn attempt_alone(&self, decode: Placement) -> Attempted {
        self.decode(None, decode, Instant::now()).await
    }

    /// The prefill half: where the cache lies, or what the attempt came to.
    async fn prefill(&self, placement: Placement) -> Result<Params, Outcome> {
        let mut head = self.head.clone();
        // Its answer is read here.
        head.headers.remove(header::ACCEPT_ENCODING);
        let patience = Patience::of(&head, placement.target().silence());
        let has_other = self.others.than_prefill();
        let body = &self.bodies.prefill;
        let attempted = attempt(self.client, &head, body, placement, patience, self.second, has_other).await;
        let outcome = attempted.unwrap_or_else(|unanswered| unanswered.blamed());
        match outcome {
            Outcome::Answered(answered) if answered.is_served() => {
                let (opening, placement) = answered.into_opening();
                self.read_answer(opening.body, placement, patience).await
            }
            other => Err(other),
        }
    }

    /// Reads the whole answer of the prefill worker, which is short.
    async fn read_answer(
        &self,
        mut body: AnswerBody,
        mut placement: Placement,
        patience: Patience,
    ) -> Result<Params, Outcome> {
        let (target, deaths) = (Arc::clone(placement.target()), placement.deaths());
        let read = {
            let reading = pin!(read_whole(self.client, &mut body));
            self.client.waiting(reading, || target.deaths() != deaths).await
        };
        let broken = |error| Outcome::Failed { error, ending: Ending::BROKEN };
        let answer = match read {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                placement.fail();
                return Err(broken(ProxyError::BrokenAnswer));
            }
            Err(why) => {
                if why != GaveUp::Silent || !patience.between.is_clients {
                    placement.fail();
                }
                return Err(Outcome::given_up(why));
            }
        };
        let Ok(params) = params_of(&answer) else {
            placement.fail();
            let reason = "the prefill worker's answer is no JSON object".to_owned();
            return Err(broken(ProxyError::InvalidAnswer { reason }));
        };
        if params.is_none() {
            let worker = target.worker().url();
            tracing::debug!(
                worker,
                "prefill worker gave no kv_transfer_params: the decode worker begins anew"
            );
        }
        placement.used(usage::in_object(&answer, false).unwrap_or_default());
        placement.complete();
        if let Some(connection) = body.reclaim() {
            target.pool().put(connection);
        }
        Ok(params.map(<[u8]>::to_vec))
    }

    /// The decode half, whose answer is the client's. A client's own limit to the first byte has run since
    /// the request `began`; that of the worker runs from now on.
    async fn decode(&self, params: Option<&[u8]>, placement: Placement, began: Instant) -> Attempted {
        let mut patience = Patience::of(self.head, placement.target().silence());
        patience.first_byte = patience.first_byte.left_after(began.elapsed());
        let has_other = || self.others.than_decode();
        let body = self.bodies.decode(params);
        let attempted =
            attempt(self.client, self.head, &body, placement, patience, self.second, has_other).await;
        let outcome = attempted.unwrap_or_else(|unanswered| unanswered.blamed());
        Attempted { outcome, culprit: Culprit::Decode, other: None, prefill: None }
    }
}

/// Reads to the end; `None` if it breaks off or is too long.
async fn read_whole(client: &Client, body: &mut AnswerBody) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| body.poll_frame(cx)).await {
        client.heard();
        if let Some(piece) = frame.ok()?.data_ref() {
            read.extend_from_slice(piece);
        }
        if read.len() > MAX_ANSWER_BYTES {
            return None;
        }
    }
    Some(read)
}
