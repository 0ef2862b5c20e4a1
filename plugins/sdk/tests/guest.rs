//! The guest behind the exports: what it tells the policy, and what it makes of
//! messages that no router would send.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use sgl_policy_sdk::abi::{
    Answer, PairAnswer, ShedAnswer, WaitAnswer, encode_completions, encode_first_tokens, encode_to_vec,
    init_error,
};
use sgl_policy_sdk::prelude::*;
use sgl_policy_sdk::testing::{
    Harness, Request, TestPairDecision, TestWorker, limit_map, pass_time, reset_host, take_logged,
};
use sgl_policy_sdk::{ExplainedChoice, Guest, Ticket, host};

/// A policy that repeats everything it was told as its reason.
#[derive(Debug)]
struct Echo {
    completed: Vec<(u32, bool)>,
    tables: usize,
}

impl Policy for Echo {
    fn init(init: &Init) -> Result<Self, Error> {
        let config = Config::new(init, &["fail", "limit", "tenant_header"])?;
        config.number("limit", 1.0, 0.0)?;
        match config.get("fail") {
            Some(why) => Err(why.as_str().unwrap_or_default().to_owned().into()),
            None => Ok(Self { completed: Vec::new(), tables: 0 }),
        }
    }

    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
        if ctx.is_empty() {
            return Choice::Nobody;
        }
        let worker = ctx.table().get(0).expect("there is one");
        let reason = format!(
            "{} {:?} {:?} {} {:?} load={} running={:?} waiting={:?} queued={:?} kv={:?} tps={:?} ms={:?} age={:?} match={:?} \
             text={:?} tokens={:?} bytes={} count={}{} max={:?} stream={} \
             route={:?} session={:?} hashes={:?} rate={} tenant={:?} user={:?} key={:?} model={:?} a={:?} b={:?} leg={:?} random={} now={} {}{}",
            worker.url,
            worker.model,
            worker.role,
            worker.weight,
            worker.labels.iter().collect::<Vec<_>>(),
            ctx.load().get(0),
            ctx.running().known(0),
            ctx.waiting().known(0),
            ctx.queued_tokens().known(0),
            ctx.kv_usage().known(0),
            ctx.throughput().known(0),
            ctx.latency_ewma().known(0),
            ctx.report_age_ms().known(0),
            ctx.prefix_match().known(0),
            ctx.text(),
            ctx.tokens().map(|tokens| tokens.iter().collect::<Vec<_>>()),
            ctx.prompt_bytes(),
            ctx.prompt_tokens(),
            if ctx.prompt_tokens_exact() { "" } else { "?" },
            ctx.max_tokens(),
            ctx.stream(),
            ctx.route(),
            ctx.session(),
            ctx.prefix_hashes().map(|hashes| hashes.iter().collect::<Vec<_>>()),
            ctx.arrival_rate(),
            ctx.config_header("tenant_header"),
            ctx.field("/user"),
            ctx.query("key"),
            ctx.model(),
            ctx.header("x-a"),
            ctx.header("x-b"),
            ctx.leg(),
            ctx.random(),
            ctx.now_ns(),
            u8::from(ctx.healthy().get(0)),
            u8::from(ctx.excluded().get(0)),
        );
        let scores = (0..ctx.len()).map(|_| 0.5).collect();
        ExplainedChoice {
            worker: ctx.candidates().iter().next(),
            scores,
            reason,
            ..ExplainedChoice::default()
        }
        .into()
    }

    fn on_workers(&mut self, _table: &Table) {
        self.tables += 1;
    }
}

impl PairHook for Echo {
    fn select_pair(&mut self, ctx: &Context<'_, Self>) -> PairChoice {
        let mut candidates = ctx.candidates().iter();
        candidates.next().zip(candidates.next()).into()
    }
}

impl CompletionHook for Echo {
    fn on_complete(&mut self, table: &Table, completion: &Completion) {
        assert!(table.get(0).is_some());
        self.completed.push((completion.worker, completion.ok));
    }
}

