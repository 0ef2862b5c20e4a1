//! What came of the requests of one round.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::{Duration, Instant};

use crossbeam::utils::CachePadded;
use http::HeaderValue;
use parking_lot::Mutex;

use crate::load::histogram::{Times, micros};

/// Connections record into this many tallies in turn, so that they seldom wait for each other.
const SHARDS: usize = 8;
/// Width of a bin of the timeline.
pub(crate) const BIN: Duration = Duration::from_secs(1);
/// A day of bins; whatever ends later counts in the last.
const MOST_BINS: usize = 86_400;

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No connection.
    Connect,
    /// The connection broke before the end of the answer.
    Closed,
    /// No whole answer in time.
    Timeout,
    /// An answer with another status than 2xx.
    Status(u16),
    /// A stream that ended without `[DONE]`, or a whole answer where a stream was asked for.
    Incomplete,
    /// A stream with an event that tells of an error.
    StreamError,
    /// Sent or due, but not answered when the round had to end.
    Unfinished,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Closed => f.write_str("closed"),
            Self::Timeout => f.write_str("timeout"),
            Self::Status(status) => write!(f, "status_{status}"),
            Self::Incomplete => f.write_str("stream_incomplete"),
            Self::StreamError => f.write_str("stream_error"),
            Self::Unfinished => f.write_str("unfinished"),
        }
    }
}

/// A request that was answered.
#[derive(Debug)]
pub(crate) struct Success<'a> {
    /// The first event with text; streams only.
    pub(crate) first_token: Option<Instant>,
    /// Microseconds between events with text.
    pub(crate) gaps: &'a [u32],
    /// Tokens of the answer: its events with text, or what its `usage` says.
    pub(crate) tokens: u64,
}

/// A request that is over.
#[derive(Debug)]
pub(crate) struct Sample<'a> {
    /// When it was due. Everything is counted from here.
    pub(crate) intended: Instant,
    /// When it was taken up.
    pub(crate) started: Instant,
    pub(crate) ended: Instant,
    /// Who answered, as far as the answer tells.
    pub(crate) worker: Option<HeaderValue>,
    pub(crate) result: Result<Success<'a>, ErrorKind>,
    /// What a failed answer said, or the beginning of it.
    pub(crate) said: Option<String>,
}

/// A second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bin {
    /// Requests that were answered in it.
    pub ok: u32,
    /// Requests that failed in it.
    pub failed: u32,
    /// The longest latency of those answered, in microseconds.
    pub max_us: u64,
}

/// Counts and times.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Answered requests.
    pub ok: u64,
    /// Those that were answered before the time of the round was over.
    pub ok_in_time: u64,
    /// Tokens of those.
    pub tokens_in_time: u64,
    /// Tokens of all answers.
    pub tokens: u64,
    /// Failed requests.
    pub errors: BTreeMap<ErrorKind, u64>,
    /// What one failed answer of each kind said, where it said anything.
    pub said: BTreeMap<ErrorKind, String>,
    /// Requests of the warm-up, which count nowhere else.
    pub warmup: u64,
    /// Requests that an operator's interruption cut off, which count nowhere else.
    pub interrupted: u64,
    /// From due to the end of the answer.
    pub latency: Times,
    /// From taken up to the end of the answer.
    pub service: Times,
    /// From due to taken up.
    pub lag: Times,
    /// From due to the first text; streams only.
    pub first_token: Times,
    /// Between texts; streams only.
    pub between_tokens: Times,
    /// Answers by who gave them.
    pub workers: HashMap<HeaderValue, u64>,
    /// From the end of the warm-up.
    pub bins: Vec<Bin>,
    /// When the last request ended.
    pub last_end: Option<Instant>,
}

impl Tally {
    /// Failed requests of all kinds.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Adds the counts and times of another.
    pub fn merge(&mut self, other: &Self) {
        self.ok += other.ok;
        self.ok_in_time += other.ok_in_time;
        self.tokens_in_time += other.tokens_in_time;
        self.tokens += other.tokens;
        self.warmup += other.warmup;
        self.interrupted += other.interrupted;
        other.errors.iter().for_each(|(kind, count)| *self.errors.entry(*kind).or_default() += count);
        other.said.iter().for_each(|(kind, text)| self.hear(*kind, text));
        other.workers.iter().for_each(|(name, n)| *self.workers.entry(name.clone()).or_default() += n);
        self.latency.merge(&other.latency);
        self.service.merge(&other.service);
        self.lag.merge(&other.lag);
        self.first_token.merge(&other.first_token);
        self.between_tokens.merge(&other.between_tokens);
        self.bins.resize(self.bins.len().max(other.bins.len()), Bin::default());
        for (bin, more) in self.bins.iter_mut().zip(&other.bins) {
            bin.ok += more.ok;
            bin.failed += more.failed;
            bin.max_us = bin.max_us.max(more.max_us);
        }
        self.last_end = self.last_end.max(other.last_end);
    }

    fn add(&mut self, sample: Sample<'_>, window: &Window) {
        self.last_end = self.last_end.max(Some(sample.ended));
        let latency = sample.ended.saturating_duration_since(sample.intended);
        let in_time = window.end.is_none_or(|end| sample.ended <= end);
        if let Some(worker) = sample.worker {
            *self.workers.entry(worker).or_default() += 1;
        }
        match sample.result {
            Ok(success) => {
                self.ok += 1;
                self.tokens += success.tokens;
                self.ok_in_time += u64::from(in_time);
                self.tokens_in_time += if in_time { success.tokens } else { 0 };
                self.latency.record(latency);
                self.service.record(sample.ended.saturating_duration_since(sample.started));
                self.lag.record(sample.started.saturating_duration_since(sample.intended));
                if let Some(first) = success.first_token {
                    self.first_token.record(first.saturating_duration_since(sample.intended));
                }
                success.gaps.iter().for_each(|gap| self.between_tokens.record_us(u64::from(*gap)));
                let bin = self.bin(sample.ended, window);
                bin.ok += 1;
                bin.max_us = bin.max_us.max(micros(latency));
            }
            Err(kind) => {
                self.fail(kind, sample.ended, window);
                if let Some(text) = &sample.said {
                    self.hear(kind, text);
                }
            }
        }
    }

