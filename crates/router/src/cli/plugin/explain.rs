//! `explain`: what was known, chosen and came of a request.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::io::{BufReader, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use http::Method;

use crate::cli::plugin::args::ExplainArgs;
use crate::cli::plugin::candidate_columns::{columns, row};
use crate::cli::plugin::client::{AdminClient, Call, encoded};
use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::explained_lines::{of_request, of_ticket, of_tokens};
use crate::cli::plugin::output::print;
use crate::cli::plugin::table::{count, nanoseconds, table};
use sgl_api::{CandidateRecord, DecidedBy, DecisionList, DecisionRecord, End, RecordLines, RequestRecord};
use sglang_router_rs::types::{printable, shown_path};

/// Prints one record, or a line for each of the newest.
///
/// # Errors
///
/// [`CommandError`]; without such a record [`CommandError::Refused`], or [`CommandError::Usage`] for a
/// file.
///
/// # Cancel safety
///
/// Dropping the future changes nothing.
pub(crate) async fn run(client: &AdminClient, args: &ExplainArgs, json: bool) -> Result<(), CommandError> {
    match (&args.request_id, &args.file) {
        (Some(id), None) => {
            let path = format!("/v1/decisions/{}", encoded(id));
            let record: RequestRecord = client.json(Call::new(Method::GET, path)).await?;
            print(&record, json, page)
        }
        (None, None) => {
            let path = format!("/v1/decisions?limit={}", args.limit);
            let newest: DecisionList = client.json(Call::new(Method::GET, path)).await?;
            print(&newest, json, |newest| list(&newest.decisions))
        }
        (Some(id), Some(file)) => {
            let mut found = None;
            each_record(file, |record| {
                if record.request_id == *id {
                    found = Some(record);
                }
            })?;
            let missing = || format!("{} holds no record of request {id:?}", shown_path(file));
            print(&found.ok_or_else(|| CommandError::Usage(missing()))?, json, page)
        }
        (None, Some(file)) => {
            let mut newest = VecDeque::new();
            each_record(file, |record| {
                newest.push_front(record);
                newest.truncate(args.limit);
            })?;
            print(&DecisionList { decisions: newest.into() }, json, |newest| list(&newest.decisions))
        }
    }
}

/// Takes all records of a file, and says what in it is none: a crash, or who writes it, may have cut lines
/// short.
fn each_record(path: &Path, mut take: impl FnMut(RequestRecord)) -> Result<(), CommandError> {
    let fault = |error: io::Error| CommandError::Usage(format!("{}: {error}", shown_path(path)));
    let mut lines = RecordLines::new(BufReader::new(File::open(path).map_err(fault)?));
    while let Some((record, _)) = lines.next_record().map_err(fault)? {
        take(record);
    }
    if let Some(note) = lines.skipped().note() {
        // What is found is shown though this cannot be told.
        let _ = writeln!(io::stderr().lock(), "{}: {}", shown_path(path), printable(&note));
    }
    Ok(())
}

fn list(records: &[RequestRecord]) -> String {
    let head = [
        "REQUEST",
        "TIME",
        "ROUTE",
        "CHOOSER",
        "GENERATION",
        "WORKER",
        "TRIES",
        "COST",
        "END",
        "STATUS",
        "TOTAL",
    ];
    let row = |record: &RequestRecord| {
        let last = record.decisions.last();
        let text = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
        vec![
            record.request_id.clone(),
            time(record.time_unix_ms),
            record.route.clone(),
            text(last.map(|decision| decision.chooser.to_string())),
            text(last.and_then(|decision| decision.generation).map(|number| number.to_string())),
            text(record.outcome.worker.clone().or_else(|| chosen_worker(last?))),
            record.decisions.iter().filter(|decision| decision.wait.is_none()).count().to_string(),
            nanoseconds(last.map(|decision| decision.cost_ns)),
            ended(record).to_owned(),
            text(record.outcome.status.map(|status| status.to_string())),
            format!("{:.1} ms", record.outcome.total_ms),
        ]
    };
    table(&head, &records.iter().map(row).collect::<Vec<_>>())
}

