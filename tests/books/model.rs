//! One step after another, against a model that adds everything up anew.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use sglang_router_rs::core::{
    BookEntry, Column, Fleet, InFlight, KeptBooks, Worker, WorkerSpec, WorkerTable,
};

use crate::columns::{alone, assert_zero, floats, ints};

const WORKERS: usize = 3;

/// What happens to requests and workers. Numbers choose among those that there are.
#[derive(Clone, Debug)]
enum Step {
    Decide {
        worker: usize,
        prompt: u32,
        uncached: u32,
        cost: f32,
        decodes: bool,
    },
    Send(usize),
    FirstToken(usize),
    Begin(usize),
    Generate(usize, u32),
    End(usize),
    /// Another plugin begins or ends to read the books.
    Keep(bool),
    /// The worker gets other facts.
    Replace(usize),
    /// It goes, and comes back.
    Return(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let cost = prop_oneof![Just(0.0_f32), 0.0..1e6_f32, Just(1e-4), Just(6e10)];
    prop_oneof![
        6 => (0..WORKERS, 0..100_000_u32, 0..1000_u32, cost, any::<bool>()).prop_map(
            |(worker, prompt, cached, cost, decodes)| {
                Step::Decide { worker, prompt, uncached: prompt.saturating_sub(cached), cost, decodes }
            }
        ),
        4 => (0..64_usize).prop_map(Step::Send),
        3 => (0..64_usize).prop_map(Step::FirstToken),
        1 => (0..64_usize).prop_map(Step::Begin),
        3 => (0..64_usize, 0..50_u32).prop_map(|(one, tokens)| Step::Generate(one, tokens)),
        4 => (0..64_usize).prop_map(Step::End),
        1 => any::<bool>().prop_map(Step::Keep),
        1 => (0..WORKERS).prop_map(Step::Replace),
        1 => (0..WORKERS).prop_map(Step::Return),
    ]
}

/// A request, and what the model knows of it.
struct One {
    guard: InFlight,
    worker: usize,
    entry: BookEntry,
    generated: u32,
    pending: bool,
    sent: Option<Instant>,
}

struct Stage {
    fleet: Fleet,
    ones: Vec<One>,
    kept: Option<KeptBooks>,
    /// Time that the model lets pass.
    now: Instant,
}

fn url(worker: usize) -> String {
    format!("http://w{worker}")
}

impl Stage {
    fn new() -> Self {
        let fleet = Fleet::new();
        (0..WORKERS).for_each(|worker| drop(fleet.add(WorkerSpec::new(url(worker)), true)));
        // Some time ago, so that ages are above zero.
        let now = Instant::now() - Duration::from_millis(500);
        Self { fleet, ones: Vec::new(), kept: Some(KeptBooks::new()), now }
    }

    fn one(&mut self, number: usize) -> Option<&mut One> {
        let count = self.ones.len().max(1);
        self.ones.get_mut(number % count)
    }

    fn take(&mut self, step: &Step) {
        self.now += Duration::from_micros(100);
        let now = self.now;
        match *step {
            Step::Decide { worker, prompt, uncached, cost, decodes } => {
                let prefill_tokens = if decodes { 0 } else { prompt };
                let uncached_tokens = if decodes { 0 } else { uncached };
                let entry = BookEntry { prompt_tokens: prompt, prefill_tokens, uncached_tokens, cost };
                let table = self.fleet.table();
                let place = table.position(&url(worker)).expect("it is there");
                let guard = InFlight::on_fleet_with(&table.workers()[place], || entry);
                let pending = guard.is_booked();
                self.ones.push(One { guard, worker, entry, generated: 0, pending, sent: None });
            }
            Step::Send(number) => {
                if let Some(one) = self.one(number) {
                    one.guard.sent(now);
                    one.sent = one.sent.or(one.pending.then_some(now));
                }
            }
            Step::FirstToken(number) => {
                if let Some(one) = self.one(number) {
                    one.guard.first_token(now);
                    one.pending = false;
                }
            }
            Step::Begin(number) => {
                if let Some(one) = self.one(number) {
                    one.guard.begun();
                    one.pending = false;
                }
            }
            Step::Generate(number, tokens) => {
                if let Some(one) = self.one(number) {
                    one.guard.generated(tokens);
                    one.generated += tokens;
                }
            }
            Step::End(number) => {
                if !self.ones.is_empty() {
                    let number = number % self.ones.len();
                    self.ones.swap_remove(number);
                }
            }
            Step::Keep(keeps) => {
                if keeps {
                    self.kept.get_or_insert_with(KeptBooks::new);
                } else {
                    self.kept = None;
                }
            }
            Step::Replace(worker) => {
                let spec = WorkerSpec { weight: 2.0, ..WorkerSpec::new(url(worker)) };
                self.fleet.replace(spec).expect("it is there");
            }
            Step::Return(worker) => {
                self.fleet.remove(&url(worker)).expect("it is there");
                self.fleet.add(WorkerSpec::new(url(worker)), true).expect("it is gone");
            }
        }
    }

