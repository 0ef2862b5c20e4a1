//! Workloads from traces.

use std::collections::HashMap;

use crate::workload::requests::{SessionTurn, Workload};
use sgl_tools::load::{Entry, Trace};

/// Tokens of a unit of a trace's prompts that does not say how long its units are.
const UNIT_TOKENS: u32 = 512;

/// Whole blocks that a prompt has at least of which it is looked for who goes on with it: a system prompt
/// that many begin with says nothing of sessions.
const LEAST_BLOCKS: usize = 2;

impl Workload {
    /// The first `count` of those requests of a trace that are wanted. Where it does not say which prompts
    /// begin alike, none does. Requests follow others where the trace says how long after their answers. Where
    /// the trace leaves it open, units of prompts are as long as the `block_tokens` of an engine.
    pub fn of_trace(
        trace: &Trace,
        block_tokens: u32,
        is_wanted: impl Fn(&Entry) -> bool,
        count: usize,
    ) -> Self {
        let entries: Vec<&Entry> =
            trace.entries().iter().filter(|entry| is_wanted(entry)).take(count).collect();
        let workload = of_entries(&entries, unit_of(trace, block_tokens));
        if entries.iter().all(|entry| entry.session.is_none()) {
            return workload;
        }
        let mut turns = named_sessions(&entries);
        for (turn, entry) in turns.iter_mut().zip(&entries) {
            turn.think = entry.delay.map_or(0.0, |delay| delay.as_secs_f64());
            turn.after = turn.after.filter(|_| entry.delay.is_some());
        }
        workload.with_turns(turns)
    }

    /// The same, with a time to think before each request that goes on with a session. Where the trace
    /// does not say it, it is the time between both requests without `answer`: the seconds that the first
    /// one's answer takes. Where it does not name sessions, a prompt that begins with all whole blocks of
    /// an earlier one goes on with that.
    pub fn of_trace_in_sessions(
        trace: &Trace,
        block_tokens: u32,
        is_wanted: impl Fn(&Entry) -> bool,
        count: usize,
        answer: impl Fn(&Entry) -> f64,
    ) -> Self {
        let entries: Vec<&Entry> =
            trace.entries().iter().filter(|entry| is_wanted(entry)).take(count).collect();
        let is_named = entries.iter().any(|entry| entry.session.is_some());
        let unit = unit_of(trace, block_tokens);
        let mut turns = if is_named { named_sessions(&entries) } else { likely_sessions(&entries, unit) };
        for (turn, entry) in turns.iter_mut().zip(&entries) {
            let before = turn.after.and_then(|before| entries.get(before as usize));
            let think = entry.delay.map(|delay| delay.as_secs_f64()).or_else(|| {
                let before = before?;
                let gap = entry.at.as_secs_f64() - before.at.as_secs_f64();
                Some((gap - answer(before)).max(0.0))
            });
            turn.think = think.unwrap_or_default();
        }
        of_entries(&entries, unit).with_turns(turns)
    }
}

/// Tokens of a unit: no fewer than a block of the engine has.
fn unit_of(trace: &Trace, block_tokens: u32) -> u32 {
    trace.least_unit().map_or(UNIT_TOKENS, |least| least.max(block_tokens))
}

/// What is lost of prompts that the engine's blocks are too long for, as a sentence; `None` if nothing is.
pub fn too_short_note(trace: &Trace, block_tokens: u32) -> Option<String> {
    // Where the trace does not say how long its units are, they are what is known of prompts.
    let told =
        trace.entries().iter().filter(|entry| entry.block_tokens.is_some() && !entry.blocks.is_empty());
    let (mut all, mut short) = (0_u64, 0_u64);
    for entry in told {
        all += 1;
        short += u64::from(entry.input_tokens < block_tokens);
    }
    (short > 0).then(|| {
        format!(
            "{short} of {all} prompts are shorter than a block of the modelled engine ({block_tokens} tokens), so \
             nothing of them is ever found in a cache; block_tokens of --model says how long a block is"
        )
    })
}

fn of_entries(entries: &[&Entry], unit: u32) -> Workload {
    let mut workload = Workload::new(unit);
    for entry in entries {
        let (at, ids) = (entry.at.as_secs_f64(), entry.units(unit));
        workload.push(at, entry.input_tokens, entry.output_tokens, &ids);
    }
    if entries.iter().all(|entry| entry.max_tokens.is_none()) {
        return workload;
    }
    workload.with_limits(entries.iter().map(|entry| entry.max_tokens).collect())
}