impl FirstTokenHook for Echo {
    fn on_first_token(&mut self, table: &Table, first: &FirstToken) {
        assert!(table.get(0).is_some());
        self.completed.push((first.worker, first.tag == Some(1)));
    }
}

impl SessionEndHook for Echo {
    fn on_session_end(&mut self, session: &str) {
        self.completed.push((session.parse().expect("a number"), true));
    }
}

impl StateHook for Echo {
    fn save_state(&mut self, out: &mut Vec<u8>) {
        out.extend(self.completed.iter().flat_map(|(worker, _)| worker.to_le_bytes()));
    }

    fn restore_state(&mut self, saved: &[u8]) {
        let workers = saved.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
        self.completed = workers.map(|worker| (worker, true)).collect();
    }
}

sgl_policy_sdk::export_policy! {
    policy: Echo,
    name: "echo",
    description: "repeats what it was told",
    inputs: [
        Healthy, Excluded, Load, Running, Waiting, QueuedTokens, KvUsage, Throughput, LatencyEwma, ReportAgeMs,
        PrefillLoad, PrefillTokens, UncachedTokens, TokensInFlight, PendingCost, OldestPendingMs, TtftEwma, TpotEwma,
        PrefixMatch, RequestText, RequestTokens, PromptBytes, PromptTokens, PromptTokensExact, MaxTokens, Stream, Route, Session,
        PrefixHashes, ArrivalRate, ConfigHeader("tenant_header"), Field("/user"), Query("key"), Model, Header("x-a"), Header("x-b"), Leg, Random, NowNs,
    ],
    hooks: [select_pair, on_first_token, on_complete, on_session_end, state],
}

/// A policy that only looks at signals, and reads a header that it did not declare.
#[derive(Debug)]
struct Lean;

impl Policy for Lean {
    fn init(_init: &Init) -> Result<Self, Error> {
        Ok(Self)
    }

    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
        if ctx.random() == 13 {
            let _ = ctx.header("x-a");
        }
        assert!(ctx.table().is_empty());
        if ctx.random() == 14 { ctx.len().into() } else { Choice::Failed("no") }
    }
}

sgl_policy_sdk::export_policy! {
    policy: Lean,
    name: "lean",
    description: "only signals",
    inputs: [Random, Healthy, Load],
    concurrency: Serial,
    hooks: [without_table],
}

/// A policy that gives a tag, a cost, both or neither along with its choice, by the random number.
#[derive(Debug)]
struct Ticketing;

impl Policy for Ticketing {
    fn init(_init: &Init) -> Result<Self, Error> {
        Ok(Self)
    }

    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
        let last = Choice::Worker(ctx.len() - 1);
        match ctx.random() {
            0 => last,
            1 => last.with_tag(u64::MAX),
            2 => last.with_cost(2.5),
            3 => last.with_cost(2.5).with_tag(7),
            4 => {
                let ticket = Ticket::new(Some(7), 2.5);
                ExplainedChoice { worker: Some(0), ticket, ..ExplainedChoice::default() }.into()
            }
            _ => Choice::Nobody.with_tag(7).with_cost(2.5),
        }
    }
}

impl PairHook for Ticketing {
    fn select_pair(&mut self, ctx: &Context<'_, Self>) -> PairChoice {
        match ctx.random() {
            2 => return PairChoice::wait(f64::MIN, Duration::MAX).with_tag(7),
            3 => return PairChoice::shed(Duration::MAX),
            _ => {}
        }
        let pair = PairChoice::Pair { prefill: usize::MAX >> 1, decode: usize::MAX >> 1 };
        if ctx.random() == 0 { pair } else { pair.with_costs(0.5, 0.25).with_tag(u64::MAX) }
    }
}

sgl_policy_sdk::export_policy! {
    policy: Ticketing,
    name: "ticketing",
    description: "gives tags and costs",
    inputs: [Random, Load],
    hooks: [select_pair, without_table],
}

