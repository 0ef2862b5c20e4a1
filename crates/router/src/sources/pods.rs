//! Pods as workers: a watch that resumes by itself, and a full list beside it now and then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher;
use kube::runtime::watcher::Event;
use kube::{Api, Config};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::layer::layer_fn;
use tower::util::MapFuture;

use crate::config::sources_section::KubernetesSettings;
use crate::sources::api_pace::ApiPace;
use crate::sources::membership::Membership;
use crate::sources::offer::{Offer, OfferedState};
use crate::sources::pod_offer::{id_of, offer_of};
use sglang_router_rs::core::WorkerRole;
use sglang_router_rs::types::{in_full, shown_path};

/// Seconds that one watch lasts: a connection that says nothing any more is found out by then.
const WATCH_SECS: u32 = 60;

/// For a connection; and for how long it may be silent beyond a watch.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Time between two full lists: what no event told of is found by then.
const LIST_INTERVAL: Duration = Duration::from_secs(300);

/// Waits after failures: twice as long each time, up to the longest, and up to as long again by chance, so
/// that not all routers ask at once when the API is back.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Pods that are taken from one list.
const MAX_PODS: usize = 50_000;

/// Largest file with the way to an API that is read.
const MAX_KUBECONFIG_BYTES: u64 = 4 << 20;

/// The code of a revision of which nothing is known any more.
const TOO_OLD: u16 = 410;

/// The pods of one role.
#[derive(Clone, Debug)]
pub(crate) struct PodSelector {
    /// What their workers do.
    pub(crate) role: WorkerRole,
    /// Their labels, in the form of the API.
    pub(crate) labels: String,
}

impl PodSelector {
    /// Its name as a scope.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.role, self.labels)
    }
}

/// Why pods are not told: the cause, for programs, and in words.
type PodFault = (&'static str, String);

/// Follows pods until told to stop.
///
/// # Cancel safety
///
/// Dropping the future ends that.
pub(crate) async fn follow(
    settings: Arc<KubernetesSettings>,
    selector: PodSelector,
    members: Arc<Mutex<Membership>>,
    stop: CancellationToken,
) {
    let (name, pace) = (selector.name(), Arc::default());
    let mut wait = FIRST_WAIT;
    loop {
        let mut was_listed = false;
        let watched = tokio::select! {
            () = stop.cancelled() => return,
            watched = watch(&settings, &selector, &pace, &members, &mut was_listed) => watched,
        };
        if was_listed {
            wait = FIRST_WAIT;
        }
        if let Err((cause, text)) = watched {
            members.lock().failed(&name, cause, text);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait + wait.mul_f64(fastrand::f64())) => {}
        }
        wait = LONGEST_WAIT.min(wait * 2);
    }
}

/// Lists the pods and follows them until it is time for another list.
async fn watch(
    settings: &KubernetesSettings,
    selector: &PodSelector,
    pace: &Arc<ApiPace>,
    members: &Mutex<Membership>,
    was_listed: &mut bool,
) -> Result<(), PodFault> {
    let (api, name) = (api(settings, pace).await?, &selector.name());
    let config = watcher::Config::default().labels(&selector.labels).timeout(WATCH_SECS);
    let mut events = pin!(watcher(api, config));
    let until = Instant::now() + LIST_INTERVAL;
    let mut listed = BTreeMap::new();
    // It never ends by itself.
    while let Ok(Some(event)) = tokio::time::timeout_at(until, events.next()).await {
        let event = match event {
            // What it knew is too old to go on from: a new list, which is no fault.
            Err(watcher::Error::WatchError(status)) if status.code == TOO_OLD => return Ok(()),
            event => event.map_err(|error| fault_of(&error))?,
        };
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(_) if listed.len() >= MAX_PODS => {
                return Err((
                    "api",
                    format!("more than {MAX_PODS} pods are listed: a narrower selector is needed"),
                ));
            }
            Event::InitApply(pod) => listed.extend(named(&pod, selector, settings)),
            Event::InitDone => {
                members.lock().list(name, std::mem::take(&mut listed));
                *was_listed = true;
            }
            Event::Apply(pod) => match named(&pod, selector, settings) {
                Some((id, offer)) => members.lock().offered(name, &id, offer),
                None => members.lock().gone(name, &id_of(&pod)),
            },
            Event::Delete(pod) => members.lock().gone(name, &id_of(&pod)),
        }
    }
    Ok(())
}