/// The sessions that the trace names. A request without a name is one of its own.
fn named_sessions<'a>(entries: &[&'a Entry]) -> Vec<SessionTurn> {
    let mut last: HashMap<&'a str, (u32, u32)> = HashMap::new();
    let mut count = 0;
    let turn = |(entry, number): (&&'a Entry, u32)| {
        let name = entry.session.as_deref();
        let before = name.and_then(|name| last.get(name).copied());
        let session = before.map_or(count, |(session, _)| session);
        count += u32::from(before.is_none());
        if let Some(name) = name {
            last.insert(name, (session, number));
        }
        SessionTurn { session, after: before.map(|(_, before)| before), think: 0.0 }
    };
    entries.iter().zip(0..).map(turn).collect()
}

/// The sessions that prompts tell of: the ids of blocks stand for all before them, too, so who has the id
/// of another's last whole block has all of them.
fn likely_sessions(entries: &[&Entry], unit: u32) -> Vec<SessionTurn> {
    let mut ends: HashMap<u64, (u32, u32)> = HashMap::new();
    let mut count = 0;
    let turn = |(entry, number): (&&Entry, u32)| {
        let ids = entry.units(unit);
        let blocks = ids.get(..(entry.input_tokens / unit) as usize).unwrap_or(&ids);
        let later = blocks.get(LEAST_BLOCKS - 1..).unwrap_or_default();
        let found = later.iter().rev().find_map(|block| ends.remove(block));
        let session = found.map_or(count, |(session, _)| session);
        count += u32::from(found.is_none());
        if let Some(end) = later.last() {
            ends.insert(*end, (session, number));
        }
        SessionTurn { session, after: found.map(|(_, before)| before), think: 0.0 }
    };
    entries.iter().zip(0..).map(turn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::request_traits::{AnswerLimit, RequestTraits};

    #[test]
    fn prompts_that_are_shorter_than_a_block_are_told_of() {
        let record = |tokens: u32| {
            format!(
                "{{\"time_unix_ms\":1,\"decisions\":[{{\"request\":{{\"prompt_tokens\":{tokens},\
                 \"prefix_block_tokens\":16,\"prefix_hashes\":[1,2]}}}}]}}\n"
            )
        };
        let trace = Trace::read((record(100) + &record(511) + &record(512)).as_bytes()).unwrap();
        assert_eq!(too_short_note(&trace, 16), None);
        let note = too_short_note(&trace, 512).unwrap();
        assert!(
            note.starts_with("2 of 3 prompts are shorter than a block of the modelled engine (512"),
            "{note}"
        );
        let told = "{\"timestamp\":1,\"input_length\":9,\"output_length\":1,\"hash_ids\":[4]}";
        assert_eq!(too_short_note(&Trace::read(told.as_bytes()).unwrap(), 512), None);
    }

    #[test]
    fn recorded_limits_of_answers_are_those_of_requests() {
        let record = |limit: &str| {
            format!("{{\"time_unix_ms\":1,\"decisions\":[{{\"request\":{{\"prompt_tokens\":9{limit}}}}}]}}\n")
        };
        let text = record(",\"max_tokens\":700") + &record("");
        let trace = Trace::read(text.as_bytes()).unwrap();
        let workload = Workload::of_trace(&trace, 512, |_| true, 9);
        assert_eq!((workload.max_tokens(0), workload.max_tokens(1)), (Some(700), None));
        let max_tokens = AnswerLimit::Fixed(900);
        let workload = workload.with_traits(RequestTraits { max_tokens, ..RequestTraits::default() });
        assert_eq!((workload.max_tokens(0), workload.max_tokens(1)), (Some(900), Some(900)));
    }

    #[test]
    fn trace_becomes_the_requests_that_are_wanted() {
        let lines = "{\"timestamp\":500,\"input_length\":600,\"output_length\":5,\"hash_ids\":[4,9]}\n\
                     {\"timestamp\":1000,\"input_length\":9000,\"output_length\":5}\n\
                     {\"timestamp\":2000,\"input_length\":512,\"output_length\":1,\"hash_ids\":[4]}\n\
                     {\"timestamp\":3000,\"input_length\":1,\"output_length\":1}\n";
        let trace = Trace::read(lines.as_bytes()).unwrap();
        let workload = Workload::of_trace(&trace, 512, |entry| entry.input_tokens < 9000, 2);
        let lengths = workload.requests().iter().map(|one| (one.at, one.prompt_tokens, one.output_tokens));
        assert!(lengths.eq([(0.0, 600, 5), (1.5, 512, 1)]));
        assert_eq!((workload.units(0), workload.whole_units(1)), (&[4, 9][..], &[4][..]));
    }

    fn line(at: u32, input: u32, more: &str) -> String {
        format!("{{\"timestamp\":{at},\"input_length\":{input},\"output_length\":5{more}}}\n")
    }

    fn told(workload: &Workload) -> Vec<(u32, Option<u32>, f64)> {
        let turns = (0..workload.len()).filter_map(|number| workload.turn(number));
        turns.map(|turn| (turn.session, turn.after, turn.think)).collect()
    }

    #[test]
    fn sessions_that_a_trace_names_pause_as_it_says_or_as_its_stamps_do() {
        let lines = line(0, 600, ",\"session_id\":\"a\"")
            + &line(1000, 600, ",\"session_id\":\"b\"")
            + &line(9000, 700, ",\"session_id\":\"a\"")
            + &line(9500, 700, ",\"session_id\":\"b\",\"delay\":250")
            + &line(9600, 700, "");
        let trace = Trace::read(lines.as_bytes()).unwrap();
        let plain = Workload::of_trace(&trace, 512, |_| true, 10);
        let expected = [(0, None, 0.0), (1, None, 0.0), (0, None, 0.0), (1, Some(1), 0.25), (2, None, 0.0)];
        assert_eq!(told(&plain), expected);
        let closed = Workload::of_trace_in_sessions(&trace, 512, |_| true, 10, |_| 2.0);
        assert_eq!(told(&closed)[2..4], [(0, Some(0), 7.0), (1, Some(1), 0.25)]);
        let slow = Workload::of_trace_in_sessions(&trace, 512, |_| true, 10, |_| 20.0);
        assert_eq!(told(&slow)[2], (0, Some(0), 0.0));
    }

    #[test]
    fn prompt_that_begins_with_another_goes_on_with_its_session() {
        let lines = line(0, 1100, ",\"hash_ids\":[1,2,30]")
            + &line(1000, 1100, ",\"hash_ids\":[1,3,31]")
            + &line(4000, 2100, ",\"hash_ids\":[1,2,4,5,32]")
            + &line(5000, 600, ",\"hash_ids\":[1,33]")
            + &line(6000, 1100, ",\"hash_ids\":[1,2,34]");
        let trace = Trace::read(lines.as_bytes()).unwrap();
        let workload = Workload::of_trace_in_sessions(&trace, 512, |_| true, 10, |_| 1.0);
        let expected = [(0, None, 0.0), (1, None, 0.0), (0, Some(0), 3.0), (2, None, 0.0), (3, None, 0.0)];
        assert_eq!(told(&workload), expected);
        assert!(!Workload::of_trace(&trace, 512, |_| true, 10).has_turns());
    }

    #[test]
    fn recorded_prompts_share_what_their_hashes_share_in_units_of_the_engine() {
        let record = |at: u32, hashes: &[u64]| {
            let facts = format!(
                "\"prompt_tokens\":100,\"session\":{},\"prefix_block_tokens\":16.0,\"prefix_hashes\":{hashes:?}",
                at % 2
            );
            format!(
                "{{\"time_unix_ms\":{at},\"decisions\":[{{\"request\":{{{facts}}}}}],\"outcome\":{{}}}}\n"
            )
        };
        let lines = record(1000, &[1, 2, 3, 4, 5, 6]) + &record(2001, &[1, 2, 7, 8, 9, 10]);
        let trace = Trace::read(lines.as_bytes()).unwrap();
        for (engine, unit, first, second) in [
            (16, 16, &[1, 2, 3, 4, 5, 6][..], &[1, 2, 7, 8, 9, 10][..]),
            (32, 32, &[2, 4, 6], &[2, 8, 10]),
            (1, 16, &[1], &[1]),
        ] {
            let workload = Workload::of_trace(&trace, engine, |_| true, 10);
            assert_eq!(workload.unit_tokens(), unit);
            assert!(workload.whole_units(0).starts_with(first), "{:?}", workload.whole_units(0));
            assert!(workload.whole_units(1).starts_with(second), "{:?}", workload.whole_units(1));
            assert_eq!(told(&workload), [(0, None, 0.0), (1, None, 0.0)]);
        }
    }
}
