//! `/v1/models`: what all workers serve together.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::core::Candidates;
use crate::core::TableVersion;
use crate::core::Worker;
use crate::proxy::health;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::target::Target;

const PATH: &str = "/v1/models";

/// How long a list is shown before workers are asked again.
const FRESH: Duration = Duration::from_secs(5);

/// The most workers that are asked. One is enough for each known model; workers whose model is
/// not known are all asked, up to this.
const MAX_ASKED: usize = 64;

/// The merged list, kept for a moment.
#[derive(Debug, Default)]
pub struct ModelList {
    known: tokio::sync::Mutex<Option<Known>>,
}

#[derive(Debug)]
struct Known {
    version: TableVersion,
    since: Instant,
    page: Bytes,
}

/// What a worker answers.
#[derive(Debug, Deserialize)]
struct Listed {
    data: Vec<Value>,
}

impl ModelList {
    /// The list in OpenAI's form; `None` if no worker is healthy or none of them answers. Workers
    /// are asked at most once in five seconds, however many clients ask.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the asking.
    pub async fn page(&self, snapshot: &Snapshot, limit: Duration) -> Option<Bytes> {
        let mut known = self.known.lock().await;
        let version = snapshot.table().version();
        if let Some(known) = &*known
            && known.version == version
            && known.since.elapsed() < FRESH
        {
            return Some(known.page.clone());
        }
        let models = ask(snapshot, limit).await;
        if models.is_empty() {
            return None;
        }
        let data: Vec<Value> = models.into_values().collect();
        let page = serde_json::to_vec(&serde_json::json!({"object": "list", "data": data})).ok()?;
        let page = Bytes::from(page);
        *known = Some(Known { version, since: Instant::now(), page: page.clone() });
        Some(page)
    }
}

/// The models by their ids.
async fn ask(snapshot: &Snapshot, limit: Duration) -> BTreeMap<String, Value> {
    let mut asked = JoinSet::new();
    for target in representatives(snapshot) {
        asked.spawn(async move {
            let answer = health::get(&target, PATH, limit).await;
            let listed = answer.filter(|(status, _)| status.is_success());
            let listed = listed.and_then(|(_, body)| serde_json::from_slice::<Listed>(&body).ok());
            (target, listed)
        });
    }
    let mut models = BTreeMap::new();
    while let Some(joined) = asked.join_next().await {
        let Ok((target, listed)) = joined else { continue };
        for model in listed.into_iter().flat_map(|listed| listed.data) {
            if let Some(id) = model.get("id").and_then(Value::as_str) {
                models.entry(id.to_owned()).or_insert(model);
            }
        }
        if let Some(id) = target.worker().model_id() {
            models.entry(id.to_owned()).or_insert_with(
                || serde_json::json!({"id": id, "object": "model", "created": 0, "owned_by": "sgl-router"}),
            );
        }
    }
    models
}

/// A healthy worker for each known model, and those whose model is not known.
fn representatives(snapshot: &Snapshot) -> Vec<Arc<Target>> {
    let mut seen = HashSet::new();
    let healthy = snapshot.targets().iter().filter(|target| target.worker().is_healthy());
    healthy
        .filter(|target| target.worker().model_id().is_none_or(|model| seen.insert(model)))
        .take(MAX_ASKED)
        .cloned()
        .collect()
}
