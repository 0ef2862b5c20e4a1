//! The audit log: every change that an operator made or tried to make, with what was before and after.
//!
//! What a change changed is found by comparing what there was just before with what there is just after it,
//! so no endpoint can forget to tell. Changes that overlap may each be told of the other's.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::extract::InQuery;
use crate::admin::worker_views;
use crate::config::access_log_section::LogTarget;
use crate::manage::{Placing, PluginManager};
use crate::proxy::access_log::{LogFile, rfc3339};
use crate::proxy::{Backends, DataPlane};
use sgl_api::{AuditEntry, AuditList, AuditedChange, Problem};

/// Changes that are kept in memory.
const KEPT: usize = 1000;

/// Changes that are listed by default.
const DEFAULT_LIMIT: usize = 50;

/// What there is, by its name.
type Things = BTreeMap<String, Value>;

/// The audit log of one router.
///
/// # Concurrency
///
/// A lock each, held while a line is written: operators' changes are rare.
#[derive(Debug)]
pub(crate) struct Audit {
    // Not the data plane itself, which may hold this in turn.
    backends: Arc<Backends>,
    placing: Arc<Placing>,
    manager: Arc<PluginManager>,
    file: Option<Mutex<LogFile>>,
    kept: Mutex<VecDeque<AuditEntry>>,
}

/// A change that is being made.
#[derive(Clone, Debug)]
pub(crate) struct AuditTicket {
    audit: Arc<Audit>,
    before: Arc<Things>,
    scope: AuditScope,
    entry: AuditEntry,
}

/// What a change may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuditScope {
    /// Workers.
    Workers,
    /// Plugins, and so the policy.
    Plugins,
    /// Anything.
    All,
    /// Nothing of the router's: a call that is passed on to engines.
    Nothing,
}

impl AuditScope {
    /// Of a request with this path.
    pub(crate) fn of(path: &str) -> Self {
        let is_any = |names: &[&str]| names.iter().any(|name| path.starts_with(name));
        if is_any(&["/workers", "/add_worker", "/remove_worker"]) {
            Self::Workers
        } else if is_any(&["/v1/plugins"]) {
            Self::Plugins
        } else if is_any(&["/v1/config", "/v1/policy", "/v1/reload"]) {
            Self::All
        } else {
            Self::Nothing
        }
    }
}

impl Audit {
    /// The log of this router, which is appended to a file if there is one.
    ///
    /// # Errors
    ///
    /// What the system says of the file.
    pub(crate) fn open(
        file: Option<&Path>,
        proxy: &DataPlane,
        manager: &Arc<PluginManager>,
    ) -> io::Result<Arc<Self>> {
        let target = file.map(|file| LogTarget::File(file.to_owned()));
        let file = target.as_ref().map(|target| LogFile::open(target, "the audit log")).transpose()?;
        Ok(Arc::new(Self {
            backends: Arc::clone(proxy.backends()),
            placing: Arc::clone(proxy.placing()),
            manager: Arc::clone(manager),
            file: file.map(Mutex::new),
            kept: Mutex::default(),
        }))
    }

    /// A change is about to be made by `who`.
    pub(crate) fn begin(self: &Arc<Self>, who: String, change: String, scope: AuditScope) -> AuditTicket {
        let entry = AuditEntry {
            time: String::new(),
            who,
            token: None,
            agent: None,
            change,
            what: None,
            done: false,
            status: None,
            reason: None,
            changed: Vec::new(),
        };
        AuditTicket { audit: Arc::clone(self), before: Arc::new(self.things(scope)), scope, entry }
    }

