//! Says over a plain subject which prompts a router sent to which workers, and hears what the others sent. What
//! is lost is lost: the worker is asked for a prompt that it might have found in its cache.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use tokio::time::MissedTickBehavior;

use crate::connection::FleetConnection;
use crate::exchange_counts::{ExchangeCounts, MessageOutcome};
use crate::fleet_state_error::FleetStateError;
use crate::key_part::KeyPart;
use crate::message_number::MessageNumber;
use crate::prefix_message::{PrefixMessage, SentPrefix};

/// What the subjects begin with; the fleet and the router follow.
const SUBJECT: &str = "sgl.prefix";

/// Messages a second.
const RATE: u32 = 5;

/// A router that is silent for so long begins anew.
const SILENCE: Duration = Duration::from_secs(10);

/// Hashes that are noted before other tasks have their turn: some tenth of a millisecond.
const TURN: usize = 1024;

/// What became of single prompts.
#[derive(Debug, Default)]
pub struct PrefixCounts {
    /// Those that the others were told of.
    pub told: AtomicU64,
    /// Those that they were not: too many, or NATS was away.
    pub dropped: AtomicU64,
    /// Those of others that were noted.
    pub noted: AtomicU64,
    /// Those of others that were sent to workers that are not here, or that nobody here wants to know of.
    pub ignored: AtomicU64,
}

/// What a router has to say and what it does with what it hears.
pub trait PrefixBook: Send {
    /// The next prompt that was sent; `None`: no more for now.
    fn next(&mut self) -> Option<SentPrefix>;

    /// True if somebody wants to know what others sent.
    fn is_wanted(&self) -> bool;

    /// Notes what another router sent. False if the worker is not known.
    fn note(&mut self, sent: &SentPrefix) -> bool;
}

/// Says and hears prompts.
#[derive(Clone, Debug)]
pub struct PrefixExchange {
    /// The connection.
    pub connection: FleetConnection,
    /// The fleet.
    pub fleet: KeyPart,
    /// This router.
    pub router: KeyPart,
    /// A random name of this process.
    pub life: u64,
    /// How hashes are made here.
    pub rule: u64,
    /// Bytes that are said a second at most.
    pub bytes_per_sec: u32,
    /// What became of messages.
    pub counts: Arc<ExchangeCounts>,
    /// What became of prompts.
    pub prefixes: Arc<PrefixCounts>,
}

impl PrefixExchange {
    /// Says five times a second what was sent, if anything, and has noted what others sent.
    ///
    /// # Errors
    ///
    /// [`FleetStateError`] if the connection has ended for good.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost but what was about to be said.
    pub async fn run(&self, mut book: impl PrefixBook) -> Result<(), FleetStateError> {
        let prefix = format!("{SUBJECT}.{}.", self.fleet);
        let mut others = self.subscribed(&prefix).await?;
        let mut heard = HeardNumbers::default();
        let mut number = 0;
        let mut tick = tokio::time::interval(Duration::from_secs(1) / RATE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = others.next() => {
                    let Some(message) = message else { return Err(FleetStateError::Away) };
                    self.hear(&mut book, &mut heard, &prefix, &message).await;
                }
                _ = tick.tick() => {
                    heard.forget_silent();
                    self.say(&mut book, &prefix, &mut number).await;
                }
            }
        }
    }

    async fn subscribed(&self, prefix: &str) -> Result<Subscriber, FleetStateError> {
        let subscribed = self.connection.client().subscribe(format!("{prefix}*")).await;
        subscribed.map_err(|error| FleetStateError::server("hearing what others sent")(error.into()))
    }

    async fn hear(
        &self,
        book: &mut impl PrefixBook,
        heard: &mut HeardNumbers,
        prefix: &str,
        message: &Message,
    ) {
        let router = message.subject.strip_prefix(prefix).filter(|router| *router != self.router.as_str());
        let Some(router) = router else { return };
        let router = KeyPart::parse("router", router).ok();
        let (Some(router), Some(said)) = (router, PrefixMessage::read(&message.payload)) else {
            self.counts.add(MessageOutcome::Malformed, 1);
            return;
        };
        if !heard.is_next(router.as_str(), said.which(), &self.counts) {
            return;
        }
        if !said.is_by(self.rule) {
            self.counts.add(MessageOutcome::Foreign, 1);
            return;
        }
        let mut hashes = 0;
        for sent in &said.sent {
            let is_noted = book.is_wanted() && book.note(sent);
            count(if is_noted { &self.prefixes.noted } else { &self.prefixes.ignored });
            hashes += sent.blocks.len();
            if hashes > TURN {
                hashes = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    async fn say(&self, book: &mut impl PrefixBook, prefix: &str, number: &mut u64) {
        let sent = self.gathered(book);
        if sent.is_empty() {
            return;
        }
        let told = sent.len() as u64;
        let which = MessageNumber { life: self.life, number: *number + 1 };
        let message = PrefixMessage::new(which, self.rule, sent);
        // Text and numbers have a text.
        let text = serde_json::to_vec(&message).unwrap_or_default();
        // What is said while the connection is away would be sent much later.
        let is_there = self.connection.check().is_ok();
        let subject = format!("{prefix}{}", self.router);
        if is_there && self.connection.client().publish(subject, text.into()).await.is_ok() {
            *number += 1;
            self.counts.add(MessageOutcome::Sent, 1);
            self.prefixes.told.fetch_add(told, Ordering::Relaxed);
        } else {
            self.counts.add(MessageOutcome::Unsent, 1);
            self.prefixes.dropped.fetch_add(told, Ordering::Relaxed);
        }
    }

    /// As much of what was sent as may be said now; the same prompt once for a worker. The rest is dropped.
    fn gathered(&self, book: &mut impl PrefixBook) -> Vec<SentPrefix> {
        let mut left = usize::try_from(self.bytes_per_sec / RATE).unwrap_or(0);
        let (mut sent, mut known) = (Vec::new(), HashSet::new());
        while let Some(prefix) = book.next() {
            if !known.insert((prefix.worker.clone(), prefix.blocks.last().copied())) {
                continue;
            }
            match left.checked_sub(prefix.bytes()) {
                Some(rest) => {
                    left = rest;
                    sent.push(prefix);
                }
                None => count(&self.prefixes.dropped),
            }
        }
        sent
    }
}

fn count(counter: &AtomicU64) {
    // Relaxed: only the sum matters, as of all of these.
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The numbers of the messages that were heard last.
#[derive(Debug, Default)]
struct HeardNumbers(BTreeMap<String, (MessageNumber, Instant)>);

impl HeardNumbers {
    /// False if it is late.
    fn is_next(&mut self, router: &str, which: MessageNumber, counts: &ExchangeCounts) -> bool {
        let last = self.0.get(router).map(|(last, _)| *last);
        let is_next = which.count_after(last, counts);
        if is_next {
            self.0.insert(router.to_owned(), (which, Instant::now()));
        }
        is_next
    }

    fn forget_silent(&mut self) {
        self.0.retain(|_, (_, heard)| heard.elapsed() < SILENCE);
    }
}