/// Who was chosen: of a pair, the decode worker.
fn chosen_worker(decision: &DecisionRecord) -> Option<String> {
    let index = decision.chosen.last()?;
    let chosen = decision.candidates.iter().find(|candidate| candidate.index == *index)?;
    Some(chosen.url.clone())
}

fn page(record: &RequestRecord) -> String {
    let mut text = format!(
        "request  {}\ntime     {}\nroute    {}\npolicy   {}\n",
        printable(&record.request_id),
        time(record.time_unix_ms),
        printable(&record.route),
        printable(&record.policy)
    );
    for (number, decision) in record.decisions.iter().enumerate() {
        text.push_str(&format!("\ndecision {} of {}\n", number + 1, record.decisions.len()));
        text.push_str(&of_decision(decision));
    }
    let outcome = &record.outcome;
    text.push_str(&format!("\noutcome  {}", ended(record)));
    if let Some(ms) = shed(record) {
        text.push_str(&format!(", to be tried again after {ms} ms"));
    }
    if let (Some(status), Some(worker)) = (outcome.status, &outcome.worker) {
        text.push_str(&format!(", {status} from {}", printable(worker)));
    }
    if let Some(error) = &outcome.error {
        text.push_str(&format!(": {}", printable(error)));
    }
    if let Some(first) = outcome.first_byte_ms {
        text.push_str(&format!(", first byte after {first:.1} ms"));
    }
    if let Some(first) = outcome.first_token_ms {
        text.push_str(&format!(", first token after {first:.1} ms"));
    }
    if let Some(waited) = outcome.waited_ms {
        text.push_str(&format!(", after {waited:.1} ms in the router's queue"));
    }
    text.push_str(&format!(", over after {:.1} ms\n", outcome.total_ms));
    text.push_str(&of_tokens(outcome));
    text
}

fn of_decision(decision: &DecisionRecord) -> String {
    let by = match (decision.chooser, decision.generation) {
        (DecidedBy::Plugin, Some(generation)) => format!("the plugin, generation {generation}"),
        // What it said, though it chose nobody.
        (DecidedBy::Nobody, Some(generation))
            if decision.wait.is_some() || decision.shed_retry_after_ms.is_some() =>
        {
            format!("the plugin, generation {generation}")
        }
        (DecidedBy::Nobody, _) => "nobody".to_owned(),
        (other, _) => format!("the {other} policy"),
    };
    let mut text = format!("by       {by}, in {}\n", nanoseconds(Some(decision.cost_ns)));
    if let Some(failure) = &decision.failure {
        let detail = decision.failure_detail.as_deref().unwrap_or_default();
        let generation =
            decision.generation.map(|number| format!(", generation {number},")).unwrap_or_default();
        text.push_str(&format!(
            "failure  the plugin{generation} did not decide ({failure}): {}\n",
            printable(detail)
        ));
    }
    if let Some(wait) = &decision.wait {
        let key = wait.key.map_or_else(|| "infinite".to_owned(), |key| key.to_string());
        let most = wait.at_most_ms.map(|ms| format!(", at most {ms} ms in all")).unwrap_or_default();
        text.push_str(&format!(
            "wait     it had the request wait {}; key {key}{most}\n",
            count(wait.times, "time")
        ));
    }
    if let Some(ms) = decision.shed_retry_after_ms {
        text.push_str(&format!("shed     it refused the request for {ms} ms\n"));
    }
    if let Some(reason) = &decision.reason {
        text.push_str(&format!("reason   {reason:?}\n"));
    }
    text.push_str(&of_ticket("ticket ", decision.tag, decision.cost));
    text.push_str(&of_ticket("decode ", decision.decode_tag, decision.decode_cost));
    text.push_str(&of_request(&decision.request));
    text.push_str(&format!(
        "table    version {}, {}\n\n",
        decision.table_version,
        count(decision.workers, "worker")
    ));
    let columns = columns(&decision.candidates);
    let heads = columns.iter().map(|(head, _)| *head);
    let head: Vec<&str> =
        ["", "#", "WORKER", "ROLE", "MAY BE CHOSEN"].into_iter().chain(heads).chain(["SCORE"]).collect();
    let row = |one: &CandidateRecord| row(one, &columns, decision.chosen.contains(&one.index));
    let rows: Vec<Vec<String>> = decision.candidates.iter().map(row).collect();
    text.push_str(&table(&head, &rows));
    if decision.candidates.len() < decision.workers {
        let more = decision.workers - decision.candidates.len();
        text.push_str(&format!("… {}\n", count(more, "more worker")));
    }
    text
}

