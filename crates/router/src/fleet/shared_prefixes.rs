//! Tells the other routers of the fleet which prompts this one sent where, and its index what the others sent.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::proxy::Backends;
use crate::proxy::sent_prefixes::SentPrefixes;
use sgl_fleet::prefix_exchange::{PrefixBook, PrefixExchange};
use sgl_fleet::prefix_message::SentPrefix;
use sglang_router_rs::core::{CandidateWorkers, TableVersion, Worker, WorkerTable};

/// What was sent here, and the index.
#[derive(Debug)]
pub(crate) struct SharedPrefixes {
    sent: Arc<SentPrefixes>,
    backends: Arc<Backends>,
    /// Blocks of a prompt that are noted, as of those that are sent here.
    max_blocks: usize,
    known: Option<(TableVersion, HashMap<String, usize>)>,
}

impl SharedPrefixes {
    /// What is sent by this router, to these workers.
    pub(crate) fn new(sent: Arc<SentPrefixes>, backends: Arc<Backends>, max_blocks: u32) -> Self {
        let max_blocks = usize::try_from(max_blocks).unwrap_or(usize::MAX);
        Self { sent, backends, max_blocks, known: None }
    }

    /// Says and hears until told to stop.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost but what was about to be said.
    pub(crate) async fn share(self, exchange: PrefixExchange, stop: CancellationToken) {
        let ended = stop.run_until_cancelled(exchange.run(self)).await;
        if let Some(Err(error)) = ended {
            tracing::warn!(%error, "what is sent to workers is not shared with the fleet any more");
        }
    }
}

impl PrefixBook for SharedPrefixes {
    fn next(&mut self) -> Option<SentPrefix> {
        self.sent.take(|url, blocks| SentPrefix { worker: url.to_owned(), blocks: blocks.to_vec() })
    }

    fn is_wanted(&self) -> bool {
        self.backends.prefix_index().is_some()
    }

    fn note(&mut self, sent: &SentPrefix) -> bool {
        let snapshot = self.backends.snapshot();
        let table = snapshot.table();
        let (version, positions) = self.known.get_or_insert_with(|| positions_in(table));
        if *version != table.version() {
            (*version, *positions) = positions_in(table);
        }
        let Some(index) = positions.get(&sent.worker) else { return false };
        // How many tokens a block has is what this router learnt.
        table.sent(*index, sent.blocks.get(..self.max_blocks).unwrap_or(&sent.blocks), None);
        true
    }
}

/// Where the workers of a table stand, by their URLs.
fn positions_in(table: &WorkerTable) -> (TableVersion, HashMap<String, usize>) {
    let positions = table.workers().iter().enumerate();
    (table.version(), positions.map(|(index, worker)| (worker.url().to_owned(), index)).collect())
}
