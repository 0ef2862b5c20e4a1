//! Says once, for each version of a plugin, that most workers never report what it declares: it decides
//! without, and nobody would know.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::plugins::unreported;
use crate::manage::PluginManager;
use crate::proxy::{Backends, Target};
use sgl_api::UnreportedInput;
use sglang_router_rs::policies::PluginDetail;

/// Rates are known from the second report on; one more may fail.
const REPORTS: u32 = 3;

/// How often plugins are looked at: they are loaded at any time, and nobody waits for the line.
const LOOK: Duration = Duration::from_millis(500);

/// Looks at plugins until `stop`.
///
/// # Cancel safety
///
/// Dropping the future ends the looking.
pub(crate) async fn watch(manager: Arc<PluginManager>, backends: Arc<Backends>, stop: CancellationToken) {
    let patience = backends.load_interval().unwrap_or_default() * REPORTS;
    let mut watched = Watched { patience, newest: HashMap::new() };
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        watched.look(&manager, &backends);
    }
}

#[derive(Debug)]
struct Watched {
    /// How long workers have, once all were asked.
    patience: Duration,
    /// The newest generation of each plugin, and since when all workers had a say; `None` once it was judged.
    newest: HashMap<String, (u64, Option<Instant>)>,
}

impl Watched {
    fn look(&mut self, manager: &PluginManager, backends: &Backends) {
        let names = manager.factory().list_wasm_plugins();
        self.newest.retain(|name, _| names.contains(name));
        for detail in names.iter().filter_map(|name| manager.factory().plugin_detail(name)) {
            let newest = detail.generations.iter().map(|one| one.generation).max().unwrap_or_default();
            let known = self.newest.entry(detail.name.clone()).or_insert((0, None));
            if known.0 != newest {
                *known = (newest, Some(Instant::now()));
            }
            let Some(since) = &mut known.1 else { continue };
            if !have_all_had_a_say(backends) {
                *since = Instant::now();
            } else if since.elapsed() >= self.patience {
                known.1 = None;
                tell(&detail, newest, &unreported::inputs(&detail, backends));
            }
        }
    }
}

/// True once every worker has told something or failed to, or is not asked.
fn have_all_had_a_say(backends: &Backends) -> bool {
    let snapshot = backends.snapshot();
    let had_a_say = |target: &Arc<Target>| target.reports().had_a_say();
    !snapshot.targets().is_empty() && snapshot.targets().iter().all(had_a_say)
}

fn tell(plugin: &PluginDetail, generation: u64, inputs: &[UnreportedInput]) {
    let blind: Vec<String> = inputs
        .iter()
        .filter(|input| input.never * 2 > input.workers)
        .map(|UnreportedInput { input, workers, never, .. }| format!("{input} ({never} of {workers})"))
        .collect();
    if !blind.is_empty() {
        let inputs = blind.join(", ");
        tracing::warn!(
            plugin = plugin.name,
            generation,
            inputs,
            "most workers never report what it declares"
        );
    }
}
