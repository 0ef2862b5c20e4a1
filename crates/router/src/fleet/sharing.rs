//! What this router tells the others of its fleet over plain subjects, and hears of them.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fleet::fleet_board::FleetBoard;
use crate::fleet::fleet_metrics;
use crate::fleet::fleet_metrics::SharedCounts;
use crate::fleet::shared_loads::share;
use crate::fleet::shared_prefixes::SharedPrefixes;
use crate::metrics::Metrics;
use crate::proxy::DataPlane;
use crate::proxy::sent_prefixes::SentPrefixes;
use sgl_fleet::KeyPart;
use sgl_fleet::connection::FleetConnection;
use sgl_fleet::load_exchange::LoadExchange;
use sgl_fleet::prefix_exchange::PrefixExchange;
use sglang_router_rs::types::prefix_rule;

/// Who tells the others.
#[derive(Clone, Debug)]
pub(crate) struct Sharing {
    /// The connection.
    pub(crate) connection: FleetConnection,
    /// The fleet.
    pub(crate) fleet: KeyPart,
    /// This router.
    pub(crate) router: KeyPart,
    /// A random name of this process.
    pub(crate) life: u64,
    /// Bytes a second that the others are told of prompts; 0 = nothing.
    pub(crate) prefix_bytes_per_sec: u32,
}

impl Sharing {
    /// Starts to tell and to hear, until told to stop.
    pub(crate) fn start(
        &self,
        proxy: &DataPlane,
        board: &FleetBoard,
        metrics: &Metrics,
        stop: &CancellationToken,
    ) -> Vec<JoinHandle<()>> {
        let counts = SharedCounts::default();
        let sent = (self.prefix_bytes_per_sec > 0).then(|| Arc::new(SentPrefixes::new()));
        fleet_metrics::register(board, counts.clone(), sent.clone(), metrics);
        let loads = share(self.loads(&counts), Arc::clone(proxy.backends()), stop.clone());
        let mut tasks = vec![tokio::spawn(loads)];
        if let Some(sent) = sent {
            proxy.share_sent(Arc::clone(&sent));
            let blocks = proxy.settings().requests.prefix;
            let exchange = self.prefixes(&counts, prefix_rule(blocks));
            let shared = SharedPrefixes::new(sent, Arc::clone(proxy.backends()), blocks.max_blocks);
            tasks.push(tokio::spawn(shared.share(exchange, stop.clone())));
        }
        tasks
    }

    fn loads(&self, counts: &SharedCounts) -> LoadExchange {
        LoadExchange {
            connection: self.connection.clone(),
            fleet: self.fleet.clone(),
            router: self.router.clone(),
            life: self.life,
            counts: Arc::clone(&counts.loads),
        }
    }

    fn prefixes(&self, counts: &SharedCounts, rule: u64) -> PrefixExchange {
        PrefixExchange {
            connection: self.connection.clone(),
            fleet: self.fleet.clone(),
            router: self.router.clone(),
            life: self.life,
            rule,
            bytes_per_sec: self.prefix_bytes_per_sec,
            counts: Arc::clone(&counts.prefix_messages),
            prefixes: Arc::clone(&counts.prefixes),
        }
    }
}