    fn fail(&mut self, kind: ErrorKind, at: Instant, window: &Window) {
        *self.errors.entry(kind).or_default() += 1;
        self.bin(at, window).failed += 1;
    }

    /// Keeps the first text of a kind.
    fn hear(&mut self, kind: ErrorKind, text: &str) {
        self.said.entry(kind).or_insert_with(|| text.to_owned());
    }

    fn bin(&mut self, at: Instant, window: &Window) -> &mut Bin {
        let since = at.saturating_duration_since(window.start).as_millis() / BIN.as_millis();
        let index = usize::try_from(since).unwrap_or(MOST_BINS).min(MOST_BINS - 1);
        if self.bins.len() <= index {
            self.bins.resize(index + 1, Bin::default());
        }
        self.bins.get_mut(index).expect("it was made long enough")
    }
}

/// The time in which requests count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// The end of the warm-up. Requests that were due before do not count.
    pub(crate) start: Instant,
    /// Answers that come later do not count into the throughput.
    pub(crate) end: Option<Instant>,
}

/// Takes the samples of a round.
///
/// # Concurrency
///
/// A tally per shard behind a lock that is held for one sample; nothing else.
#[derive(Debug)]
pub(crate) struct SampleRecorder {
    window: Window,
    shards: Box<[CachePadded<Mutex<Tally>>]>,
}

impl SampleRecorder {
    pub(crate) fn new(window: Window) -> Self {
        Self { window, shards: (0..SHARDS).map(|_| CachePadded::default()).collect() }
    }

    /// Records a request that is over; `number` only spreads the load.
    pub(crate) fn add(&self, number: u64, sample: Sample<'_>) {
        let window = &self.window;
        self.with(number, |tally| {
            if sample.intended < window.start { tally.warmup += 1 } else { tally.add(sample, window) }
        });
    }

    /// Records a request that the end of the round cut off.
    pub(crate) fn cut(&self, number: u64, intended: Instant, by_operator: bool) {
        let window = &self.window;
        self.with(number, |tally| match by_operator {
            _ if intended < window.start => tally.warmup += 1,
            true => tally.interrupted += 1,
            false => tally.fail(ErrorKind::Unfinished, Instant::now(), window),
        });
    }

    /// Everything so far.
    pub(crate) fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.shards.iter().for_each(|shard| total.merge(&shard.lock()));
        total
    }

    fn with(&self, number: u64, change: impl FnOnce(&mut Tally)) {
        let shard = usize::try_from(number % SHARDS as u64).unwrap_or(0);
        if let Some(shard) = self.shards.get(shard) {
            change(&mut shard.lock());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    fn sample(start: Instant, times: [u64; 3], result: Result<Success<'_>, ErrorKind>) -> Sample<'_> {
        let [intended, started, ended] = times.map(|ms| at(start, ms));
        let worker = Some(HeaderValue::from_static("w"));
        Sample { intended, started, ended, worker, result, said: None }
    }

    #[test]
    fn sample_counts_from_when_it_was_due_and_into_its_bin() {
        let start = Instant::now();
        let window = Window { start: at(start, 1000), end: Some(at(start, 2000)) };
        let recorder = SampleRecorder::new(window);
        let gaps = [5000, 7000];
        let success = |tokens| Success { first_token: Some(at(start, 1150)), gaps: &gaps, tokens };
        recorder.add(0, sample(start, [1000, 1100, 1250], Ok(success(3))));
        recorder.add(1, sample(start, [1900, 1900, 2100], Ok(success(3))));
        recorder.add(2, sample(start, [1000, 1000, 1001], Err(ErrorKind::Status(503))));
        recorder.add(3, sample(start, [999, 999, 1500], Ok(success(3))));
        let total = recorder.total();
        assert_eq!((total.ok, total.ok_in_time, total.failed(), total.warmup), (2, 1, 1, 1));
        assert_eq!((total.tokens, total.tokens_in_time, total.between_tokens.count()), (6, 3, 4));
        assert_eq!(total.workers[&HeaderValue::from_static("w")], 3);
        let max = |times: &Times| times.quantiles().unwrap().max.round();
        assert_eq!((max(&total.latency), max(&total.service), max(&total.lag)), (250.0, 200.0, 100.0));
        let bins: Vec<(usize, Bin)> =
            total.bins.iter().copied().enumerate().filter(|(_, bin)| *bin != Bin::default()).collect();
        let bin = |ok, failed, max_us| Bin { ok, failed, max_us };
        assert_eq!(bins, [(0, bin(1, 1, 250_000)), (1, bin(1, 0, 200_000))]);
    }

    #[test]
    fn request_that_is_cut_off_fails_unless_the_operator_did_it() {
        let start = Instant::now();
        let recorder = SampleRecorder::new(Window { start, end: None });
        recorder.cut(0, start, false);
        recorder.cut(1, start, true);
        let total = recorder.total();
        assert_eq!((total.failed(), total.interrupted), (1, 1));
        assert_eq!(total.errors.keys().next().map(ToString::to_string).as_deref(), Some("unfinished"));
    }
}
