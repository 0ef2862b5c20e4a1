//! Tells plugins what came of requests, in batches, off the request path.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sgl_policy_abi::{
    Completion, FirstToken, Full, Writer, encode_completions, encode_first_tokens, encode_session_ends,
    encode_to_vec,
};

use crate::core::candidate_workers::CandidateWorkers;
use crate::policies::load_balancing::{RequestCompletion, RequestFirstToken};

/// Events of one kind that wait for the next batch; beyond it the oldest are dropped.
const MAX_WAITING: usize = 4096;

/// Bytes that one entry takes at most, of either kind.
const ENTRY_BYTES: usize = 48;

/// Bytes of the keys of sessions in one message, unless a single one has more: a plugin's memory may be small.
const SESSION_BYTES: usize = 4096;

/// What came of the requests of one plugin and was not reported to it yet.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    first_tokens: WaitingEvents<RequestFirstToken>,
    completions: WaitingEvents<RequestCompletion>,
    session_ends: WaitingEvents<Arc<str>>,
    table: Mutex<KnownTable>,
}

/// Events of one kind.
#[derive(Debug)]
struct WaitingEvents<E>(Mutex<VecDeque<E>>);

/// What became of an event that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is the first of a new batch.
    First,
    /// It joined a batch.
    Joined,
    /// It joined a batch that was full: the oldest was dropped for it.
    Displaced,
}

/// The table that a guest learned last: indexes by URL.
#[derive(Debug, Default)]
struct KnownTable {
    version: u64,
    indexes: HashMap<String, u32>,
    message: Arc<[u8]>,
}

/// Events as a guest is told of them.
#[derive(Debug, PartialEq)]
pub(crate) struct ToldEvents {
    pub(crate) message: Vec<u8>,
    /// The table that their indexes belong to.
    pub(crate) table_version: u64,
    /// What `on_workers` gets of it, for an instance that has not learned it; empty if that is not known.
    pub(crate) table: Arc<[u8]>,
}

impl<E> Default for WaitingEvents<E> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<E: Clone> WaitingEvents<E> {
    fn add(&self, event: &E) -> Added {
        // Copied before the lock is taken.
        let event = event.clone();
        let mut waiting = self.0.lock();
        let added = match waiting.len() {
            0 => Added::First,
            MAX_WAITING.. => Added::Displaced,
            _ => Added::Joined,
        };
        let oldest = if added == Added::Displaced { waiting.pop_front() } else { None };
        waiting.push_back(event);
        drop(waiting);
        drop(oldest);
        added
    }

    fn take(&self) -> VecDeque<E> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Outcomes {
    /// Adds a streamed answer that has begun.
    pub(crate) fn add_first_token(&self, first: &RequestFirstToken) -> Added {
        self.first_tokens.add(first)
    }

    /// Adds a finished request.
    pub(crate) fn add_completion(&self, completion: &RequestCompletion) -> Added {
        self.completions.add(completion)
    }

    /// Adds a session that is over.
    pub(crate) fn add_session_end(&self, session: &Arc<str>) -> Added {
        self.session_ends.add(session)
    }

    /// Takes some of the sessions that are over as a message; `None` if there is none.
    pub(crate) fn take_session_ends(&self) -> Option<ToldEvents> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let mut waiting = self.session_ends.0.lock();
        while let Some(session) =
            waiting.pop_front_if(|next| bytes == 0 || bytes + next.len() <= SESSION_BYTES)
        {
            bytes += session.len();
            batch.push(session);
        }
        drop(waiting);
        if batch.is_empty() {
            return None;
        }
        let message =
            encode_to_vec(|w| encode_session_ends(w, batch.iter().map(|session| &**session))).ok()?;
        // They name no worker.
        Some(ToldEvents { message, table_version: 0, table: Arc::default() })
    }

    /// Remembers what a guest is told, so that events name workers as it does; `message` is what it is told.
    pub(crate) fn remember<C: CandidateWorkers>(
        &self,
        workers: &C,
        message: impl FnOnce() -> Option<Vec<u8>>,
    ) {
        let version = workers.version().get();
        {
            // Each instance is told, and all of the same; of a generation before, it may have been nothing.
            let known = self.table.lock();
            if known.version == version && !known.message.is_empty() {
                return;
            }
        }
        let url = |index| workers.worker(index).map_or("", |worker| worker.url()).to_owned();
        let indexes = (0..workers.len()).filter_map(|index| Some((url(index), u32::try_from(index).ok()?)));
        let message = message().unwrap_or_default().into();
        *self.table.lock() = KnownTable { version, indexes: indexes.collect(), message };
    }

    /// Takes the answers that have begun as a message; `None` if there is nothing to tell. Requests to
    /// workers that are gone from the table are left out.
    pub(crate) fn take_first_tokens(&self) -> Option<ToldEvents> {
        let batch = self.first_tokens.take();
        let table = self.table.lock();
        let entry = |first: &RequestFirstToken| {
            let worker = *table.indexes.get(&first.worker_url)?;
            Some(FirstToken { worker, tag: first.tag, ms: millis(first.after) })
        };
        let entries: Vec<FirstToken> = batch.iter().filter_map(entry).collect();
        told(entries.len(), &table, |w| encode_first_tokens(w, table.version, entries.iter()))
    }

