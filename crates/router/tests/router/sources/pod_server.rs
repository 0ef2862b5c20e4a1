//! An API of Kubernetes that has pods and nothing else: lists with label selectors, watches from a revision,
//! bookmarks, revisions that are too old, cut connections, and deletions that nobody hears of. kubectl reads it
//! too.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path as InPath, Query, State as InState};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::stream;
use http::{StatusCode, header};
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};
use tokio::sync::watch;

/// The server; it ends with the value.
#[derive(Debug)]
pub(crate) struct PodServer {
    /// Where it is.
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The newest revision, and how often watches were cut.
    news: watch::Sender<(u64, u64)>,
}

#[derive(Debug, Default)]
struct State {
    pods: BTreeMap<String, Value>,
    /// What happened: the revision, the pod before and after.
    events: Vec<(u64, Option<Value>, Option<Value>)>,
    revision: u64,
    /// Revisions before this one are too old.
    oldest: u64,
    cuts: u64,
    /// What every request gets instead of an answer.
    refusal: Option<u16>,
    /// So many more pods are in lists, and so many bytes of blanks behind them.
    crowd: usize,
    blanks: usize,
    lists: usize,
    watches: Vec<HashMap<String, String>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn tell(&self) {
        let state = self.lock();
        let news = (state.revision, state.cuts);
        drop(state);
        self.news.send_replace(news);
    }
}

impl PodServer {
    pub(crate) async fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), BTreeMap::new()).await
    }

    async fn start_at(address: SocketAddr, pods: BTreeMap<String, Value>) -> Self {
        let state = State { pods, revision: 100, ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), news: watch::channel((100, 0)).0 });
        let routes = Router::new()
            .route("/api", get(|| async { Json(json!({"kind": "APIVersions", "versions": ["v1"]})) }))
            .route(
                "/apis",
                get(|| async { Json(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})) }),
            )
            .route("/api/v1", get(|| async { Json(resources()) }))
            .route("/api/v1/pods", get(all_pods))
            .route("/api/v1/namespaces/{namespace}/pods", get(pods_of))
            .with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.expect("it serves") });
        Self { address, shared, task }
    }

    /// Writes what kubectl and the router find it by.
    pub(crate) fn kubeconfig(&self, path: &Path) {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "double",
            "clusters": [{"name": "double", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "double", "context": {"cluster": "double", "user": "nobody", "namespace": "engines"}}],
        });
        std::fs::write(path, config.to_string()).expect("a file");
    }

    /// Adds a pod, or changes the one of its name.
    pub(crate) fn apply(&self, pod: Value) {
        self.change(&key_of(&pod), Some(pod.clone()));
    }

    /// Deletes a pod, and says so.
    pub(crate) fn delete(&self, namespace: &str, name: &str) {
        self.change(&format!("{namespace}/{name}"), None);
    }

    /// Deletes all pods, and says so to nobody.
    pub(crate) fn lose_all(&self) {
        self.shared.lock().pods.clear();
    }

    /// No revision before now can be gone on from, as who watches is told.
    pub(crate) fn forget_the_past(&self) {
        {
            let mut state = self.shared.lock();
            state.revision += 1;
            state.oldest = state.revision;
            state.events.clear();
        }
        self.shared.tell();
    }

    /// Ends all watches in the middle.
    pub(crate) fn cut(&self) {
        self.shared.lock().cuts += 1;
        self.shared.tell();
    }

    /// Answers all requests with this status, or again as it should; watches end.
    pub(crate) fn refuse(&self, status: Option<u16>) {
        self.shared.lock().refusal = status;
        self.cut();
    }

    /// Lists have so many more pods from now on, which are over.
    pub(crate) fn crowd(&self, pods: usize) {
        self.shared.lock().crowd = pods;
    }

    /// Lists end with so many blanks from now on.
    pub(crate) fn pad(&self, bytes: usize) {
        self.shared.lock().blanks = bytes;
    }

    /// How often pods were listed.
    pub(crate) fn lists(&self) -> usize {
        self.shared.lock().lists
    }

    /// The parameters of all watches.
    pub(crate) fn watches(&self) -> Vec<HashMap<String, String>> {
        self.shared.lock().watches.clone()
    }

    fn change(&self, key: &str, pod: Option<Value>) {
        {
            let mut state = self.shared.lock();
            state.revision += 1;
            let revision = state.revision;
            let pod = pod.map(|mut pod| {
                pod["metadata"]["resourceVersion"] = json!(revision.to_string());
                pod
            });
            let before = match &pod {
                Some(pod) => state.pods.insert(key.to_owned(), pod.clone()),
                None => state.pods.remove(key),
            };
            state.events.push((revision, before, pod));
        }
        self.shared.tell();
    }
}

impl Drop for PodServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A pod that serves: its namespace, name, uid, address and labels.
pub(crate) fn pod(namespace: &str, name: &str, uid: &str, ip: &str, labels: &[(&str, &str)]) -> Value {
    let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": namespace, "name": name, "uid": uid, "labels": labels,
            "creationTimestamp": "2026-01-02T03:04:05Z",
        },
        "spec": {"containers": [{"name": "engine", "image": "engine"}]},
        "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// The same pod, ready or not.
