//! A policy of the SDK that writes down what it sees.

use std::cell::RefCell;

use sgl_policy_sdk::Guest;
use sgl_policy_sdk::abi::{Answer, Column};
use sgl_policy_sdk::prelude::*;
use sglang_router_rs::core::{EngineFacts, ModelNames};

use crate::views::view::{View, WorkerView, seen};

thread_local! {
    /// What the last decision of this thread was shown.
    static SEEN: RefCell<Option<View>> = const { RefCell::new(None) };
}

#[derive(Debug)]
struct Recorder;

impl Policy for Recorder {
    fn init(_: &Init) -> Result<Self, Error> {
        Ok(Self)
    }

    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let view = View {
            workers: (0..ctx.len()).map(|index| worker(ctx, index)).collect(),
            text: text(ctx.text()),
            tokens: ctx.tokens().map(|tokens| tokens.iter().collect()),
            prompt_bytes: ctx.prompt_bytes(),
            prompt_tokens: ctx.prompt_tokens(),
            prompt_tokens_exact: ctx.prompt_tokens_exact(),
            max_tokens: ctx.max_tokens(),
            stream: ctx.stream(),
            route: text(ctx.route()),
            session: text(ctx.session()),
            prefix_hashes: ctx.prefix_hashes().map(|hashes| hashes.iter().collect()),
            arrival_rate: ctx.arrival_rate().to_bits(),
            named: [text(ctx.field("/a/0")), text(ctx.query("q"))],
            model: text(ctx.model()),
            waiting: [ctx.waited_ms(), ctx.may_wait_ms(), ctx.held()],
            headers: [text(ctx.header("x-a")), text(ctx.header("x-b"))],
            leg: match ctx.leg() {
                Leg::Single => 0,
                Leg::Prefill => 1,
                Leg::Decode => 2,
            },
        };
        SEEN.set(Some(view));
        Choice::Nobody
    }
}

fn worker(ctx: &Context<'_, Recorder>, index: usize) -> WorkerView {
    macro_rules! numbers {
        ($($column:ident($name:ident): $number:ident = $unknown:expr, $meaning:literal;)+) => {
            [$(seen(Column::$column, u32::from_le_bytes(ctx.$name().get(index).to_le_bytes()))),+]
        };
    }
    let facts = ctx.table().get(index).expect("as many as in the table");
    WorkerView {
        url: facts.url.to_owned(),
        model: facts.model.map(str::to_owned),
        role: facts.role.as_str().to_owned(),
        weight: facts.weight,
        labels: facts.labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        engine: EngineFacts {
            name: facts.engine.name.map(|name| name.to_owned().into()),
            kv_capacity_tokens: facts.engine.kv_capacity_tokens,
            block_size: facts.engine.block_size,
            max_running_requests: facts.engine.max_running_requests,
            dp_rank: facts.engine.dp_rank,
            models: facts.engine.models.and_then(|models| ModelNames::new(models.iter())),
        },
        healthy: ctx.healthy().get(index),
        excluded: ctx.excluded().get(index),
        prefix_match: ctx.prefix_match().get(index),
        numbers: sgl_policy_sdk::abi::for_each_column!(numbers),
    }
}

sgl_policy_sdk::export_policy! {
    policy: Recorder,
    name: "recorder",
    description: "writes down what it sees",
    inputs: [
        Healthy, Header("x-a"), Load, Running, Waiting, RequestText, QueuedTokens, KvUsage, Throughput,
        PrefillLoad, TtftEwma, LatencyEwma, UncachedTokens, TpotEwma, TokensInFlight, OldestPendingMs, PendingCost,
        PrefillTokens, ReportAgeMs, LoadElsewhere, RequestTokens, Excluded, PrefixMatch, PromptBytes, PromptTokens, PromptTokensExact, Model,
        ArrivalRate, Field("/a/0"), PrefixHashes, MaxTokens, Session, Stream, Query("q"), Route, Header("x-b"), WaitedMs, Held, MayWaitMs, Leg, Random, NowNs,
    ],
}

/// What the messages of [`Mirror::see`] must be for: the manifest's inputs.
pub(crate) fn inputs() -> Vec<Input> {
    <Recorder as sgl_policy_sdk::Declares>::MANIFEST.inputs.to_vec()
}

/// A native guest that is told what a real one was told.
#[derive(Debug)]
pub(crate) struct Mirror(Guest<Recorder>);

impl Mirror {
    /// A guest that got this `init` message.
    pub(crate) fn new(init: &[u8]) -> Self {
        let mut guest = Guest::new();
        assert!(guest.init(init).is_empty(), "the init message is refused");
        Self(guest)
    }

    /// What it sees of a decision; `table` if it was told of another table before.
    pub(crate) fn see(&mut self, table: Option<&[u8]>, message: &[u8]) -> View {
        if let Some(table) = table {
            self.0.on_workers(table);
        }
        SEEN.set(None);
        let answer = self.0.select(message);
        assert_eq!(Answer::decode(answer), Ok(Answer::NoChoice), "the SDK does not take the message");
        SEEN.take().expect("the policy was asked")
    }
}
