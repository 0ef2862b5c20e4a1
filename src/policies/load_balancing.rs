//! The interface that every policy has.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::core::table::WorkerTable;
use crate::core::worker::Worker;
use crate::policies::decision::{Chooser, DecideError, Decision, PairDecision};
use crate::policies::fleet_needs::FleetNeeds;
use crate::policies::select_worker_info::{RequestNeeds, SelectWorkerInfo};
use crate::policies::wanted_names::WantedNames;
use crate::types::future::BoxFuture;

/// A finished request, for the policy that placed it. [`RequestCompletion::new`] makes one of which
/// nothing is known, for `..` in a literal.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestCompletion {
    /// URL of the worker that served it.
    pub worker_url: String,
    /// Who chose the worker.
    pub chooser: Chooser,
    /// True if the worker answered without an error, or refused the request as faulty before it sent any
    /// of an answer.
    pub success: bool,
    /// False if the outcome says nothing about the choice: the client went away, or the worker had no
    /// room. It then counts neither for nor against a canary. A plugin hears of it all the same, as of a
    /// request without success.
    pub judged: bool,
    /// Status of the worker's answer, or the code of the error that its stream told of; 502 if there was
    /// no answer or it broke off. `None` if the client went away before the end, or nobody knows.
    pub status: Option<u16>,
    /// Time to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// Time to the last byte.
    pub total: Duration,
    /// Tokens of the prompt, if known.
    pub prompt_tokens: Option<u32>,
    /// Tokens that were generated, if known.
    pub completion_tokens: Option<u32>,
    /// Tokens of the prompt that the worker had in its cache, if known.
    pub cached_tokens: Option<u32>,
    /// The tag that the policy gave with its answer.
    pub tag: Option<u64>,
}

impl RequestCompletion {
    /// A request to the worker at this URL that came to no good end, and of which nothing else is known.
    pub fn new(worker_url: impl Into<String>, chooser: Chooser) -> Self {
        Self {
            worker_url: worker_url.into(),
            chooser,
            success: false,
            judged: false,
            status: None,
            first_byte: None,
            total: Duration::ZERO,
            prompt_tokens: None,
            completion_tokens: None,
            cached_tokens: None,
            tag: None,
        }
    }
}

/// A streamed answer that has begun, for the policy that placed its request.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestFirstToken {
    /// URL of the worker that serves it.
    pub worker_url: String,
    /// Who chose the worker.
    pub chooser: Chooser,
    /// Time since the request was sent to the worker.
    pub after: Duration,
    /// The tag that the policy gave with its answer.
    pub tag: Option<u64>,
}

/// What a policy wants to hear of the requests that it placed. Nothing else is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutcomeNeeds {
    /// That a streamed answer has begun.
    pub first_tokens: bool,
    /// That a request has finished.
    pub completions: bool,
    /// The token counts that the worker gives with its answer.
    pub usage: bool,
    /// The same, of as many answers as it takes to learn how many tokens a text has.
    pub lessons: bool,
}

/// Something that picks a worker.
///
/// Everything comes in two forms: over a slice of [`Worker`]s, as SGLang's router calls its policies,
/// and over the router's own [`WorkerTable`], which is faster. In the slice form
/// [`select_worker`](Self::select_worker) returns a bare index, and its caller counts the request; all
/// others return a [`Decision`] that counts it from the moment of the choice.
///
/// Asynchronous methods return boxed futures here so that the trait stays object-safe;
/// [`crate::policies::PolicyHandle`] has those over a table without the box.
pub trait LoadBalancingPolicy: Send + Sync + fmt::Debug {
    /// The name in the configuration.
    fn name(&self) -> &str;

    /// What it needs to know of a request's body. Default: nothing.
    fn needs(&self) -> RequestNeeds {
        RequestNeeds::default()
    }

    /// Which fields of the body and parameters of the URL it wants; asked if [`needs`](Self::needs) says
    /// that there are any. Default: none.
    fn wanted_names(&self) -> Option<Arc<WantedNames>> {
        None
    }