    fn things(&self, scope: AuditScope) -> Things {
        let mut things = Things::new();
        if matches!(scope, AuditScope::Workers | AuditScope::All) {
            things.extend(worker_views::views(&self.backends).into_iter().map(|worker| {
                let about = json!({
                    "role": worker.role, "model": worker.model, "weight": worker.weight,
                    "labels": worker.labels, "bootstrap_port": worker.bootstrap_port, "draining": worker.draining,
                    "source": worker.source,
                });
                (format!("worker {}", worker.url), about)
            }));
        }
        if matches!(scope, AuditScope::Plugins | AuditScope::All) {
            let plugins = self.manager.factory().plugin_stats().into_iter();
            things.extend(plugins.filter_map(|plugin| {
                let detail = self.manager.detail(&plugin.name).ok()?;
                // What serves, and with which settings; not what it has counted meanwhile.
                let generations: Vec<Value> = detail
                    .generations
                    .iter()
                    .map(|one| json!({"generation": one.generation, "role": one.role, "digest": one.digest}))
                    .collect();
                let about = json!({"state": detail.state, "generations": generations});
                Some((format!("plugin {}", plugin.name), about))
            }));
            things.insert("policy".to_owned(), json!(self.placing.policy().name()));
        }
        things
    }

    fn write(&self, entry: AuditEntry) {
        if let Some(file) = &self.file {
            let mut line = serde_json::to_vec(&entry).unwrap_or_default();
            line.push(b'\n');
            let mut file = file.lock();
            file.follow();
            if let Err(error) = file.write(&line).and_then(|()| file.keep()) {
                let (who, change) = (entry.who.as_str(), entry.change.as_str());
                tracing::error!(%error, who, change, "the audit log cannot be written; the change stands");
            }
        }
        let mut kept = self.kept.lock();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(entry);
    }

    /// The newest changes, the newest first.
    pub(crate) fn newest(&self, limit: usize) -> Vec<AuditEntry> {
        self.kept.lock().iter().rev().take(limit).cloned().collect()
    }
}

impl AuditTicket {
    /// Says more of who it is.
    pub(crate) fn by(mut self, token: Option<String>, agent: Option<String>) -> Self {
        (self.entry.token, self.entry.agent) = (token, agent);
        self
    }

    /// Says more of what it is.
    pub(crate) fn about(mut self, about: Option<&str>) -> Self {
        about.iter().for_each(|about| self.entry.change.push_str(&format!(" ({about})")));
        self
    }

    /// Says what it was about, where neither the method nor the path says so.
    pub(crate) fn of(mut self, what: Option<String>) -> Self {
        self.entry.what = what;
        self
    }

    /// It was done, or not: why not. The line is on disk before this returns.
    pub(crate) async fn end(mut self, status: Option<u16>, refused: Option<String>) {
        if status == Some(401) {
            self.entry.token = None;
        }
        self.entry.done = refused.is_none();
        (self.entry.status, self.entry.reason) = (status, refused);
        let writing = tokio::task::spawn_blocking(move || {
            let after = self.audit.things(self.scope);
            self.entry.changed = changes(&self.before, &after);
            self.entry.time = rfc3339(SystemTime::now());
            self.audit.write(self.entry);
        });
        // It panics for nothing that an entry may hold.
        let _ = writing.await;
    }
}

/// What is otherwise than it was.
fn changes(before: &Things, after: &Things) -> Vec<AuditedChange> {
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let of = |things: &Things, name: &str| things.get(name).cloned().unwrap_or(Value::Null);
    let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    changed
        .map(|name| AuditedChange { what: name.clone(), before: of(before, name), after: of(after, name) })
        .collect()
}

/// How many are wanted.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditLimit {
    limit: Option<usize>,
}

/// The endpoint of the audit log.
pub(crate) fn routes(audit: Arc<Audit>) -> Router {
    Router::new().route("/v1/audit", get(list)).with_state(audit)
}

/// The newest changes that operators made or tried to make
#[utoipa::path(get, path = "/v1/audit", tag = "status",
    params(("limit" = Option<usize>, Query, description = "How many at most; default 50; 1000 are kept")),
    responses(
    (status = 200, body = AuditList),
    (status = 400, description = "Another query", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(audit): State<Arc<Audit>>,
    InQuery(query): InQuery<AuditLimit>,
) -> Json<AuditList> {
    Json(AuditList { entries: audit.newest(query.limit.unwrap_or(DEFAULT_LIMIT)) })
}