/// How many pods there are with these labels that may be workers, and how many of them are ready.
///
/// # Errors
///
/// In words, if the API cannot be asked.
///
/// # Cancel safety
///
/// Dropping the future ends the question.
pub(crate) async fn count(
    settings: &KubernetesSettings,
    selector: &PodSelector,
) -> Result<(usize, usize), String> {
    let api = api(settings, &Arc::default()).await.map_err(|(_, text)| text)?;
    let listed = api.list(&ListParams::default().labels(&selector.labels)).await;
    let pods = listed.map_err(|error| refusal_of(&error).1)?;
    let offers = || pods.items.iter().filter_map(|pod| offer_of(pod, selector.role, settings));
    let ready = offers().filter(|offer| offer.readiness == OfferedState::Ready).count();
    Ok((offers().count(), ready))
}

fn named(pod: &Pod, selector: &PodSelector, settings: &KubernetesSettings) -> Option<(String, Offer)> {
    Some((id_of(pod), offer_of(pod, selector.role, settings)?))
}

async fn api(settings: &KubernetesSettings, pace: &Arc<ApiPace>) -> Result<Api<Pod>, PodFault> {
    let unconfigured = |error: &dyn std::error::Error| ("unconfigured", in_full(error));
    let files = settings.kubeconfig.clone().map_or_else(usual_files, |path| vec![path]);
    let looked =
        tokio::task::spawn_blocking(move || files.iter().try_for_each(|file| check_file(file))).await;
    looked.map_err(|error| unconfigured(&error))?.map_err(|text| ("unconfigured", text))?;
    let mut config = match &settings.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(|error| unconfigured(&error))?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(file, &options).await.map_err(|error| unconfigured(&error))?
        }
        None => Config::infer().await.map_err(|error| unconfigured(&error))?,
    };
    config.connect_timeout = Some(CONNECT_LIMIT);
    config.read_timeout = Some(Duration::from_secs(u64::from(WATCH_SECS)) + CONNECT_LIMIT);
    let pace = Arc::clone(pace);
    let builder = ClientBuilder::try_from(config).map_err(|error| unconfigured(&error))?;
    let client = builder.with_layer(&layer_fn(move |inner| {
        let pace = Arc::clone(&pace);
        MapFuture::new(inner, move |answer| {
            let pace = Arc::clone(&pace);
            async move {
                pace.wait().await;
                answer.await
            }
        })
    }));
    let client = client.build();
    Ok(match settings.namespace.as_deref() {
        Some("*") => Api::all(client),
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::default_namespaced(client),
    })
}

/// Where kube looks for its configuration without being told.
fn usual_files() -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os("KUBECONFIG") {
        return std::env::split_paths(&named).collect();
    }
    std::env::home_dir().map(|home| home.join(".kube").join("config")).into_iter().collect()
}

/// An error in words if a file is there that could block who reads it, or has no end.
fn check_file(path: &Path) -> Result<(), String> {
    let Ok(facts) = std::fs::metadata(path) else { return Ok(()) };
    if facts.is_file() && facts.len() <= MAX_KUBECONFIG_BYTES {
        return Ok(());
    }
    Err(format!("{} is no regular file of at most {MAX_KUBECONFIG_BYTES} bytes", shown_path(path)))
}

fn fault_of(error: &watcher::Error) -> PodFault {
    let inner = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error,
        other => return ("api", in_full(other)),
    };
    refusal_of(inner)
}

fn refusal_of(error: &kube::Error) -> PodFault {
    match error {
        kube::Error::Api(status) if matches!(status.code, 401 | 403) => ("forbidden", status.message.clone()),
        kube::Error::Api(status) => ("api", format!("{} {}", status.code, status.message)),
        other => ("unreachable", in_full(other)),
    }
}
