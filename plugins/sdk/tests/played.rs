//! The harness that keeps the router's books.

use sgl_policy_sdk::prelude::*;
use sgl_policy_sdk::testing::{Played, Request};

/// A policy that chooses the first worker and says what it was shown of it.
#[derive(Debug)]
struct Shown;

impl Policy for Shown {
    fn init(_init: &Init) -> Result<Self, Error> {
        Ok(Self)
    }

    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
        let shown = format!(
            "in flight {}, oldest {:?}, ttft {:?}, tpot {:?}, match {:?}, blocks {}, now {}",
            ctx.tokens_in_flight().get(0),
            ctx.oldest_pending_ms().known(0),
            ctx.ttft_ewma().known(0),
            ctx.tpot_ewma().known(0),
            ctx.prefix_match().known(0),
            ctx.prefix_hashes().map_or(0, |hashes| hashes.iter().count()),
            ctx.now_ns(),
        );
        Choice::Worker(0).with_reason(&shown)
    }
}

sgl_policy_sdk::export_policy! {
    policy: Shown,
    name: "shown",
    description: "says what it was shown",
    inputs: [TokensInFlight, OldestPendingMs, TtftEwma, TpotEwma, PrefixMatch, PrefixHashes, NowNs],
    hooks: [without_table],
}

#[test]
fn books_tell_of_tokens_ages_and_averages_as_the_test_lets_time_pass() {
    let mut fleet = Played::<Shown>::new([], 2).expect("starts");
    let request = Request::new().text(&"x".repeat(160));
    let mut sent = Vec::new();
    let mut shown = |fleet: &mut Played<Shown>| {
        let one = fleet.send(&request).expect("a worker");
        sent.push(one.id);
        (one.id, one.decision.reason.expect("it says"))
    };
    let (first, reason) = shown(&mut fleet);
    assert_eq!(reason, "in flight 0, oldest None, ttft None, tpot None, match Some(0), blocks 2, now 0");
    fleet.pass(30);
    let (second, reason) = shown(&mut fleet);
    assert_eq!(
        reason,
        "in flight 40, oldest Some(30), ttft None, tpot None, match Some(32), blocks 2, now 30000000"
    );
    fleet.generated(first, 1);
    fleet.pass(20);
    fleet.generated(first, 4);
    let (third, reason) = shown(&mut fleet);
    assert_eq!(
        reason,
        "in flight 85, oldest Some(20), ttft Some(30.0), tpot None, match Some(32), blocks 2, now 50000000"
    );
    fleet.end(first);
    fleet.end(second);
    fleet.begin(third);
    let (_, reason) = shown(&mut fleet);
    // 30 + (20 - 30) / 10 = 29, then 29 - 29 / 10; and 20 ms for four tokens.
    assert_eq!(
        reason,
        "in flight 40, oldest None, ttft Some(26.1), tpot Some(5.0), match Some(32), blocks 2, now 50000000"
    );
    assert_eq!(fleet.harness.workers[1].load, 0);
}