    /// What is booked at a worker.
    fn booked(&self, worker: usize) -> impl Iterator<Item = &One> {
        self.ones.iter().filter(move |one| one.worker == worker && one.guard.is_booked())
    }

    fn check(&self) {
        let table = self.fleet.table();
        for worker in 0..WORKERS {
            let place = table.position(&url(worker)).expect("it is there");
            let pending = || self.booked(worker).filter(|one| one.pending);
            let sum =
                |number: fn(&BookEntry) -> u32| -> u32 { pending().map(|one| number(&one.entry)).sum() };
            let held: u32 = self.booked(worker).map(|one| one.entry.prompt_tokens + one.generated).sum();
            let int = |column| ints(&*table, column)[place].cast_unsigned();
            assert_eq!(int(Column::PrefillLoad) as usize, pending().count());
            assert_eq!(int(Column::PrefillTokens), sum(|entry| entry.prefill_tokens));
            assert_eq!(int(Column::UncachedTokens), sum(|entry| entry.uncached_tokens));
            assert_eq!(int(Column::TokensInFlight), held);
            self.check_cost(&table, place, pending().map(|one| one.entry.cost));
            let oldest = pending().filter_map(|one| one.sent).min();
            self.check_age(&table, place, oldest);
        }
    }

    fn check_cost(&self, table: &WorkerTable, place: usize, costs: impl Iterator<Item = f32>) {
        let steps = f64::from(1 << 20);
        let sum: f64 = costs.map(|cost| (f64::from(cost) * steps).floor()).sum::<f64>() / steps;
        let shown = f64::from(floats(table, Column::PendingCost)[place]);
        assert!((shown - sum).abs() <= sum * 1e-6, "{shown} for {sum}");
    }

