//! What the writer forgets: of workers that are full, of an index that is full, and what workers say.

use crate::prefix_index::block_table::NodeId;
use crate::prefix_index::entries::{EntryId, HoldingSource, PrefixEntry};
use crate::prefix_index::index_writer::{HeldBlocks, IndexWriter};
use crate::prefix_index::named_run::NamedRun;
use crate::prefix_index::shared::Shared;

/// Blocks that a worker loses at once when the index is full.
const MIN_LOSS: usize = 256;

impl IndexWriter {
    /// Forgets what was sent to a worker longest ago, until it has no more than that many blocks.
    pub(super) fn shrink_to(&mut self, shared: &Shared, worker: u16, blocks: usize) {
        loop {
            let held = *self.held(worker);
            let excess = held.sent_blocks.saturating_sub(blocks);
            let Some(oldest) = held.sent.oldest().filter(|_| excess > 0) else { return };
            self.evicted += self.forget_end(shared, oldest, excess) as u64;
        }
    }

    /// Forgets up to `excess` blocks at the end of an entry that nothing follows, and says how many.
    fn forget_end(&mut self, shared: &Shared, id: EntryId, excess: usize) -> usize {
        let Some(entry) = self.entries.get(id).copied() else { return 0 };
        let len = shared.len(entry.node);
        if excess < len {
            if self.shorten(shared, entry.node, entry.worker, HoldingSource::Sent, len - excess) {
                return excess;
            }
            if self.cut(shared, entry.node, len - excess).is_some() {
                self.leave(shared, id, HoldingSource::Sent);
                return excess;
            }
        }
        self.leave(shared, id, HoldingSource::Sent);
        len
    }

    /// Makes memory free for blocks of a worker: who has the most loses what it used longest ago.
    pub(super) fn make_room(
        &mut self,
        shared: &Shared,
        worker: u16,
        run: NamedRun<'_>,
        source: HoldingSource,
    ) {
        while source == HoldingSource::Reported && self.lacks_names(shared, worker, run.len()) {
            let Some(most) = self.most(|held| held.reported_blocks) else { break };
            self.lose_reported(shared, most);
        }
        let numbers = if source == HoldingSource::Reported && run.has_names() { 2 } else { 1 };
        self.bytes(shared);
        while self.tree.lacks(shared, run.len(), numbers) {
            let Some(worker) = self.most(|held| held.sent_blocks + held.reported_blocks) else { return };
            let held = *self.held(worker);
            if held.sent_blocks < held.reported_blocks {
                self.lose_reported(shared, worker);
                continue;
            }
            let loss = MIN_LOSS.max(held.sent_blocks / 16);
            self.shrink_to(shared, worker, held.sent_blocks.saturating_sub(loss));
        }
    }

    /// True if there is no memory to find so many blocks more of a worker by their names.
    pub(super) fn lacks_names(&mut self, shared: &Shared, worker: u16, blocks: usize) -> bool {
        let growth = self.names.growth(worker, blocks);
        growth > 0 && self.bytes(shared) + growth > self.tree.max_bytes
    }

    /// The worker that has the most of something; `None` if nobody has any.
    fn most(&self, of: impl Fn(&HeldBlocks) -> usize) -> Option<u16> {
        let most = self.workers.iter().enumerate().max_by_key(|(_, held)| of(held));
        most.filter(|(_, held)| of(held) > 0).and_then(|(worker, _)| u16::try_from(worker).ok())
    }

    /// Forgets the prefix that a worker reported first.
    fn lose_reported(&mut self, shared: &Shared, worker: u16) {
        let held = *self.held(worker);
        let reports = self.entries.iter(held.reported).chain(self.entries.iter(held.sent));
        let is_reported = |id: &EntryId| self.entries.get(*id).is_some_and(|e| e.is(HoldingSource::Reported));
        let first = held.reported.oldest().or_else(|| reports.filter(is_reported).last());
        let Some(node) = first.and_then(|id| self.entries.get(id)).map(|entry| entry.node) else { return };
        self.forget_from(shared, worker, node);
        self.evicted += (held.reported_blocks - self.held(worker).reported_blocks) as u64;
    }