pub(crate) fn ready(mut pod: Value, is_ready: bool) -> Value {
    pod["status"]["conditions"][0]["status"] = json!(if is_ready { "True" } else { "False" });
    pod
}

fn key_of(pod: &Value) -> String {
    let part = |key: &str| pod["metadata"][key].as_str().expect("a text").to_owned();
    format!("{}/{}", part("namespace"), part("name"))
}

fn resources() -> Value {
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1",
        "resources": [{
            "name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod", "shortNames": ["po"],
            "verbs": ["get", "list", "watch"],
        }],
    })
}

type Parameters = Query<HashMap<String, String>>;

async fn all_pods(InState(shared): InState<Arc<Shared>>, Query(asked): Parameters) -> Response {
    pods(&shared, None, asked)
}

async fn pods_of(
    InState(shared): InState<Arc<Shared>>,
    InPath(namespace): InPath<String>,
    Query(asked): Parameters,
) -> Response {
    pods(&shared, Some(namespace), asked)
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": message,
    })
}

fn pods(shared: &Arc<Shared>, namespace: Option<String>, asked: HashMap<String, String>) -> Response {
    let selector = asked.get("labelSelector").cloned().unwrap_or_default();
    let chosen = Chosen { namespace, selector };
    let mut state = shared.lock();
    if let Some(code) = state.refusal {
        let body = status(code, "Refused", "the double refuses this");
        return (StatusCode::from_u16(code).expect("a status"), Json(body)).into_response();
    }
    if asked.get("watch").is_some_and(|watch| watch == "true" || watch == "1") {
        state.watches.push(asked.clone());
        let from = asked.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(state.revision);
        drop(state);
        return watching(Arc::clone(shared), chosen, from);
    }
    state.lists += 1;
    let chosen = state.pods.values().filter(|pod| chosen.has(pod)).map(Value::to_string);
    let crowd = (0..state.crowd).map(|number| {
        format!("{{\"metadata\":{{\"namespace\":\"engines\",\"name\":\"over-{number}\"}},\"status\":{{\"phase\":\"Failed\"}}}}")
    });
    let items = chosen.chain(crowd).collect::<Vec<_>>().join(",");
    let (revision, blanks) = (state.revision, " ".repeat(state.blanks));
    let text = format!(
        "{{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{{\"resourceVersion\":\"{revision}\"}},\"items\":[{items}]}}{blanks}"
    );
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// Which pods somebody asked for.
#[derive(Clone, Debug)]
struct Chosen {
    namespace: Option<String>,
    selector: String,
}

impl Chosen {
    fn has(&self, pod: &Value) -> bool {
        let is_there =
            self.namespace.as_deref().is_none_or(|namespace| pod["metadata"]["namespace"] == namespace);
        let mut labels = self.selector.split(',').filter(|label| !label.is_empty());
        is_there
            && labels.all(|label| {
                let (key, value) = label.split_once('=').expect("key=value");
                pod["metadata"]["labels"][key] == value.trim_start_matches('=')
            })
    }

    /// The event that who watches these hears of.
    fn event(&self, before: Option<&Value>, after: Option<&Value>) -> Option<Value> {
        let (before, after) = (before.filter(|pod| self.has(pod)), after.filter(|pod| self.has(pod)));
        let (kind, pod) = match (before, after) {
            (None, Some(pod)) => ("ADDED", pod),
            (Some(_), Some(pod)) => ("MODIFIED", pod),
            (Some(pod), None) => ("DELETED", pod),
            (None, None) => return None,
        };
        Some(json!({"type": kind, "object": pod}))
    }
}

/// Lines of events from this revision on, until the watches are cut.
fn watching(shared: Arc<Shared>, chosen: Chosen, from: u64) -> Response {
    let mut news = shared.news.subscribe();
    let cuts = shared.lock().cuts;
    news.mark_changed();
    let lines = stream::unfold((from, news, false), move |(from, mut news, is_over)| {
        let (shared, chosen) = (Arc::clone(&shared), chosen.clone());
        async move {
            if is_over || news.changed().await.is_err() || news.borrow().1 != cuts {
                return None;
            }
            let state = shared.lock();
            let mut lines = String::new();
            let is_too_old = from < state.oldest;
            if is_too_old {
                let gone = status(410, "Expired", "too old resource version");
                lines = format!("{}\n", json!({"type": "ERROR", "object": gone}));
            }
            let events = state.events.iter().filter(|(revision, ..)| *revision > from && !is_too_old);
            for (_, before, after) in events {
                lines.extend(chosen.event(before.as_ref(), after.as_ref()).map(|event| format!("{event}\n")));
            }
            if !is_too_old {
                let metadata =
                    json!({"resourceVersion": state.revision.to_string(), "creationTimestamp": null});
                let mark = json!({"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1", "metadata": metadata}});
                lines.push_str(&format!("{mark}\n"));
            }
            let revision = state.revision;
            drop(state);
            Some((Ok::<_, Infallible>(Bytes::from(lines)), (revision, news, is_too_old)))
        }
    });
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(lines)).into_response()
}
