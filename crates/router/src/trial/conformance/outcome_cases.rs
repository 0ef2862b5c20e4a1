//! What a plugin is told of its requests.

use serde_json::json;

use crate::trial::conformance::kit_case::{KitBench, KitCase, KitVerdict};
use crate::trial::conformance::kit_session::{KitSession, idle, prompt};
use crate::trial::described_request::DescribedRequest;

pub(crate) const CASES: [KitCase; 6] = [
    KitCase {
        name: "outcomes/first-tokens",
        remedy: "Take a batch of `on_first_token` of any size, with and without tags, at once and after an hour.",
        run: first_tokens,
    },
    KitCase {
        name: "outcomes/completions",
        remedy: "Take a batch of `on_complete` with every number missing (nil), at zero and at its largest, of \
                 requests that succeeded, failed, or whose client went away.",
        run: completions,
    },
    KitCase {
        name: "outcomes/unknown-requests",
        remedy: "Stand reports of requests that this instance never placed, whose tags it never gave, or twice of the \
                 same: another instance or an earlier generation placed them.",
        run: unknown_requests,
    },
    KitCase {
        name: "outcomes/large-batches",
        remedy: "Take thousands of reports in one message: read them one by one, and keep nothing of each.",
        run: large_batches,
    },
    KitCase {
        name: "outcomes/workers-gone",
        remedy: "Stand reports after the table has changed: an index belongs to the table version in the message, and \
                 none may be beyond the end of what you keep.",
        run: workers_gone,
    },
    KitCase {
        name: "outcomes/session-ends",
        remedy: "Take `on_session_end` for sessions that you never saw, that are empty, long, or over already.",
        run: session_ends,
    },
];

const NO_HOOK: KitVerdict = KitVerdict::Skipped("it does not export the hook");

fn first_tokens(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let mut session = bench.session(&idle(4))?;
    if !session.plugin.facts().has_on_first_token {
        return Ok(NO_HOOK);
    }
    for after in [json!(0), json!(1.5), json!(3_600_000)] {
        let mut decision = session.ask(streamed())?;
        session.plugin.first_token(&mut decision, &json!({"after_ms": after}))?;
        session.tell()?;
        session.ask(streamed())?;
    }
    Ok(KitVerdict::Passed)
}

fn streamed() -> DescribedRequest {
    DescribedRequest { stream: Some(true), session: Some("s".to_owned()), ..prompt("hi") }
}

fn completions(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let mut session = bench.session(&idle(4))?;
    if !session.plugin.facts().has_on_complete {
        return Ok(NO_HOOK);
    }
    let ends = [
        json!({}),
        json!({"ok": false}),
        json!({"ok": false, "status": 503, "total_ms": 0}),
        json!({"status": 200, "first_byte_ms": 3, "total_ms": 7, "prompt_tokens": 0, "completion_tokens": 0, "cached_tokens": 0}),
        json!({"status": 65535, "first_byte_ms": 1e9, "total_ms": 1e9, "prompt_tokens": u32::MAX,
               "completion_tokens": u32::MAX, "cached_tokens": u32::MAX}),
    ];
    for end in ends {
        let decision = session.ask(streamed())?;
        session.plugin.complete(decision, &end)?;
        session.tell().map_err(|fault| format!("{end}: {fault}"))?;
        session.ask_plainly()?;
    }
    Ok(KitVerdict::Passed)
}

fn unknown_requests(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let mut session = bench.session(&idle(4))?;
    if !hears(&session) {
        return Ok(NO_HOOK);
    }
    session.ask_plainly()?;
    for tag in [json!(null), json!(0), json!(u64::MAX), json!(7)] {
        for worker in [0, 3, 3] {
            let told = json!({"tag": tag, "prompt_tokens": 10});
            session.plugin.tell_first_token(session.fleet.url(worker), &told)?;
            session.plugin.tell_completion(session.fleet.url(worker), &told)?;
        }
        session.tell()?;
        session.ask_plainly()?;
    }
    Ok(KitVerdict::Passed)
}

fn hears(session: &KitSession<'_>) -> bool {
    session.plugin.facts().has_on_complete || session.plugin.facts().has_on_first_token
}

fn large_batches(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let mut session = bench.session(&idle(50))?;
    if !hears(&session) {
        return Ok(NO_HOOK);
    }
    session.ask_plainly()?;
    for count in [1, 100, 5000] {
        for number in 0..count {
            let url = session.fleet.url(number % 50);
            let told =
                json!({"tag": number, "prompt_tokens": number, "completion_tokens": 5, "total_ms": 12.5});
            session.plugin.tell_first_token(url, &told)?;
            session.plugin.tell_completion(url, &told)?;
        }
        session.tell().map_err(|fault| format!("{count} at once: {fault}"))?;
        session.ask_plainly()?;
    }
    Ok(KitVerdict::Passed)
}

fn workers_gone(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let mut session = bench.session(&idle(40))?;
    if !hears(&session) {
        return Ok(NO_HOOK);
    }
    let placed: Vec<_> = (0..80).map(|_| session.ask(streamed())).collect::<Result<_, _>>()?;
    let urls: Vec<String> = (0..40).map(|place| session.fleet.url(place).to_owned()).collect();
    session.offer(&idle(2));
    // The plugin hears of workers of the first table before and after it has learnt the second.
    for url in &urls {
        session.plugin.tell_completion(url, &json!({}))?;
    }
    session.tell()?;
    session.ask_plainly()?;
    for url in &urls {
        session.plugin.tell_first_token(url, &json!({}))?;
        session.plugin.tell_completion(url, &json!({"ok": false}))?;
    }
    session.tell()?;
    drop(placed);
    session.ask_plainly()?;
    Ok(KitVerdict::Passed)
}

fn session_ends(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let mut session = bench.session(&idle(4))?;
    if !session.plugin.facts().has_on_session_end {
        return Ok(NO_HOOK);
    }
    session.ask(streamed())?;
    let long = "k".repeat(100_000);
    for key in ["never seen", "", "s", "s", "日本\0", &long] {
        session.plugin.end_session(key);
        session.tell().map_err(|fault| format!("session of {} bytes: {fault}", key.len()))?;
        session.ask(streamed())?;
    }
    for number in 0..5000 {
        session.plugin.end_session(&format!("session {number}"));
    }
    session.tell()?;
    session.ask(streamed())?;
    Ok(KitVerdict::Passed)
}