    /// The clock goes on while the model stands still.
    fn check_age(&self, table: &WorkerTable, place: usize, oldest: Option<Instant>) {
        let age = ints(table, Column::OldestPendingMs)[place];
        match oldest {
            None => assert_eq!(age, -1),
            Some(oldest) => {
                let most = oldest.elapsed().as_millis() + 1;
                assert!((1..=most).contains(&u128::try_from(age).expect("not negative")), "{age} of {most}");
            }
        }
    }
}

proptest! {
    #[test]
    fn every_number_is_what_is_in_flight_after_each_step(steps in prop::collection::vec(step(), 1..120)) {
        let _alone = alone();
        let mut stage = Stage::new();
        for step in &steps {
            stage.take(step);
            stage.check();
        }
        stage.ones.clear();
        assert_zero(&stage.fleet.table());
    }
}

#[test]
fn age_is_that_of_the_oldest_and_falls_when_it_gets_its_first_token() {
    let _alone = alone();
    let _kept = KeptBooks::new();
    let fleet = Fleet::new();
    let worker = fleet.add(WorkerSpec::new("http://w"), true).unwrap();
    let table = fleet.table();
    let now = Instant::now();
    let mut ones: Vec<InFlight> = (0..3).map(|_| InFlight::on_fleet(&worker)).collect();
    assert_eq!(ints(&*table, Column::OldestPendingMs), [-1], "nothing was sent");
    for (one, seconds) in ones.iter_mut().zip([20, 90, 50]) {
        one.sent(now - Duration::from_secs(seconds));
    }
    let age = || ints(&*table, Column::OldestPendingMs)[0];
    assert!((89_900..110_000).contains(&age()), "{}", age());
    ones[1].first_token(Instant::now());
    assert!((49_900..70_000).contains(&age()), "{}", age());
    ones.remove(2);
    assert!((19_900..40_000).contains(&age()), "{}", age());
    drop(ones);
    assert_eq!(ints(&*table, Column::OldestPendingMs), [-1]);
}

#[test]
fn averages_move_a_tenth_towards_what_was_measured_and_are_no_other_workers() {
    let _alone = alone();
    let _kept = KeptBooks::new();
    let fleet = Fleet::new();
    let worker = fleet.add(WorkerSpec::new("http://w"), true).unwrap();
    let numbers = || worker.book_numbers().unwrap();
    assert_eq!((numbers().ttft_ms, numbers().tpot_ms), (None, None));
    let now = Instant::now();
    for (after, average) in [(100, 100.0), (200, 110.0)] {
        let mut one = InFlight::on_fleet(&worker);
        one.sent(now - Duration::from_millis(after));
        one.first_token(now);
        one.first_token(now + Duration::from_secs(9));
        let found = numbers().ttft_ms.unwrap();
        assert!((found - average).abs() < 0.01, "{found} for {average}");
    }
    assert_eq!(numbers().tpot_ms, None, "no second token came");
    let mut one = InFlight::on_fleet(&worker);
    one.sent(now - Duration::from_secs(10));
    one.first_token(now - Duration::from_secs(8));
    one.generated(1);
    one.generated(80);
    drop(one);
    let found = numbers().tpot_ms.unwrap();
    assert!((100.0..400.0).contains(&found), "{found}");
    fleet.remove("http://w").unwrap();
    drop(worker);
    let other = fleet.add(WorkerSpec::new("http://other"), true).unwrap();
    let found = other.book_numbers().unwrap();
    assert_eq!((found.ttft_ms, found.tpot_ms, found.oldest_pending_ms), (None, None, None));
}

#[test]
fn nothing_is_kept_while_nobody_reads_the_books() {
    let _alone = alone();
    let fleet = Fleet::new();
    let worker = fleet.add(WorkerSpec::new("http://w"), true).unwrap();
    let mut before = InFlight::on_fleet_with(&worker, || panic!("nobody asks"));
    assert!(!before.is_booked() && worker.book_numbers().is_none());
    let kept = KeptBooks::new();
    let other = KeptBooks::new();
    before.sent(Instant::now());
    before.first_token(Instant::now());
    before.generated(5);
    assert_zero_books(&fleet.table());
    drop(kept);
    let after = InFlight::on_fleet_with(&worker, || BookEntry { prompt_tokens: 9, ..BookEntry::default() });
    assert_eq!(worker.book_numbers().unwrap().tokens_in_flight, 9, "the other still reads them");
    drop((other, before));
    assert_eq!((ints(&*fleet.table(), Column::TokensInFlight), worker.load()), (vec![9], 1));
    drop(after);
    assert_zero(&fleet.table());
}

fn assert_zero_books(table: &WorkerTable) {
    assert!(crate::columns::SUMS.iter().all(|column| crate::columns::bits(table, *column) == [0]));
}

#[test]
fn prompts_and_costs_beyond_all_bounds_stay_in_their_columns() {
    let _alone = alone();
    let _kept = KeptBooks::new();
    let fleet = Fleet::new();
    let worker = fleet.add(WorkerSpec::new("http://w"), true).unwrap();
    let entry = |cost| BookEntry {
        prompt_tokens: u32::MAX,
        prefill_tokens: u32::MAX,
        uncached_tokens: u32::MAX,
        cost,
    };
    let costs = [f32::INFINITY, f32::MAX, f32::NAN, -5.0, f32::NEG_INFINITY];
    let ones: Vec<InFlight> = costs.map(|cost| InFlight::on_fleet_with(&worker, || entry(cost))).into();
    let found = worker.book_numbers().unwrap();
    assert_eq!((found.prefill_load, found.prefill_tokens, found.tokens_in_flight), (5, 5 << 24, 5 << 24));
    assert_eq!(found.pending_cost, 2.0 * sgl_policy_abi::MAX_COST);
    drop(ones);
    assert_zero(&fleet.table());
}

#[test]
fn answer_counts_for_a_bounded_number_of_tokens_whatever_is_said_of_it() {
    let _alone = alone();
    let _kept = KeptBooks::new();
    let fleet = Fleet::new();
    fleet.add(WorkerSpec::new(url(0)), true).unwrap();
    let table = fleet.table();
    let entry = || BookEntry { prompt_tokens: 5, ..BookEntry::default() };
    let mut guard = InFlight::on_fleet_with(&table.workers()[0], entry);
    guard.generated(3);
    guard.generated_in_all(u32::MAX);
    assert_eq!(ints(&*table, Column::TokensInFlight), [5 + (1 << 24)]);
    guard.generated_in_all(2);
    assert_eq!(ints(&*table, Column::TokensInFlight), [7]);
    drop(guard);
    assert_zero(&table);
}