    /// What it, or one that may take its place at any moment, reads of workers. Asked now and then, not for a
    /// request. Default: prefixes if it [`needs`](Self::needs) to know what workers hold, and reports.
    fn fleet_needs(&self) -> FleetNeeds {
        FleetNeeds { prefixes: self.needs().prefix_match, reports: true }
    }

    /// The index of the chosen worker in `workers`, or `None` if none may be chosen. Blocks for at most
    /// the policy's budget.
    ///
    /// On a thread of an asynchronous runtime use the asynchronous form: this one may wait for something
    /// that a task of the blocked thread has to do.
    fn select_worker(&self, workers: &[Arc<dyn Worker>], info: &SelectWorkerInfo<'_>) -> Option<usize>;

    /// Like [`select_worker`](Self::select_worker), with a guard, and without blocking.
    ///
    /// # Errors
    ///
    /// [`DecideError`] says why there is no decision.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future at any point leaks nothing and counts nothing in flight.
    fn select_worker_async<'a>(
        &'a self,
        workers: &'a [Arc<dyn Worker>],
        info: &'a SelectWorkerInfo<'a>,
    ) -> BoxFuture<'a, Result<Decision, DecideError>>;

    /// A decision over the router's own table, on the caller's thread.
    ///
    /// # Errors
    ///
    /// [`DecideError`] says why there is no decision.
    fn decide(&self, table: &WorkerTable, info: &SelectWorkerInfo<'_>) -> Result<Decision, DecideError>;

    /// A decision over the router's own table, without blocking.
    ///
    /// # Errors
    ///
    /// [`DecideError`] says why there is no decision.
    ///
    /// # Cancel safety
    ///
    /// As [`select_worker_async`](Self::select_worker_async).
    fn decide_async<'a>(
        &'a self,
        table: &'a WorkerTable,
        info: &'a SelectWorkerInfo<'a>,
    ) -> BoxFuture<'a, Result<Decision, DecideError>>;

    /// The indexes of a prefill and a decode worker, each in its own slice. The slice gives a worker its
    /// role; indexes in `info` count through `prefill`, then `decode`.
    fn select_worker_pair(
        &self,
        prefill: &[Arc<dyn Worker>],
        decode: &[Arc<dyn Worker>],
        info: &SelectWorkerInfo<'_>,
    ) -> Option<(usize, usize)>;

    /// A prefill and a decode worker of the router's own table, chosen together.
    ///
    /// # Errors
    ///
    /// [`DecideError`] says why there is no decision.
    ///
    /// # Cancel safety
    ///
    /// As [`select_worker_async`](Self::select_worker_async).
    fn decide_pair_async<'a>(
        &'a self,
        table: &'a WorkerTable,
        info: &'a SelectWorkerInfo<'a>,
    ) -> BoxFuture<'a, Result<PairDecision, DecideError>>;

    /// Whether it wants to hear of finished requests now: each report costs an allocation. Default:
    /// true.
    fn wants_completions(&self) -> bool {
        true
    }

    /// What it wants to hear of the requests that it places now. Default: that they have finished, with
    /// token counts, if it [`wants_completions`](Self::wants_completions); counts also if it needs
    /// [`RequestNeeds::prompt_tokens`], which the router learns to estimate from them.
    fn outcome_needs(&self) -> OutcomeNeeds {
        let completions = self.wants_completions();
        OutcomeNeeds {
            first_tokens: false,
            completions,
            usage: completions,
            lessons: self.needs().prompt_tokens,
        }
    }

    /// Tells the policy that the streamed answer of a request it placed has begun. Default: ignored.
    fn on_first_token(&self, _first: &RequestFirstToken) {}

    /// Tells the policy that a request it placed has finished. Default: ignored.
    fn on_request_complete(&self, _completion: &RequestCompletion) {}

    /// Tells the policy that a session is over; true if it listens. Default: ignored.
    fn on_session_end(&self, _session: &str) -> bool {
        false
    }
}
