//! A look at an engine by who routes nothing to it: what it is, what it has, and who uses it.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::config::checked::ProxySettings;
use crate::config::engine_setting::EngineSetting;
use crate::proxy::endpoint::Endpoint;
use crate::proxy::engines::adapter::Adapter;
use crate::proxy::engines::reading::Reading;
use crate::proxy::engines::{catalogue, identification};
use crate::proxy::own_questions;
use crate::proxy::own_questions::NoAnswer;
use crate::proxy::queue::RequestQueue;
use sgl_upstream::{Address, WorkerUrl};
use sglang_router_rs::core::EngineFacts;

/// For each question.
const LIMIT: Duration = Duration::from_secs(5);

/// Looks at one engine.
#[derive(Debug)]
pub(crate) struct EngineWatcher {
    endpoint: Arc<Endpoint>,
}

/// What an engine tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct EngineLook {
    /// The adapter that can read it.
    pub(crate) engine: Option<&'static str>,
    /// Its version.
    pub(crate) version: Option<String>,
    /// What it has.
    pub(crate) facts: EngineFacts,
    /// Requests that run and that wait there, as far as it tells.
    pub(crate) busy: Option<(u32, u32)>,
}

/// A model that an engine serves.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ServedModel {
    /// Its name.
    pub(crate) id: String,
    /// Tokens of prompt and answer together at most.
    pub(crate) max_model_len: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct ServedModels {
    data: Vec<ServedModel>,
}

impl EngineWatcher {
    /// Of the engine at this URL.
    pub(crate) fn new(url: WorkerUrl, settings: &ProxySettings) -> Self {
        let queue = RequestQueue::new(settings.queue, 0);
        Self { endpoint: Endpoint::new(Address::new(url), settings, true, &queue) }
    }

    /// What it tells now; what it does not is unknown.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the asking.
    pub(crate) async fn look(&self) -> EngineLook {
        let introduced = identification::introduce(&self.endpoint, EngineSetting::Auto, None, LIMIT).await;
        let (adapter, identity) = introduced.unwrap_or_default();
        let identity = identity.unwrap_or_default();
        let known: Vec<&Adapter> = adapter.filter(|_| identity.is_sure).into_iter().collect();
        let asked = if known.is_empty() { catalogue::ALL.to_vec() } else { known };
        let mut look =
            EngineLook { version: identity.version, facts: identity.facts, ..EngineLook::default() };
        look.engine = adapter.filter(|_| identity.is_sure).map(|adapter| adapter.name);
        for adapter in asked {
            if let Some(reading) = self.load(adapter).await {
                look.hear(adapter, &reading);
                break;
            }
        }
        look
    }

    async fn load(&self, adapter: &Adapter) -> Option<Reading> {
        for question in adapter.loads {
            let answer = own_questions::ask(&self.endpoint, question.path, LIMIT).await;
            let answer = answer.ok().filter(|(status, _)| status.is_success());
            let reading = answer.and_then(|(_, body)| (question.read)(&body));
            if let Some(reading) = reading.filter(|reading| !reading.report().is_silent()) {
                return Some(reading);
            }
        }
        None
    }

    /// The models that it lists; none if it lists nothing that can be read.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`] if nobody answers, whatever it be.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the asking.
    pub(crate) async fn models(&self) -> Result<Vec<ServedModel>, NoAnswer> {
        let (_, body) = own_questions::ask(&self.endpoint, "/v1/models", LIMIT).await?;
        let listed = serde_json::from_slice::<ServedModels>(&body);
        Ok(listed.map(|listed| listed.data).unwrap_or_default())
    }
}

impl EngineLook {
    fn hear(&mut self, adapter: &Adapter, reading: &Reading) {
        let (said, report) = (reading.facts(), reading.report());
        self.engine = Some(adapter.name);
        self.facts = EngineFacts {
            kv_capacity_tokens: said.kv_capacity_tokens.or(self.facts.kv_capacity_tokens),
            block_size: said.block_size.or(self.facts.block_size),
            max_running_requests: said.max_running_requests.or(self.facts.max_running_requests),
            ..EngineFacts::UNKNOWN
        };
        let count = |count: i32| u32::try_from(count).ok();
        self.busy = match (count(report.running), count(report.waiting)) {
            (None, None) => None,
            (running, waiting) => Some((running.unwrap_or(0), waiting.unwrap_or(0))),
        };
    }

    /// True if requests are there, as far as it tells.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.is_some_and(|(running, waiting)| running + waiting > 0)
    }
}