/// How long a client that the policy refused was told to stay away; `None` if it was not refused.
fn shed(record: &RequestRecord) -> Option<u64> {
    let last = record.decisions.last()?;
    last.shed_retry_after_ms.filter(|_| record.outcome.end == End::NoAnswer)
}

fn ended(record: &RequestRecord) -> &'static str {
    match record.outcome.end {
        End::NoAnswer if shed(record).is_some() => "refused by the policy",
        End::Complete => "complete",
        End::ErrorEvent => "error event",
        End::BrokeOff => "broke off",
        End::NoAnswer => "no answer",
        End::ClientGone => "client gone",
    }
}

fn time(unix_ms: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(unix_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str) -> RequestRecord {
        serde_json::from_value(serde_json::json!({
            "request_id": id, "time_unix_ms": 1_700_000_000_000_u64, "route": "chat", "policy": "mine",
            "decisions": [{
                "chooser": "plugin", "generation": 3, "table_version": 7, "workers": 2,
                "candidates": [
                    {"index": 0, "url": "http://a", "role": "regular", "healthy": true, "admitted": true, "load": 4},
                    {"index": 1, "url": "http://b", "role": "regular", "healthy": true, "admitted": true, "load": 1,
                     "score": 0.5, "prefix_match": 96, "books": {
                        "prefill_load": 1, "prefill_tokens": 300, "uncached_tokens": 200, "tokens_in_flight": 400,
                        "pending_cost": 2.5, "oldest_pending_ms": 12}},
                ],
                "request": {"prompt_tokens": 120, "prompt_tokens_exact": false, "max_tokens": 64, "stream": true,
                    "prefix_blocks": 7, "prefix_block_tokens": 12.34, "arrival_rate": 3.25, "waited_ms": 12, "may_wait_ms": 500, "held": 3,
                    "prompt_bytes": 480, "withheld": ["session", "field:/user"], "client_key": "team\na"},
                "chosen": [1], "reason": "the\nleast", "tag": u64::MAX, "cost": 12.5, "cost_ns": 1500,
            }],
            "outcome": {"end": "complete", "status": 200, "worker": "http://b", "first_byte_ms": 1.25, "first_token_ms": 2.5, "total_ms": 80.0,
                "prompt_tokens": 120, "completion_tokens": 7, "cached_tokens": 64},
        }))
        .unwrap()
    }

    #[test]
    fn page_shows_the_choice_its_reason_and_the_outcome() {
        let page = page(&record("r1"));
        for text in [
            "request  r1",
            "Tue, 14 Nov 2023 22:13:20 GMT",
            "the plugin, generation 3, in 1500 ns",
            r#"reason   "the\nleast""#,
            "asked    a prompt of 120 tokens (estimated), at most 64 generated, as a stream, 7 blocks hashed \
             (12.3 tokens a block), 3.2 requests/s, 480 bytes of text, held for 12 ms, may wait 500 ms, 3 held in all, with session and \
             field:/user (not recorded), with the key team\\na",
            "ticket   tag 18446744073709551615, cost 12.5\n",
            "outcome  complete, 200 from http://b, first byte after 1.2 ms, first token after 2.5 ms, over after 80.0 ms",
            "tokens   120 of the prompt, 64 of them cached, 7 generated\n",
        ] {
            assert!(page.contains(text), "{text:?} is not in\n{page}");
        }
        let chosen = page.lines().find(|line| line.starts_with("->")).unwrap();
        assert!(chosen.contains("http://b") && chosen.ends_with("0.5"), "{chosen}");
    }

    #[test]
    fn columns_of_the_books_are_shown_where_somebody_read_them() {
        let mut record = record("r1");
        let page = page(&record);
        let line = |start: &str| page.lines().find(|line| line.trim_start().starts_with(start)).unwrap();
        let cells = |line: &str| -> Vec<String> {
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
        };
        let head = cells(line("#"));
        let chosen = cells(line("->")).split_off(1);
        let of = |name: &str| chosen[head.iter().position(|head| head == name).unwrap()].clone();
        let found = [
            "MATCH",
            "PREFILLS",
            "PREFILL TOKENS",
            "UNCACHED",
            "IN FLIGHT",
            "PENDING COST",
            "OLDEST",
            "TTFT",
        ]
        .map(of);
        assert_eq!(found, ["96", "1", "300", "200", "400", "2.5", "12 ms", "-"]);
        record.decisions[0].candidates[1].books = None;
        assert!(!super::page(&record).contains("PREFILLS"));
    }

    #[test]
    fn request_that_the_policy_refused_is_said_to_be_and_for_how_long() {
        let mut refused = record("r1");
        let decision = &mut refused.decisions[0];
        (decision.chooser, decision.shed_retry_after_ms) = (DecidedBy::Nobody, Some(1500));
        decision.chosen.clear();
        refused.outcome.end = End::NoAnswer;
        (refused.outcome.status, refused.outcome.worker) = (None, None);
        let page = page(&refused);
        for text in [
            "by       the plugin, generation 3,",
            "outcome  refused by the policy, to be tried again after 1500 ms",
        ] {
            assert!(page.contains(text), "{text:?} is not in\n{page}");
        }
        assert!(list(std::slice::from_ref(&refused)).contains("refused by the policy"));
        refused.decisions[0].shed_retry_after_ms = None;
        assert!(
            super::page(&refused).contains("outcome  no answer") && super::page(&refused).contains("nobody")
        );
    }

    #[test]
    fn one_of_a_thing_is_not_said_to_be_several_and_throughput_is_shown_where_it_is_told() {
        let mut record = record("r1");
        assert!(!page(&record).contains("THROUGHPUT"));
        let decision = &mut record.decisions[0];
        (decision.request.prefix_blocks, decision.request.prompt_tokens) = (Some(1), Some(1));
        decision.candidates.truncate(1);
        decision.candidates[0].throughput = Some(12.25);
        let page = page(&record);
        for text in
            ["a prompt of 1 token (", ", 1 block hashed", "… 1 more worker\n", "THROUGHPUT", "12.2 tokens/s"]
        {
            assert!(page.contains(text), "{text:?} is not in\n{page}");
        }
    }

    #[test]
    fn size_of_a_block_is_shown_without_their_count_too() {
        let mut record = record("r1");
        let request = &mut record.decisions[0].request;
        (request.prefix_blocks, request.prefix_block_tokens) = (None, Some(16.0));
        assert!(page(&record).contains("as a stream, 16 tokens a block, 3.2"), "{}", page(&record));
        record.decisions[0].request.prefix_block_tokens = None;
        assert!(!page(&record).contains("a block"), "{}", page(&record));
    }

    #[test]
    fn decision_that_had_the_request_wait_is_no_try() {
        let mut waited = record("r1");
        let mut held = waited.decisions[0].clone();
        held.wait =
            serde_json::from_value(serde_json::json!({"key": 1.0, "at_most_ms": 500, "times": 3})).unwrap();
        waited.decisions.insert(0, held);
        assert_eq!(list(&[waited]), list(&[record("r1")]));
    }
}
