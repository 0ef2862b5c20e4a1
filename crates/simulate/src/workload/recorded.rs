//! Workloads from traces.

use crate::workload::requests::Workload;
use sgl_tools::load::{Entry, Trace};

/// Tokens of a unit of a trace's prompts.
const UNIT_TOKENS: u32 = 512;

impl Workload {
    /// The first `count` of those requests of a trace that are wanted. Where it does not say which prompts
    /// begin alike, none does.
    pub fn of_trace(trace: &Trace, is_wanted: impl Fn(&Entry) -> bool, count: usize) -> Self {
        let mut workload = Self::new(UNIT_TOKENS);
        for entry in trace.entries().iter().filter(|entry| is_wanted(entry)).take(count) {
            workload.push(entry.at.as_secs_f64(), entry.input_tokens, entry.output_tokens, &entry.blocks);
        }
        workload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_becomes_the_requests_that_are_wanted() {
        let lines = "{\"timestamp\":500,\"input_length\":600,\"output_length\":5,\"hash_ids\":[4,9]}\n\
                     {\"timestamp\":1000,\"input_length\":9000,\"output_length\":5}\n\
                     {\"timestamp\":2000,\"input_length\":512,\"output_length\":1,\"hash_ids\":[4]}\n\
                     {\"timestamp\":3000,\"input_length\":1,\"output_length\":1}\n";
        let trace = Trace::read(lines.as_bytes()).unwrap();
        let workload = Workload::of_trace(&trace, |entry| entry.input_tokens < 9000, 2);
        let lengths = workload.requests().iter().map(|one| (one.at, one.prompt_tokens, one.output_tokens));
        assert!(lengths.eq([(0.0, 600, 5), (1.5, 512, 1)]));
        assert_eq!((workload.units(0), workload.whole_units(1)), (&[4, 9][..], &[4][..]));
    }
}
