//! Pods as workers: a watch that resumes by itself, and a full list beside it now and then.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use kube::runtime::watcher;
use kube::runtime::watcher::Event;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::sources_section::KubernetesSettings;
use crate::proxy::bounded_answers::TOO_LARGE;
use crate::sources::api_pace::ApiPace;
use crate::sources::membership::Membership;
use crate::sources::offer::{Offer, OfferedState};
use crate::sources::pod_api::pod_api;
use crate::sources::pod_offer::{id_of, offer_of};
use sglang_router_rs::core::WorkerRole;
use sglang_router_rs::types::in_full;

/// Seconds that one watch lasts: a connection that says nothing any more is found out by then.
const WATCH_SECS: u32 = 60;

/// Time between two full lists: what no event told of is found by then.
const LIST_INTERVAL: Duration = Duration::from_secs(300);

/// Waits after failures: twice as long each time, up to the longest, and up to as long again by chance, so
/// that not all routers ask at once when the API is back.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Most pods that are followed, those included that are no workers, and how many of them a page of a list has.
const MAX_PODS: usize = 50_000;
const PAGE: u32 = 500;

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
    let config = watcher::Config::default().labels(&selector.labels).timeout(WATCH_SECS).page_size(PAGE);
    let mut events = pin!(watcher(api, config));
    let until = Instant::now() + LIST_INTERVAL;
    let (mut listed, mut pods) = (BTreeMap::new(), 0);
    // It never ends by itself.
    while let Ok(Some(event)) = tokio::time::timeout_at(until, events.next()).await {
        let event = match event {
            // What it knew is too old to go on from: a new list, which is no fault.
            Err(watcher::Error::WatchError(status)) if status.code == TOO_OLD => return Ok(()),
            event => event.map_err(|error| fault_of(&error))?,
        };
        match event {
            Event::Init => {
                listed.clear();
                pods = 0;
            }
            Event::InitApply(pod) => {
                pods += 1;
                if pods > MAX_PODS {
                    return Err(too_many());
                }
                listed.extend(named(&pod, selector, settings));
            }
            Event::InitDone => {
                members.lock().list(name, std::mem::take(&mut listed));
                *was_listed = true;
            }
            Event::Apply(pod) => match named(&pod, selector, settings) {
                Some((id, offer)) => {
                    let mut members = members.lock();
                    if !members.has_room(name, &id, MAX_PODS) {
                        return Err(too_many());
                    }
                    members.offered(name, &id, offer);
                }
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
    let (mut pods, mut workers, mut ready) = (0, 0, 0);
    let mut page = ListParams::default().labels(&selector.labels).limit(PAGE);
    loop {
        let listed = api.list(&page).await.map_err(|error| refusal_of(&error).1)?;
        pods += listed.items.len();
        if pods > MAX_PODS {
            return Err(too_many().1);
        }
        for offer in listed.items.iter().filter_map(|pod| offer_of(pod, selector.role, settings)) {
            workers += 1;
            ready += usize::from(offer.readiness == OfferedState::Ready);
        }
        match listed.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => page = page.continue_token(&next),
            None => return Ok((workers, ready)),
        }
    }
}

fn too_many() -> PodFault {
    let text = format!(
        "more than {MAX_PODS} pods have these labels, which is as many as are followed: give a narrower selector or a \
         namespace"
    );
    ("api", text)
}

async fn api(settings: &KubernetesSettings, pace: &Arc<ApiPace>) -> Result<Api<Pod>, PodFault> {
    let watch = Duration::from_secs(u64::from(WATCH_SECS));
    pod_api(settings, pace, watch).await.map_err(|text| ("unconfigured", text))
}

fn named(pod: &Pod, selector: &PodSelector, settings: &KubernetesSettings) -> Option<(String, Offer)> {
    Some((id_of(pod), offer_of(pod, selector.role, settings)?))
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
        other => {
            let text = in_full(other);
            (if text.contains(TOO_LARGE) { "api" } else { "unreachable" }, text)
        }
    }
}
