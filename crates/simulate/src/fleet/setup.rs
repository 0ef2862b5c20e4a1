//! What a fleet is like, and what is expected of it.

use crate::engine::{EngineModel, ReportedLoad};
use crate::workload::Workload;

/// A fleet of engines, and the router's settings that matter to policies.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetSetup {
    /// The engine of each worker.
    pub model: EngineModel,
    /// The speed of each worker: 0.5 takes twice as long for everything.
    pub speeds: Vec<f64>,
    /// Seconds between two reports of a worker, as `--load-interval-ms` of the router. Default: 1.
    pub report_interval: f64,
    /// Tokens of a block of the router's prefix index. Default: 16.
    pub block_tokens: u32,
    /// Blocks of a prompt that the router hashes at most. Default: 4096.
    pub max_blocks: usize,
    /// Requests that the policy may have wait, as `--queue-size` of the router. Default: 100.
    pub queue_size: usize,
    /// Seconds that one may wait, as `--queue-timeout-secs`. Default: 60.
    pub queue_timeout: f64,
    /// Bytes that the router's prefix index takes at most. Default: 256 MiB.
    pub index_bytes: usize,
}

/// Why there can be no such fleet.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// There is no worker.
    #[error("a fleet has one worker at least")]
    NoWorker,
    /// Blocks of the engines would be larger than what is known of prompts.
    #[error("block_tokens is {found}; allowed: 1 to {most}, since the workload says no more of its prompts")]
    LargeBlocks {
        /// Tokens of an engine's block.
        found: u32,
        /// Tokens of a unit of the workload.
        most: u32,
    },
}

impl FleetSetup {
    /// So many equal workers with the defaults of the router.
    pub fn new(model: EngineModel, workers: usize) -> Self {
        Self {
            model,
            speeds: vec![1.0; workers],
            report_interval: 1.0,
            block_tokens: 16,
            max_blocks: 4096,
            queue_size: 100,
            queue_timeout: 60.0,
            index_bytes: 256 << 20,
        }
    }

    /// Checks that such a fleet can serve this workload.
    ///
    /// # Errors
    ///
    /// [`SetupError`].
    pub fn check(&self, workload: &Workload) -> Result<(), SetupError> {
        let (found, most) = (self.model.block_tokens, workload.unit_tokens());
        if self.speeds.is_empty() {
            Err(SetupError::NoWorker)
        } else if found > most {
            Err(SetupError::LargeBlocks { found, most })
        } else {
            Ok(())
        }
    }

    /// True if workers say something of their load.
    pub(crate) fn reports(&self) -> bool {
        self.model.reports != ReportedLoad::None && self.report_interval > 0.0
    }
}
