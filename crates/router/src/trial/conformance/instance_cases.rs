//! Instances: several of them, one after another, and the same again.

use serde_json::json;

use crate::trial::conformance::kit_case::{KitBench, KitCase, KitVerdict};
use crate::trial::conformance::kit_session::{KitSession, idle, prompt};
use crate::trial::described_request::DescribedRequest;
use crate::trial::described_worker::DescribedWorker;
use sgl_policy_abi::Concurrency;
use sglang_router_rs::config::Isolation;
use sglang_router_rs::types::in_full;

pub(crate) const CASES: [KitCase; 5] = [
    KitCase {
        name: "instances/another-each-time",
        remedy: "Keep nothing in an instance that the next decision needs: a router has several, and replaces them. \
                 What all must know belongs into the map (`kv_set`), or declare the plugin serial.",
        run: another_each_time,
    },
    KitCase {
        name: "instances/swap",
        remedy: "Stand being replaced by yourself while requests are in flight: the new generation hears of requests \
                 that the old one placed, and a serial one must take what `save_state` of the old gave.",
        run: swap,
    },
    KitCase {
        name: "instances/deterministic",
        remedy: "Draw what chance decides from the input `random` or the `seed` of `init` only: then the same requests \
                 with the same seed are decided alike, and cases can be made again.",
        run: deterministic,
    },
    KitCase {
        name: "instances/many-requests",
        remedy: "Bound what you keep of requests, sessions and prompts: drop the oldest, so that thousands of \
                 different ones fit into the plugin's memory.",
        run: many_requests,
    },
    KitCase {
        name: "instances/time-passes",
        remedy: "Stand long silence: ages of hours, a clock that has moved by a month, entries that are long over.",
        run: time_passes,
    },
];

fn another_each_time(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let mut settings = bench.settings.clone();
    settings.options.isolation = Isolation::Fresh;
    let mut session = bench.session_with(&settings, &idle(6))?;
    if session.plugin.facts().manifest.concurrency == Concurrency::Serial {
        return Ok(KitVerdict::Skipped("it is serial: one instance decides everything"));
    }
    for turn in 0..20 {
        session.ask(keyed(turn))?;
        if turn % 5 == 0 {
            session.offer(&idle(turn % 7 + 1));
        }
    }
    Ok(KitVerdict::Passed)
}

fn keyed(number: usize) -> DescribedRequest {
    let session = Some(format!("session {}", number % 5));
    DescribedRequest { session, stream: Some(true), ..prompt(&format!("prompt {number}")) }
}

fn swap(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let mut session = bench.session(&idle(6))?;
    let mut placed = Vec::new();
    for turn in 0..4 {
        for number in 0..10 {
            placed.push(session.ask(keyed(number))?);
        }
        session.plugin.swap().map_err(|error| format!("swap {turn}: {}", in_full(&error)))?;
        session.ask(keyed(turn))?;
        for mut decision in placed.drain(..5) {
            session.plugin.first_token(&mut decision, &json!({}))?;
            session.plugin.complete(decision, &json!({}))?;
        }
        session.tell()?;
    }
    Ok(KitVerdict::Passed)
}

/// What was decided, in words.
fn decided(bench: &KitBench<'_>) -> Result<Vec<String>, String> {
    let mut session = bench.session(&idle(8))?;
    let mut placed = Vec::new();
    let mut said = Vec::new();
    for turn in 0..100_usize {
        let decision = session.ask(keyed(turn))?;
        said.push(decision.outcome.text());
        placed.push(decision);
        session.fleet.show(
            turn % 8,
            &DescribedWorker { load: Some(turn % 3), running: Some(4), ..DescribedWorker::default() },
        );
        if turn % 2 == 0 {
            let mut done = placed.remove(0);
            session.plugin.first_token(&mut done, &json!({}))?;
            session.plugin.complete(done, &json!({"prompt_tokens": 5, "completion_tokens": 7}))?;
        }
        session.tell()?;
    }
    Ok(said)
}

fn deterministic(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let (first, second) = (decided(bench)?, decided(bench)?);
    let different = first.iter().zip(&second).position(|(one, other)| one != other);
    match different {
        None => Ok(KitVerdict::Passed),
        Some(turn) => {
            let of = |said: &[String]| said.get(turn).cloned().unwrap_or_default();
            Err(format!("decision {turn} with the same seed: {}; and {}", of(&first), of(&second)))
        }
    }
}

fn many_requests(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let mut session = bench.session(&idle(16))?;
    for number in 0..3000_usize {
        let text = format!("{number} is the beginning of a prompt that nobody else has. ").repeat(4);
        let key = Some(format!("session {number}"));
        let decision = session.ask(DescribedRequest {
            session: key,
            client_key: Some(format!("client {number}")),
            ..prompt(&text)
        })?;
        if !decision.in_flight.is_empty() {
            session.plugin.complete(decision, &json!({"prompt_tokens": 60}))?;
        }
        if number % 100 == 0 {
            session.tell()?;
        }
    }
    session.tell()?;
    Ok(KitVerdict::Passed)
}

fn time_passes(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let mut session: KitSession<'_> = bench.session(&idle(4))?;
    let mut placed = Vec::new();
    for seconds in [1, 60, 3600, 86_400, 30 * 86_400] {
        placed.push(session.ask(keyed(1))?);
        session.plugin.advance(std::time::Duration::from_secs(seconds));
        session.tell()?;
        session.ask(keyed(1))?;
    }
    Ok(KitVerdict::Passed)
}
