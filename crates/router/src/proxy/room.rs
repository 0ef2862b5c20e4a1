//! Room for one more, where connections or the memory for bodies run out: who gives way.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::proxy::clients::Clients;

/// How long a new connection waits for another to end before it looks again who can give way. Only at
/// the limit of connections. A timer for the one that is idle longest would not do: connections become
/// idle, and bodies go on or stall, without telling anybody, so that requests pay nothing for that.
const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// A connection is idle when it has been without a request for so long. One that has just been made,
/// or that has just got an answer, may have a request on its way.
const MIN_IDLE: Duration = Duration::from_millis(100);

/// A body is stalled when nothing of it has come for so long.
const MIN_STALL: Duration = Duration::from_secs(1);

/// When room is needed, one more connection is closed for each of this many that are open, so that the
/// router need not pass over very many connections for each new one.
const CLOSED_SHARE: usize = 256;

impl Clients {
    /// Waits until one more connection may be served. At the limit the connections that are idle
    /// longest are closed for it; where none is idle, stalled bodies are given up; where none is
    /// stalled, one has to end.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost but what was closed.
    pub(crate) async fn room(&self) {
        while self.len() >= self.max_connections {
            self.make_room();
            // Running out is no fault: it is time to look again.
            let _ = tokio::time::timeout(ROOM_PAUSE, self.left.notified()).await;
        }
    }

    /// Closes those that are idle longest: one, or a few where there are very many. Where none is
    /// idle, gives up stalled bodies.
    pub(crate) fn make_room(&self) {
        if !self.close_longest_idle() {
            self.give_up_stalled();
        }
    }

    /// False if no connection is idle.
    fn close_longest_idle(&self) -> bool {
        let open = self.open.lock();
        if open.values().any(|client| client.must_close()) {
            // They are about to go.
            return true;
        }
        let latest = Instant::now().checked_sub(MIN_IDLE).map_or(0, |latest| self.micros(latest));
        let idle = open.values().filter(|client| !client.is_busy());
        // Relaxed: as with everything that the sweeper does.
        let idle = idle.map(|client| (client.since.load(Ordering::Relaxed), client));
        let idle = oldest(idle.filter(|(since, _)| *since <= latest).collect(), open.len());
        for (since, client) in &idle {
            client.idle_for.store(*since, Ordering::Relaxed);
            client.wake();
            self.proxy().pressure().closed_idle();
        }
        !idle.is_empty()
    }

    /// Gives up the bodies that have stalled longest: one, or a few where there are very many. Their
    /// requests are answered with 408, which gives back memory and connection.
    pub(crate) fn give_up_stalled(&self) {
        let all = self.records(|client| client.receiving.load(Ordering::Relaxed));
        let receiving = || all.iter();
        if receiving().any(|client| client.is_silent_now()) {
            // They are about to go.
            return;
        }
        let before =
            |time: Duration| Instant::now().checked_sub(time).map_or(0, |latest| self.micros(latest));
        let (stalled, slow) = (before(MIN_STALL), before(self.proxy().settings().body_silence));
        let silent = receiving().filter_map(|client| {
            // Relaxed: see `Client`. Since the last sweep nothing was seen to come.
            let progress = client.progress.load(Ordering::Relaxed);
            let is_still = client.seen.load(Ordering::Relaxed) == progress;
            let since = client.since.load(Ordering::Relaxed);
            let heard = client.seen_at.load(Ordering::Relaxed).max(since);
            // A body that drips may take that long in all.
            ((is_still && heard <= stalled) || since <= slow).then_some((heard, (client, progress)))
        });
        let silent = silent.collect();
        for (_, (client, progress)) in oldest(silent, self.len()) {
            // If something comes in between, the mark names a progress that is over.
            client.silent_for.store(progress, Ordering::Relaxed);
            client.wake();
        }
    }
}

/// Those with the lowest times: one, and a few more of very many connections.
fn oldest<T>(mut all: Vec<(u64, T)>, connections: usize) -> Vec<(u64, T)> {
    let count = all.len().min(connections / CLOSED_SHARE + 1);
    if count < all.len() {
        all.select_nth_unstable_by_key(count, |(time, _)| *time);
        all.truncate(count);
    }
    all
}