#[test]
fn tag_and_cost_arrive_with_the_choice_of_a_worker_and_with_no_other() {
    let mut harness = Harness::<Ticketing>::new([], TestWorker::fleet(70_000)).expect("starts");
    for (random, expected) in [
        (0, (Some(69_999), None, 0.0)),
        (1, (Some(69_999), Some(u64::MAX), 0.0)),
        (2, (Some(69_999), None, 2.5)),
        (3, (Some(69_999), Some(7), 2.5)),
        (4, (Some(0), Some(7), 2.5)),
        (5, (None, None, 0.0)),
    ] {
        let decision = harness.select(&Request::new().random(random));
        assert_eq!((decision.worker, decision.tag, decision.cost), expected, "{random}");
    }
}

#[test]
fn longest_ticket_of_a_pair_fits_into_the_answer() {
    let mut harness = Harness::<Ticketing>::new([], TestWorker::fleet(2)).expect("starts");
    let pair = Some((usize::MAX >> 1, usize::MAX >> 1));
    let without = harness.select_pair(&Request::new().random(0));
    assert_eq!((without.pair, without.tag, without.costs), (pair, None, (0.0, 0.0)));
    let waits = harness.select_pair(&Request::new().random(2));
    let wait = WaitAnswer { key: f64::MIN, deadline_ms: Some(u64::MAX) };
    assert_eq!(waits, TestPairDecision { wait: Some(wait), ..TestPairDecision::default() });
    let refused = harness.select_pair(&Request::new().random(3));
    let shed = ShedAnswer { retry_after_ms: u64::MAX };
    assert_eq!(refused, TestPairDecision { shed: Some(shed), ..TestPairDecision::default() });
    let with = harness.select_pair(&Request::new().random(1));
    assert_eq!((with.pair, with.tag, with.costs), (pair, Some(u64::MAX), (0.5, 0.25)));
}

/// A policy that says why, whatever it does.
#[derive(Debug)]
struct Reasoning;

const WHY: &str =
    "a sentence that is longer than the room which short answers have in the guest, by some words";

impl Policy for Reasoning {
    fn init(_init: &Init) -> Result<Self, Error> {
        Ok(Self)
    }

    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
        let choice = match ctx.random() {
            0 => Choice::Worker(1),
            1 => Choice::Worker(1).with_tag(7).with_cost(0.5),
            2 => Choice::wait(2.0, Duration::from_millis(30)),
            3 => Choice::shed(Duration::from_secs(1)),
            4 => Choice::Nobody,
            _ => Choice::Failed("failed"),
        };
        choice.with_reason(WHY)
    }
}

impl PairHook for Reasoning {
    fn select_pair(&mut self, ctx: &Context<'_, Self>) -> PairChoice {
        let pair = PairChoice::Pair { prefill: 0, decode: 1 };
        let choice = match ctx.random() {
            0 => pair,
            1 => pair.with_tag(7).with_costs(0.5, 0.25),
            2 => PairChoice::wait(2.0, Duration::from_millis(30)),
            3 => PairChoice::shed(Duration::from_secs(1)),
            4 => PairChoice::Nobody,
            _ => PairChoice::Failed("failed"),
        };
        choice.with_reason(WHY)
    }
}

sgl_policy_sdk::export_policy! {
    policy: Reasoning,
    name: "reasoning",
    description: "says why",
    inputs: [Random, Load],
    hooks: [select_pair, without_table],
}

#[test]
fn reason_arrives_with_whatever_was_decided() {
    let mut harness = Harness::<Reasoning>::new([], TestWorker::fleet(2)).expect("starts");
    let wait = WaitAnswer { key: 2.0, deadline_ms: Some(30) };
    let shed = ShedAnswer { retry_after_ms: 1000 };
    for (random, worker, tag, cost) in [
        (0, Some(1), None, 0.0),
        (1, Some(1), Some(7), 0.5),
        (2, None, None, 0.0),
        (3, None, None, 0.0),
        (4, None, None, 0.0),
    ] {
        let request = Request::new().random(random);
        let (one, pair) = (harness.select(&request), harness.select_pair(&request));
        let (wait, shed) = (Some(wait).filter(|_| random == 2), Some(shed).filter(|_| random == 3));
        assert_eq!((one.worker, one.tag, one.cost, one.wait, one.shed), (worker, tag, cost, wait, shed));
        assert_eq!(
            (pair.pair.is_some(), pair.tag, pair.costs.0, pair.wait, pair.shed),
            (worker.is_some(), tag, cost, wait, shed)
        );
        assert_eq!((one.reason.as_deref(), pair.reason.as_deref()), (Some(WHY), Some(WHY)), "{random}");
    }
    let failed = Request::new().random(5);
    let (one, pair) = (harness.select(&failed), harness.select_pair(&failed));
    assert_eq!((one.error.as_deref(), pair.error.as_deref()), (Some("failed"), Some("failed")));
    assert_eq!((one.reason, pair.reason), (None, None));
}

