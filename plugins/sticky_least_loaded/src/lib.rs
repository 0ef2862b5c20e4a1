//! A session stays at its worker; a new one goes to the worker with the fewest.
//!
//! By sessions and not by requests in flight: an agent is silent while its tools run, and comes back to its
//! cache with all of its history.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

mod sessions;

use alloc::vec::Vec;

use sgl_policy_sdk::prelude::*;
use sgl_policy_sdk::{PerWorker, hash};

use crate::sessions::Sessions;

/// The policy. Where each session lives is one truth for all requests: one instance.
#[derive(Debug)]
pub struct StickyLeastLoaded {
    sessions: Sessions,
    workers: PerWorker<Member>,
}

/// What is kept of a worker.
#[derive(Clone, Debug, Default)]
struct Member {
    sessions: u32,
    weight: f64,
}

/// Sessions that fit into the answer that hands them to the next generation.
const SAVED: usize = 40_000;
/// First word of what is saved.
const VERSION: u64 = 1;

impl Policy for StickyLeastLoaded {
    fn init(init: &Init) -> Result<Self, Error> {
        // The header is read by the host; it is named here so that it is a known key.
        let config = Config::new(init, &["idle_secs", "max_sessions", "end_header"])?;
        config.text("end_header", "")?;
        let idle_secs = config.number_in("idle_secs", 600.0, 1.0..=1e6)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1e9 to 1e15")]
        let idle_ns = (idle_secs * 1e9) as u64;
        let max = config.size_in("max_sessions", 50_000, 1..=10_000_000)?;
        Ok(Self { sessions: Sessions::new(idle_ns, max), workers: PerWorker::default() })
    }

    fn on_workers(&mut self, table: &Table) {
        self.workers.follow(table);
        for (member, worker) in self.workers.iter_mut().zip(table.iter()) {
            *member = Member { sessions: 0, weight: worker.weight };
        }
        self.count_all();
    }

    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
        let now = ctx.now_ns();
        while let Some(worker) = self.sessions.expire(now) {
            self.count(worker, -1);
        }
        let Some(key) = ctx.session().map(|session| hash(session.as_bytes())) else {
            return ctx.candidates().least(ctx.load(), &mut ctx.rng()).into();
        };
        let home = self.sessions.touch(key, now).and_then(|url| self.workers.index_of(url));
        let chosen =
            home.filter(|worker| ctx.candidates().contains(*worker)).or_else(|| self.placed(ctx, key));
        if ctx.config_header("end_header").is_some_and(|value| !matches!(value, "" | "0" | "false"))
            && let Some(worker) = self.sessions.end(key)
        {
            self.count(worker, -1);
        }
        chosen.into()
    }
}

impl StickyLeastLoaded {
    /// Puts a session at the worker with the fewest for its weight, of equal ones at the least loaded.
    fn placed(&mut self, ctx: &Context<'_, Self>, key: u64) -> Option<usize> {
        let cost = |worker: usize| {
            let Member { sessions, weight } = self.workers.get(worker)?;
            Some((f64::from(*sessions) + 1.0 + f64::from(ctx.load().get(worker)) * 1e-6) / weight)
        };
        let chosen =
            ctx.candidates().least_by(&mut ctx.rng(), |worker| cost(worker).unwrap_or(f64::INFINITY))?;
        let url = self.workers.url(chosen)?;
        if let Some(before) = self.sessions.put(key, url, ctx.now_ns()) {
            self.count(before, -1);
        }
        self.count(url, 1);
        Some(chosen)
    }

    fn count(&mut self, url: u64, change: i32) {
        let member = self.workers.index_of(url).and_then(|worker| self.workers.get_mut(worker));
        if let Some(member) = member {
            member.sessions = member.sessions.saturating_add_signed(change);
        }
    }

    fn count_all(&mut self) {
        let urls: Vec<u64> = self.sessions.workers().collect();
        urls.into_iter().for_each(|url| self.count(url, 1));
    }
}

impl SessionEndHook for StickyLeastLoaded {
    fn on_session_end(&mut self, session: &str) {
        if let Some(worker) = self.sessions.end(hash(session.as_bytes())) {
            self.count(worker, -1);
        }
    }
}

impl StateHook for StickyLeastLoaded {
    fn save_state(&mut self, out: &mut Vec<u8>) {
        out.extend(VERSION.to_le_bytes());
        let words = self.sessions.newest(SAVED);
        out.extend(words.iter().flatten().flat_map(|word| word.to_le_bytes()));
    }

    fn restore_state(&mut self, saved: &[u8]) {
        let (words, rest) = saved.as_chunks();
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let Some((VERSION, words)) = words.split_first().map(|(version, words)| (*version, words)) else {
            return;
        };
        let (sessions, odd) = words.as_chunks();
        if !rest.is_empty() || !odd.is_empty() {
            return;
        }
        // The oldest first, which is the order in which they are to end.
        for [key, worker, last] in sessions.iter().rev() {
            if let Some(before) = self.sessions.put(*key, *worker, *last) {
                self.count(before, -1);
            }
            self.count(*worker, 1);
        }
    }
}

sgl_policy_sdk::export_policy! {
    policy: StickyLeastLoaded,
    name: "sticky_least_loaded",
    description: "a session stays at its worker, a new one goes to the worker with the fewest",
    inputs: [Healthy, Excluded, Load, Session, ConfigHeader("end_header"), Random, NowNs],
    concurrency: Serial,
    hooks: [on_session_end, state],
}
