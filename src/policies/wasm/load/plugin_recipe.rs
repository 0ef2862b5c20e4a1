//! How instances of one generation are made.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use sgl_policy_abi::{ABI_VERSION, init_error};

use crate::engine::error::CallError;
use crate::engine::making::InitAnswer;
use crate::engine::pool::recipe::{PoolTally, Recipe};
use crate::engine::sandbox::HostServices;
use crate::engine::trial::Trial;
use crate::policies::wasm::load::instance_seeds::InstanceSeeds;
use crate::policies::wasm::load::warm_up::WarmUp;
use crate::policies::wasm::message::init::InitMessage;
use crate::policies::wasm::message::wire_plan::WirePlan;
use crate::policies::wasm::state::kept::Kept;
use crate::policies::wasm::state::plugin_state::LiveGeneration;
use crate::types::future::BoxFuture;
use crate::types::shown;

/// How instances of one generation are made.
pub(crate) struct PluginRecipe {
    pub(crate) name: String,
    pub(crate) generation: u64,
    pub(crate) config: HashMap<String, serde_json::Value>,
    pub(crate) plan: Arc<WirePlan>,
    /// True if a decision changes what the guest remembers: it must not make one before it serves.
    pub(crate) serial: bool,
    /// What instances draw from.
    pub(crate) seeds: InstanceSeeds,
    /// Counts instances, of all generations.
    pub(crate) tally: Arc<PoolTally>,
    /// What the guests keep with the host.
    pub(crate) kept: Arc<Kept>,
    /// Lives as long as the pool: until the last instance is gone.
    pub(crate) live: LiveGeneration,
    /// Made with the first instance: `fresh` isolation makes one for each decision.
    pub(crate) warm_up: OnceLock<WarmUp>,
}

impl fmt::Debug for PluginRecipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginRecipe")
            .field("name", &self.name)
            .field("generation", &self.generation)
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}

impl Recipe for PluginRecipe {
    fn tally(&self) -> Arc<PoolTally> {
        Arc::clone(&self.tally)
    }

    fn init_message(&self) -> Vec<u8> {
        InitMessage {
            abi: ABI_VERSION,
            plugin: &self.name,
            generation: self.generation,
            config: &self.config,
            seed: self.seeds.next(),
        }
        .encode()
    }

    fn services(&self) -> Arc<dyn HostServices> {
        Arc::clone(&self.kept) as Arc<dyn HostServices>
    }

    fn warm<'a>(&'a self, trial: &'a mut Trial, answer: InitAnswer) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            accept(&answer)?;
            if self.serial {
                return Ok(());
            }
            let warm_up = match self.warm_up.get() {
                Some(made) => made,
                None => {
                    let made = WarmUp::new(&self.kept, &self.plan)?;
                    self.warm_up.get_or_init(|| made)
                }
            };
            warm_up.run(trial).await
        })
    }
}

/// Checks the guest's answer to `init`.
///
/// # Errors
///
/// [`CallError::Refused`] if it is an error, or is no answer.
pub(crate) fn accept(answer: &InitAnswer) -> Result<(), CallError> {
    let reason = match init_error(&answer.0) {
        Ok(None) => return Ok(()),
        Ok(Some(error)) => shown(error),
        Err(error) => format!("`init` gave a malformed answer: {error}"),
    };
    Err(CallError::Refused { reason })
}
