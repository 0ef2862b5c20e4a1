//! One look at each source, for who wants to know whether a router would find its workers.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;

use crate::config::sources_section::SourceSettings;
use crate::config::worker_source::WorkerSource;
use crate::sources::pods::PodSelector;
use crate::sources::{dns_name, pods, worker_file};
use sglang_router_rs::types::shown_path;

/// Longest time for one source.
const LIMIT: Duration = Duration::from_secs(20);

/// What one source said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SourceLook {
    /// `file`, `dns` or `kubernetes`.
    pub(crate) source: &'static str,
    /// The file, the name, or the role and the labels.
    pub(crate) name: String,
    /// How many workers it tells of; `None` if it did not answer.
    pub(crate) workers: Option<usize>,
    /// How many of them say that they are ready.
    pub(crate) ready: Option<usize>,
    /// Why it did not answer, or what is odd about the answer.
    #[serde(skip)]
    pub(crate) fault: Option<String>,
}

/// How many workers there are, and how many are ready; or why that is not known.
pub(crate) type SourceCount = Result<(usize, usize), String>;

/// Asks all of them once, side by side. They stand in the order of the settings.
///
/// # Cancel safety
///
/// Dropping the future ends the questions.
pub(crate) async fn look_at_all(settings: SourceSettings) -> Vec<SourceLook> {
    let mut asked = JoinSet::new();
    let mut place = 0;
    let mut ask = |source: WorkerSource, name: String, question: SourceQuestion| {
        let at = place;
        place += 1;
        asked.spawn(async move { (at, look(source, name, question).await) });
    };
    if let Some(path) = settings.file {
        let name = shown_path(&path).to_string();
        ask(WorkerSource::File, name, Box::pin(async move { worker_file::count(&path) }));
    }
    for name in settings.dns {
        let servers = settings.dns_servers.clone();
        let shown = name.url.clone();
        ask(WorkerSource::Dns, shown, Box::pin(async move { dns_name::count(&name, &servers).await }));
    }
    if let Some(pods) = settings.kubernetes.map(Arc::new) {
        for (role, labels) in &pods.selectors {
            let selector = PodSelector { role: *role, labels: labels.clone() };
            let (pods, name) = (Arc::clone(&pods), selector.name());
            ask(WorkerSource::Kubernetes, name, Box::pin(async move { pods::count(&pods, &selector).await }));
        }
    }
    let mut looks = asked.join_all().await;
    looks.sort_by_key(|(at, _)| *at);
    looks.into_iter().map(|(_, look)| look).collect()
}

/// What asks one source.
type SourceQuestion = std::pin::Pin<Box<dyn Future<Output = SourceCount> + Send>>;

async fn look(source: WorkerSource, name: String, question: SourceQuestion) -> SourceLook {
    let late = || Err(format!("no answer in {} s", LIMIT.as_secs()));
    let counted = tokio::time::timeout(LIMIT, question).await.unwrap_or_else(|_| late());
    let source = source.as_str();
    match counted {
        Ok((workers, ready)) => {
            let fault = (workers == 0).then(|| "it has no workers now".to_owned());
            SourceLook { source, name, workers: Some(workers), ready: Some(ready), fault }
        }
        Err(fault) => SourceLook { source, name, workers: None, ready: None, fault: Some(fault) },
    }
}