fn echo(workers: Vec<TestWorker>) -> Harness<Echo> {
    Harness::new([], workers).expect("starts")
}

#[test]
fn every_input_arrives_as_it_was_sent() {
    let worker = TestWorker {
        model: Some("m".to_owned()),
        role: WorkerRole::Prefill,
        weight: 2.5,
        excluded: false,
        load: 3,
        running: 4,
        waiting: 5,
        queued_tokens: 6,
        kv_usage: 0.5,
        throughput: 7.0,
        latency_ewma: 8.5,
        report_age_ms: 900,
        prefix_match: 32,
        ..TestWorker::new("http://a").label("zone", "z1")
    };
    let request = Request {
        tokens: Some(vec![1, 70_000]),
        max_tokens: Some(77),
        stream: true,
        route: Some("/generate".to_owned()),
        arrival_rate: Some(2.5),
        now_ns: 99,
        ..Request::new()
    };
    let request = request.session("s").prefix_hashes(&[u64::MAX, 1]).field("/user", "u").query("key", "k");
    let request =
        request.text("hé").prompt_tokens(2).model("mm").header("x-b", "v").leg(Leg::Decode).random(u64::MAX);
    let decision = echo(vec![worker]).select(&request);
    assert_eq!(decision.worker, Some(0));
    assert_eq!(decision.scores, Some(vec![0.5]));
    assert_eq!(
        decision.reason.as_deref(),
        Some(
            "http://a Some(\"m\") Prefill 2.5 [(\"zone\", \"z1\")] load=3 running=Some(4) waiting=Some(5) \
             queued=Some(6) kv=Some(0.5) tps=Some(7.0) ms=Some(8.5) age=Some(900) match=Some(32) text=Some(\"hé\") \
             tokens=Some([1, 70000]) bytes=3 count=2 max=Some(77) stream=true \
             route=Some(\"/generate\") session=Some(\"s\") hashes=Some([18446744073709551615, 1]) rate=2.5 \
             tenant=None user=Some(\"u\") key=Some(\"k\") model=Some(\"mm\") a=None b=Some(\"v\") leg=Decode \
             random=18446744073709551615 now=99 10"
        )
    );
}

#[test]
fn what_is_not_known_arrives_as_unknown() {
    let decision = echo(vec![TestWorker::new("http://a")]).select(&Request::new().random(0));
    assert_eq!(
        decision.reason.as_deref(),
        Some(
            "http://a None Regular 1 [] load=0 running=None waiting=None queued=None kv=None tps=None ms=None age=None match=None \
             text=None tokens=None bytes=0 count=0? max=None stream=false \
             route=None session=None hashes=None rate=NaN tenant=None user=None key=None model=None a=None b=None leg=Single random=0 now=0 10"
        )
    );
}

#[test]
fn decision_without_workers_is_nobody() {
    let mut harness = echo(Vec::new());
    assert_eq!(harness.select(&Request::new()).worker, None);
    assert_eq!(harness.select_pair(&Request::new()).pair, None);
}

#[test]
fn pair_arrives_as_two_indices() {
    let mut fleet = TestWorker::fleet(600);
    fleet.iter_mut().for_each(|worker| worker.healthy = false);
    fleet[3].healthy = true;
    fleet[599].healthy = true;
    assert_eq!(echo(fleet).select_pair(&Request::new()).pair, Some((3, 599)));
}

