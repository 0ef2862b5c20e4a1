//! Prefill and decode worker are chosen together, and both get the request with the fields by
//! which they find each other.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Value, json};
use sgl_router::config::WorkerEntry;
use sgl_tools::sim::{SimConfig, SimWorker};
use sglang_router_rs::core::WorkerRole;

use crate::plugins_over_http::answer::Form;
use crate::plugins_over_http::client::{CHAT, within};
use crate::plugins_over_http::stage::{PluginConfig, Stage};
use crate::plugins_over_http::tap::{Passed, Tap};
use crate::plugins_over_http::workers;
use crate::plugins_over_http::workers::{chat, holding, instant};
use sgl_testkit::modules::plugin;

/// Zones of the workers.
const ZONES: [&str; 6] = ["north", "south", "north", "south", "north", "south"];

/// Which of them prefill; the others decode.
const PREFILL: Range<usize> = 0..2;

/// Workers of both roles, a tap before each, and a router over the taps.
struct Pairs {
    workers: Vec<SimWorker>,
    passed: Arc<Passed>,
    stage: Stage,
    _taps: Vec<Tap>,
}

impl Pairs {
    /// Decode workers are as `decode` says.
    async fn start(decode: SimConfig) -> Self {
        let (mut workers, mut taps, mut entries) = (Vec::new(), Vec::new(), Vec::new());
        let passed = Arc::new(Passed::default());
        for index in 0..ZONES.len() {
            let config = match role(index) {
                WorkerRole::Prefill => SimConfig { role: WorkerRole::Prefill, ..instant() },
                _ => SimConfig { role: WorkerRole::Decode, ..decode.clone() },
            };
            let worker = workers::start(index, config).await;
            let tap = Tap::before(&worker, index, &passed).await;
            entries.push(entry(index, tap.url()));
            workers.push(worker);
            taps.push(tap);
        }
        let stage = Stage::start(plugin("pd_pair"), PluginConfig::new(), entries).await;
        Self { workers, passed, stage, _taps: taps }
    }

    /// The prefill worker of the answer with these headers, after a look whether the pair is
    /// valid: one of each role got the same request, with the fields that lead from the one to
    /// the other, and the answer is the decode worker's.
    async fn prefill_of(&self, headers: &HeaderMap, decode: usize) -> usize {
        let room = headers.get("x-sim-bootstrap-room").expect("decode workers tell the room");
        let room: u64 = room.to_str().expect("text").parse().expect("a room is a number");
        let halves = within(self.passed.requests(2, |body| body["bootstrap_room"] == room)).await;
        let [(first, one), (second, other)] = halves.try_into().expect("two halves");
        assert_eq!(one, other, "both get the same");
        let prefill = if first == decode { second } else { first };
        assert_eq!([first, second].into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([prefill, decode]));
        assert_eq!((role(prefill), role(decode)), (WorkerRole::Prefill, WorkerRole::Decode));
        let fields = (&one["bootstrap_host"], &one["bootstrap_port"]);
        assert_eq!(fields, (&json!("127.0.0.1"), &json!(bootstrap_port(prefill))));
        prefill
    }

    /// Sends a request and checks the answer and the pair; prefill and decode worker.
    async fn ask(&self, path: &str, request: Value, form: Form) -> (usize, usize) {
        let answer = self.stage.client.ask(path, &form.asked(request)).await;
        let decode = answer.whole_from(form);
        (self.prefill_of(&answer.headers, decode).await, decode)
    }

    /// Waits until nothing is in flight.
    async fn idle(&self) {
        self.stage.loads_are(&[0; ZONES.len()]).await;
    }
}

fn role(worker: usize) -> WorkerRole {
    if PREFILL.contains(&worker) { WorkerRole::Prefill } else { WorkerRole::Decode }
}

fn bootstrap_port(prefill: usize) -> u16 {
    8990 + u16::try_from(prefill).expect("a small number")
}

fn entry(index: usize, url: String) -> WorkerEntry {
    let bootstrap_port = (role(index) == WorkerRole::Prefill).then(|| bootstrap_port(index));
    let labels = BTreeMap::from([("zone".to_owned(), ZONES[index].to_owned())]);
    WorkerEntry { url, role: role(index), bootstrap_port, labels, ..WorkerEntry::default() }
}

#[tokio::test]
async fn pairs_are_valid_and_within_a_zone_on_every_endpoint() {
    let pairs = Pairs::start(instant()).await;
    let mut chosen = BTreeSet::new();
    for number in 0..60 {
        let text = format!("request {number}");
        let (path, request) = match number % 3 {
            0 => (CHAT, chat(&text)),
            1 => ("/v1/completions", json!({ "model": "sim-model", "prompt": text, "max_tokens": 3 })),
            _ => ("/generate", json!({ "text": text, "sampling_params": { "max_new_tokens": 3 } })),
        };
        pairs.idle().await;
        let (prefill, decode) = pairs.ask(path, request, Form::of(number)).await;
        assert_eq!(ZONES[prefill], ZONES[decode], "a transfer between zones costs, and all are idle");
        chosen.insert((prefill, decode));
    }
    // Four pairs cost the same; the chance that 60 draws miss one of them is below 1e-6.
    assert_eq!(chosen.len(), 4, "{chosen:?}");
    pairs.stage.decided(60);
    let prefilled: u64 = pairs.workers[PREFILL].iter().map(SimWorker::requests).sum();
    assert_eq!(prefilled, 60);
}

#[tokio::test]
async fn decode_workers_fill_evenly_and_the_pair_follows_them() {
    let pairs = Pairs::start(holding()).await;
    let mut held = Vec::new();
    for number in 1..=16 {
        // Of what a pair costs, only the load of decode workers differs from now on.
        let decoding = pairs.stage.loads()[PREFILL.end..].to_vec();
        let stream = pairs.stage.client.hold(CHAT, &chat("hold this")).await;
        let decode = stream.worker();
        let prefill = pairs.prefill_of(&stream.headers, decode).await;
        assert_eq!(ZONES[prefill], ZONES[decode]);
        let least = decoding.iter().min().unwrap();
        assert_eq!(decoding[decode - PREFILL.end], *least, "{decode} at {decoding:?}");
        held.push(stream);
        let mut expected = pairs.stage.loads();
        expected[PREFILL].fill(0);
        pairs.stage.loads_are(&expected).await;
        assert_eq!(expected.iter().sum::<usize>(), number);
    }
    assert_eq!(pairs.stage.loads(), [0, 0, 4, 4, 4, 4]);
    drop(held);
    pairs.idle().await;
    pairs.stage.decided(16);
}

#[tokio::test]
async fn other_zone_decodes_where_that_is_cheaper() {
    let pairs = Pairs::start(instant()).await;
    // All decode workers of the north are gone: its prefill worker is as good as the south's,
    // but for the transfer.
    pairs.stage.drain(2);
    pairs.stage.drain(4);
    for number in 0..6 {
        pairs.idle().await;
        let (prefill, decode) = pairs.ask(CHAT, chat("to the south"), Form::of(number)).await;
        assert_eq!((ZONES[prefill], ZONES[decode]), ("south", "south"));
    }
    // Now the south cannot prefill, so the north does, and the transfer is paid.
    pairs.stage.drain(1);
    for number in 0..6 {
        pairs.idle().await;
        let (prefill, decode) = pairs.ask(CHAT, chat("across"), Form::of(number)).await;
        assert_eq!((ZONES[prefill], ZONES[decode]), ("north", "south"));
    }
    pairs.stage.decided(12);
}