    /// Takes the finished requests as a message, in the same way.
    pub(crate) fn take_completions(&self) -> Option<ToldEvents> {
        let batch = self.completions.take();
        let table = self.table.lock();
        let entry = |done: &RequestCompletion| Some(to_wire(done, *table.indexes.get(&done.worker_url)?));
        let entries: Vec<Completion> = batch.iter().filter_map(entry).collect();
        told(entries.len(), &table, |w| encode_completions(w, table.version, entries.iter()))
    }
}

fn told(
    entries: usize,
    table: &KnownTable,
    encode: impl FnOnce(&mut Writer<'_>) -> Result<(), Full>,
) -> Option<ToldEvents> {
    if entries == 0 {
        return None;
    }
    let mut message = vec![0; 32 + entries * ENTRY_BYTES];
    let mut writer = Writer::new(&mut message);
    encode(&mut writer).ok()?;
    let used = writer.position();
    message.truncate(used);
    Some(ToldEvents { message, table_version: table.version, table: Arc::clone(&table.message) })
}

fn to_wire(done: &RequestCompletion, worker: u32) -> Completion {
    Completion {
        worker,
        ok: done.success,
        status: done.status,
        first_byte_ms: done.first_byte.map(millis),
        total_ms: Some(millis(done.total)),
        prompt_tokens: done.prompt_tokens,
        completion_tokens: done.completion_tokens,
        cached_tokens: done.cached_tokens,
        tag: done.tag,
    }
}

fn millis(time: Duration) -> f32 {
    time.as_secs_f32() * 1000.0
}

#[cfg(test)]
mod tests {
    use sgl_policy_abi::{CompletionBatch, FirstTokenBatch};

    use crate::policies::decision::Chooser;

    use super::*;

    const URL: &str = "http://w";

    fn outcomes() -> Outcomes {
        let outcomes = Outcomes::default();
        outcomes.table.lock().indexes.insert(URL.to_owned(), u32::MAX);
        outcomes.table.lock().version = u64::MAX;
        outcomes
    }

    fn first(url: &str, tag: u64) -> RequestFirstToken {
        let after = Duration::from_millis(1);
        RequestFirstToken { worker_url: url.to_owned(), chooser: Chooser::Native, after, tag: Some(tag) }
    }

    #[test]
    fn oldest_events_go_when_there_are_too_many_and_each_is_counted() {
        let outcomes = outcomes();
        let added: Vec<Added> =
            (0..MAX_WAITING as u64 + 3).map(|tag| outcomes.add_first_token(&first(URL, tag))).collect();
        let count = |kind| added.iter().filter(|added| **added == kind).count();
        assert_eq!(
            (count(Added::First), count(Added::Joined), count(Added::Displaced)),
            (1, MAX_WAITING - 1, 3)
        );
        let message = outcomes.take_first_tokens().unwrap().message;
        let batch = FirstTokenBatch::decode(&message).unwrap();
        assert_eq!((batch.table(), batch.len()), (u64::MAX, MAX_WAITING));
        assert_eq!(batch.iter().next().unwrap().unwrap().tag, Some(3));
        assert_eq!(outcomes.take_first_tokens(), None);
        assert_eq!(outcomes.add_first_token(&first(URL, 0)), Added::First);
    }

    #[test]
    fn events_of_workers_that_left_the_table_are_left_out() {
        let outcomes = outcomes();
        outcomes.add_first_token(&first("http://gone", 1));
        assert_eq!(outcomes.take_first_tokens(), None);
        outcomes.add_first_token(&first("http://gone", 1));
        outcomes.add_first_token(&first(URL, 2));
        let message = outcomes.take_first_tokens().unwrap().message;
        assert_eq!(FirstTokenBatch::decode(&message).unwrap().len(), 1);
    }

    #[test]
    fn largest_numbers_fit_into_what_is_reserved() {
        let outcomes = outcomes();
        let largest = RequestCompletion {
            success: true,
            status: Some(u16::MAX),
            first_byte: Some(Duration::MAX),
            total: Duration::MAX,
            prompt_tokens: Some(u32::MAX),
            completion_tokens: Some(u32::MAX),
            cached_tokens: Some(u32::MAX),
            tag: Some(u64::MAX),
            ..RequestCompletion::new(URL, Chooser::Native)
        };
        for _ in 0..MAX_WAITING {
            outcomes.add_completion(&largest);
        }
        let message = outcomes.take_completions().unwrap().message;
        let batch = CompletionBatch::decode(&message).unwrap();
        assert_eq!(batch.iter().last().unwrap().unwrap(), to_wire(&largest, u32::MAX));
    }
}
