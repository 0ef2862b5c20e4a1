//! Runs for tests: small, and limited by requests instead of time.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use sgl_testkit::waits::soon;
use sgl_tools::load::{
    LoadTarget, Pace, Plan, RequestShape, RoundOutcome, RunControl, RunLimits, RunOutcome,
    TRACE_BLOCK_TOKENS, Trace, run,
};
use sgl_tools::sim::{SimConfig, SimWorker};
use sgl_upstream::WorkerUrl;

pub(crate) fn target(name: &str, url: &str) -> LoadTarget {
    LoadTarget::new(name, WorkerUrl::parse(url).expect("a URL"), HeaderMap::new(), &Arc::default())
}

/// So many requests over three connections to one target, in one round.
pub(crate) fn plan(url: &str, requests: u64) -> Plan {
    Plan {
        targets: vec![target("router", url)],
        pace: Pace::Closed { connections: 3 },
        shape: RequestShape {
            model: None,
            prompt_tokens: 16,
            output_tokens: 4,
            prompts: 2,
            stream: false,
            fields: serde_json::Map::new(),
            token_ids_below: None,
            trace_block_tokens: TRACE_BLOCK_TOKENS,
        },
        limits: RunLimits {
            duration: None,
            requests: Some(requests),
            warmup: Duration::ZERO,
            timeout: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            max_in_flight: 64,
        },
        rounds: 1,
        seed: 1,
        swaps: None,
    }
}

/// A trace of so many requests that are all due at once.
pub(crate) fn all_at_once(requests: usize) -> Pace {
    let line = "{\"timestamp\":0,\"input_length\":4,\"output_length\":2}\n";
    let trace = Arc::new(Trace::read(line.repeat(requests).as_bytes()).expect("a trace"));
    Pace::Trace { trace, speed: 1.0 }
}

/// Makes a run without swaps.
pub(crate) async fn made(plan: &Plan) -> RunOutcome {
    soon(run(plan, &RunControl::default(), None)).await.expect("the run is made")
}

/// The one round of a run.
pub(crate) fn only_round(mut outcome: RunOutcome) -> RoundOutcome {
    assert_eq!((outcome.targets.len(), outcome.targets[0].rounds.len()), (1, 1));
    outcome.targets.remove(0).rounds.remove(0)
}

/// A simulated worker that answers at once.
pub(crate) async fn sim(name: &str) -> SimWorker {
    sim_with(SimConfig { worker_id: name.to_owned(), ..SimConfig::default() }).await
}

pub(crate) async fn sim_with(config: SimConfig) -> SimWorker {
    SimWorker::start(SimConfig { time_scale: 0.0, ..config }).await.expect("a worker")
}