#[test]
fn completions_of_the_guests_table_arrive_and_others_are_dropped() {
    let mut harness = echo(TestWorker::fleet(3));
    harness.complete(&[Completion { worker: 2, ok: true, ..Completion::default() }]);
    let stale = [Completion { worker: 1, ..Completion::default() }];
    let stale = encode_to_vec(|w| encode_completions(w, 77, stale.iter())).expect("fits");
    harness.guest().on_complete(&stale);
    assert_eq!(harness.save_state(), 2u32.to_le_bytes());
}

#[test]
fn first_tokens_of_the_guests_table_arrive_and_others_are_dropped() {
    let mut harness = echo(TestWorker::fleet(3));
    harness.first_token(&[FirstToken { worker: 2, tag: Some(1), ms: 5.0 }]);
    let stale = [FirstToken { worker: 1, ..FirstToken::default() }];
    let stale = encode_to_vec(|w| encode_first_tokens(w, 77, stale.iter())).expect("fits");
    harness.guest().on_first_token(&stale);
    assert_eq!(harness.save_state(), 2u32.to_le_bytes());
}

#[test]
fn ends_of_sessions_arrive_in_order_and_what_is_malformed_does_not() {
    let mut harness = echo(TestWorker::fleet(3));
    harness.end_sessions(&["5", "7"]);
    for malformed in [&[][..], &[0x90], &[0x91, 0x91], &[0x91, 0x91, 3, 3]] {
        harness.guest().on_session_end(malformed);
    }
    assert_eq!(harness.save_state(), [5u32.to_le_bytes(), 7u32.to_le_bytes()].concat());
}

#[test]
fn state_moves_into_the_next_generation() {
    let mut old = echo(TestWorker::fleet(3));
    old.complete(&[Completion { worker: 1, ..Completion::default() }]);
    let saved = old.save_state();
    let mut new = echo(TestWorker::fleet(3));
    assert_eq!(new.save_state(), Vec::<u8>::new());
    new.restore_state(&saved);
    assert_eq!(new.save_state(), saved);
}

#[test]
fn init_error_reaches_the_host_word_for_word() {
    let fail =
        |key: &str, value: Value| Harness::<Echo>::new([(key, value)], Vec::new()).expect_err("refused");
    assert_eq!(fail("fail", Value::Str("no weights".to_owned())), "no weights");
    assert_eq!(
        fail("limti", Value::Int(1)),
        "unknown config key `limti`; known: `limit`, `fail`, `tenant_header`"
    );
    let several = [("tenant", Value::Nil), ("limit", Value::Int(1)), ("heads", Value::Nil)];
    assert_eq!(
        Harness::<Echo>::new(several, Vec::new()).expect_err("refused"),
        "unknown config keys `tenant`, `heads`; known: `fail`, `limit`, `tenant_header`"
    );
    assert_eq!(
        fail("limit", Value::Str("1".to_owned())),
        "config key `limit` is `1`; expected a number of at least 0"
    );
    assert_eq!(
        fail("limit", Value::Float(f64::NAN)),
        "config key `limit` is NaN; expected a number of at least 0"
    );
    assert_eq!(fail("limit", Value::Int(-1)), "config key `limit` is -1; expected a number of at least 0");
}

#[test]
fn decision_before_init_is_an_error() {
    let message = echo(TestWorker::fleet(1)).message(&Request::new());
    let mut guest = Guest::<Echo>::new();
    let Ok(Answer::Map(answer)) = Answer::decode(guest.select(&message)) else { panic!("an error") };
    assert_eq!(answer.error, Some("the plugin decides before `init` succeeded"));
    let Ok(PairAnswer::Map(answer)) = PairAnswer::decode(guest.select_pair(&message)) else {
        panic!("an error")
    };
    assert_eq!(answer.error, Some("the plugin decides before `init` succeeded"));
    assert!(init_error(guest.init(&[0xc1])).expect("well formed").is_some());
}