    /// Notes that a worker reports blocks as gone, by their names. What follows them is of no use any more and is
    /// forgotten too.
    pub(super) fn removed(&mut self, shared: &Shared, worker: u16, names: &[u64]) {
        let mut found: Vec<(usize, u64)> = Vec::with_capacity(names.len());
        let mut near = None;
        for name in names {
            // Mostly the one before the last one.
            let before = near.and_then(|(id, at): (EntryId, usize)| Some((id, at.checked_sub(1)?)));
            let is_before = |(id, at): &(EntryId, usize)| {
                self.entries.get(*id).and_then(|entry| self.name_of(shared, entry, *at)) == Some(*name)
            };
            near = before.filter(is_before).or_else(|| self.find_reported(shared, worker, *name));
            let Some((id, at)) = near else { continue };
            found.push((self.depth(id) as usize + at, *name));
        }
        // With the first ones of a chain, the others are gone.
        found.sort_unstable();
        for (_, name) in found {
            if let Some((id, at)) = self.find_reported(shared, worker, name) {
                self.forget_reported(shared, id, at);
            }
        }
    }

    /// Forgets a block that a worker reported, and what it reported of all that follows it.
    pub(super) fn forget_reported(&mut self, shared: &Shared, id: EntryId, at: usize) {
        let Some(PrefixEntry { node, worker, .. }) = self.entries.get(id).copied() else { return };
        if at > 0 && self.shorten(shared, node, worker, HoldingSource::Reported, at) {
            return;
        }
        if at > 0 {
            // Without memory for it, all of the node goes: rather too little than what is not there.
            self.cut(shared, node, at);
        }
        self.forget_from(shared, worker, node);
    }

    /// Forgets what a worker reported of a node and all that follows it.
    fn forget_from(&mut self, shared: &Shared, worker: u16, node: NodeId) {
        let mut gone: Vec<(u32, EntryId)> = Vec::new();
        if self.tree.get(node).is_some_and(|own| own.children > 0) {
            let held = *self.held(worker);
            let all = self.entries.iter(held.reported).chain(self.entries.iter(held.sent));
            gone.extend(all.filter(|id| self.is_below(*id, node)).map(|id| (self.depth(id), id)));
        } else if let Some(id) = self.entry(node, worker) {
            gone.push((0, id));
        }
        gone.sort_unstable();
        for (_, id) in gone.into_iter().rev() {
            self.leave(shared, id, HoldingSource::Reported);
        }
    }

    /// What a worker reports from now on is of a while ago, or no longer.
    pub(super) fn set_replaying(&mut self, worker: u16, is_replaying: bool) {
        let held = self.held(worker);
        held.is_replaying = is_replaying;
        let order = held.sent;
        let sent: Vec<EntryId> = self.entries.iter(order).collect();
        sent.into_iter().for_each(|id| self.entries.set_sent_meanwhile(id, false));
    }

    /// Forgets everything of a worker, at once, but what was sent since its replay began.
    pub(super) fn clear_as_reported(&mut self, shared: &Shared, worker: u16) {
        let is_replaying = self.held(worker).is_replaying;
        self.clear_but(shared, worker, |entry| is_replaying && entry.is_sent_meanwhile());
    }

    /// Forgets everything of a worker, at once.
    pub(super) fn clear(&mut self, shared: &Shared, worker: u16) {
        self.clear_but(shared, worker, |_| false);
    }

    /// Forgets everything of a worker but what was sent of these entries.
    fn clear_but(&mut self, shared: &Shared, worker: u16, stays: impl Fn(&PrefixEntry) -> bool) {
        // All at once, so that there is nothing to look for below.
        self.names.clear(worker);
        let held = *self.held(worker);
        let all = self.entries.iter(held.reported).chain(self.entries.iter(held.sent));
        let mut gone: Vec<(u32, EntryId)> = all.map(|id| (self.depth(id), id)).collect();
        gone.sort_unstable();
        for (_, id) in gone.into_iter().rev() {
            let entry = self.entries.get(id).copied();
            for source in [HoldingSource::Sent, HoldingSource::Reported] {
                let stays = |entry: &PrefixEntry| source == HoldingSource::Sent && stays(entry);
                if entry.is_some_and(|entry| entry.is(source) && !stays(&entry)) {
                    self.leave(shared, id, source);
                }
            }
        }
    }

    fn depth(&self, id: EntryId) -> u32 {
        let node = self.entries.get(id).and_then(|entry| self.tree.get(entry.node));
        node.map_or(0, |own| own.depth)
    }

    /// True if the entry's node is `node` or follows it.
    fn is_below(&self, id: EntryId, node: NodeId) -> bool {
        let (Some(entry), Some(top)) = (self.entries.get(id), self.tree.get(node)) else { return false };
        let mut at = entry.node;
        while at != node {
            match self.tree.get(at) {
                Some(own) if own.depth > top.depth => at = own.parent,
                _ => return false,
            }
        }
        true
    }
}