#[test]
fn decision_for_another_table_is_refused() {
    let mut harness = echo(TestWorker::fleet(2));
    let message = harness.message(&Request::new());
    harness.send_table();
    let Ok(Answer::Map(answer)) = Answer::decode(harness.guest().select(&message)) else {
        panic!("an error")
    };
    assert_eq!(answer.error, Some("decision message names another version of the worker table"));
}

#[test]
fn columns_of_the_wrong_length_are_refused() {
    let mut harness = echo(TestWorker::fleet(9));
    for len in [0, 1, 8, 10, 17, 100] {
        // The table still says nine.
        harness.workers = TestWorker::fleet(len);
        let decision = harness.select(&Request::new());
        assert_eq!(decision.error.as_deref(), Some("a column has not one entry per worker"), "{len}");
    }
}

#[test]
fn missing_or_surplus_elements_are_refused() {
    let error = |message: &[u8]| {
        let mut harness = Harness::<Lean>::new([], Vec::new()).expect("starts");
        let Ok(Answer::Map(answer)) = Answer::decode(harness.guest().select(message)) else {
            panic!("an error")
        };
        answer.error.map(str::to_owned).expect("an error")
    };
    let wrong_count = "decision message has not one element per declared input";
    assert_eq!(error(&[0x91, 1]), wrong_count);
    assert_eq!(error(&[0x95, 1, 0, 0xc4, 0, 0xc4, 0, 0xc0]), wrong_count);
    let malformed = "decision message is malformed";
    assert_eq!(error(&[]), malformed);
    assert_eq!(error(&[0x94, 1, 0xc0, 0xc4, 0, 0xc4, 0]), malformed);
    assert_eq!(error(&[0x94, 1, 0, 0xc4, 0, 0xc4, 9]), malformed);
    assert_eq!(error(&[0x94, 1, 0, 0xc4, 0, 0xc4, 0, 7]), malformed);
    assert_eq!(error(&[0x94, 1, 0, 0xc4, 1, 0, 0xc4, 3, 0, 0, 0]), "a column has not one entry per worker");
}

#[test]
fn elements_in_longer_forms_than_the_routers_are_read_too() {
    let mut harness = Harness::<Lean>::new([], Vec::new()).expect("starts");
    let mut chosen = |message: &[u8]| match Answer::decode(harness.guest().select(message)) {
        Ok(Answer::Index(worker)) => Some(worker),
        _ => None,
    };
    // random 14: it answers with the number of workers.
    let load = [1, 0, 0, 0, 2, 0, 0, 0];
    let short = [&[0x94, 1, 14, 0xc4, 1, 3, 0xc4, 8][..], &load].concat();
    let long = [&[0xdc, 0, 4, 0xd0, 1, 0xd1, 0, 14, 0xc5, 0, 1, 3, 0xc6, 0, 0, 0, 8][..], &load].concat();
    let longest =
        [&[0xdd, 0, 0, 0, 4, 0xcc, 1, 0xd2, 0, 0, 0, 14, 0xc6, 0, 0, 0, 1, 3, 0xc5, 0, 8][..], &load]
            .concat();
    assert_eq!([chosen(&short), chosen(&long), chosen(&longest)], [Some(2); 3]);
}

#[test]
fn plugin_without_table_learns_the_number_of_workers_from_its_columns() {
    let mut harness = Harness::<Lean>::new([], TestWorker::fleet(11)).expect("starts");
    assert_eq!(harness.select(&Request::new().random(14)).worker, Some(11));
    assert_eq!(harness.select(&Request::new().random(0)).error.as_deref(), Some("no"));
}

#[test]
#[should_panic(expected = "reads header `x-a`, which `inputs` of export_policy! does not list")]
fn undeclared_header_is_found_by_native_tests() {
    let mut harness = Harness::<Lean>::new([], TestWorker::fleet(1)).expect("starts");
    harness.select(&Request::new().random(13));
}

#[test]
fn malformed_table_is_logged_and_keeps_the_old_one() {
    reset_host();
    let mut harness = echo(TestWorker::fleet(2));
    harness.guest().on_workers(b"\x80");
    let logged = take_logged();
    assert_eq!(logged, [(Level::Error, "worker table message is malformed".to_owned())]);
    assert_eq!(harness.select(&Request::new()).worker, Some(0));
}

#[test]
fn host_functions_have_stand_ins_with_the_routers_limits() {
    reset_host();
    assert_eq!(
        [host::counter_add(63, 2), host::counter_add(63, -5), host::counter_add(64, 1)],
        [Some(2), Some(-3), None]
    );
    host::count(63);
    assert_eq!(host::counter_add(63, 0), Some(-2));

    assert_eq!(host::kv_get("k"), Ok(None));
    let long = vec![7; 64 << 10];
    assert_eq!(host::kv_set("k", &long), Ok(()));
    assert_eq!(host::kv_get("k"), Ok(Some(long.clone())));
    assert_eq!(host::kv_set("k", &vec![7; (64 << 10) + 1]), Err(host::KvError::ValueTooLarge));
    assert_eq!(host::kv_set("k", b"short"), Ok(()));
    assert_eq!(host::kv_get("k"), Ok(Some(b"short".to_vec())));
    let stored = (0..20).take_while(|i| host::kv_set(&format!("long{i}"), &long).is_ok()).count();
    assert_eq!(stored, 15);
    assert_eq!(host::kv_set("one more", &long), Err(host::KvError::Full));

    sgl_policy_sdk::log!(Level::Warn, "{} of {}", 1, 2);
    assert_eq!(take_logged(), [(Level::Warn, "1 of 2".to_owned())]);
}

#[test]
fn entries_for_a_time_end_and_limits_are_the_operators() {
    reset_host();
    let second = Duration::from_secs(1);
    assert_eq!(host::kv_set_for("a", b"1", second), Ok(()));
    assert_eq!(host::kv_set_for("b", b"2", Duration::from_nanos(1)), Ok(()));
    assert_eq!((host::kv_get("a"), host::kv_get("b")), (Ok(Some(b"1".to_vec())), Ok(Some(b"2".to_vec()))));
    pass_time(Duration::from_millis(999));
    assert_eq!((host::kv_get("a"), host::kv_get("b")), (Ok(Some(b"1".to_vec())), Ok(None)));
    assert_eq!(host::kv_set("a", b"3"), Ok(()), "for good from now on");
    pass_time(100 * second);
    assert_eq!(host::kv_get("a"), Ok(Some(b"3".to_vec())));
    assert_eq!((host::kv_remove("a"), host::kv_remove("a"), host::kv_get("a")), (Ok(()), Ok(()), Ok(None)));
    limit_map(5, 2);
    assert_eq!(host::kv_set("a", b"12345"), Err(host::KvError::Full));
    assert_eq!([host::kv_set("a", b""), host::kv_set("b", b"")], [Ok(()), Ok(())]);
    assert_eq!(host::kv_set_for("c", b"", second), Err(host::KvError::Full));
    reset_host();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn arbitrary_messages_get_a_well_formed_answer(bytes in vec(any::<u8>(), 0..200)) {
        let mut harness = echo(TestWorker::fleet(3));
        let guest = harness.guest();
        prop_assert!(Answer::decode(guest.select(&bytes)).is_ok());
        prop_assert!(PairAnswer::decode(guest.select_pair(&bytes)).is_ok());
        guest.on_complete(&bytes);
        guest.on_first_token(&bytes);
        guest.on_workers(&bytes);
        guest.restore_state(&bytes);
        prop_assert!(init_error(guest.init(&bytes)).is_ok());
    }

    #[test]
    fn damaged_messages_get_a_well_formed_answer(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut harness = echo(TestWorker::fleet(9));
        let mut message = harness.message(&Request::new().text("some text").header("x-a", "v"));
        let at = at.index(message.len());
        message[at] = byte;
        let cut = cut.index(message.len());
        for message in [&message[..], &message[..cut]] {
            prop_assert!(Answer::decode(harness.guest().select(message)).is_ok());
        }
    }
}
