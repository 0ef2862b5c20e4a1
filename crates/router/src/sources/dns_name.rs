//! A name that is looked up again and again.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::RecordType;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::config::sources_section::DnsSettings;
use crate::sources::dns_answer::{NamedWorkers, ask, at_addresses, at_targets, resolver};
use crate::sources::membership::Membership;

/// Time between two questions at least, however short answers may be kept.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

/// What one question gave.
struct LookedUp {
    workers: NamedWorkers,
    ttl: Option<Duration>,
}

/// What was told last of each kind of address: a server that fails for one of them says nothing against the
/// other.
type LastTold = [Option<NamedWorkers>; 2];

/// Looks the name up until told to stop.
///
/// # Cancel safety
///
/// Dropping the future ends the looking.
pub(crate) async fn follow(
    settings: DnsSettings,
    servers: Vec<SocketAddr>,
    members: Arc<Mutex<Membership>>,
    stop: CancellationToken,
) {
    let mut last = LastTold::default();
    let mut left_out = BTreeSet::new();
    loop {
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            asked = look_up(&settings, &servers, &mut last) => asked,
        };
        let mut wait = settings.interval;
        if let Ok(told) = &asked
            && told.workers.left_out != left_out
        {
            left_out.clone_from(&told.workers.left_out);
            tell_left_out(&settings.url, &left_out);
        }
        match asked {
            Ok(told) if told.workers.offers.is_empty() => {
                members.lock().empty(&settings.url, "the name has no records of workers".to_owned());
            }
            Ok(told) => {
                wait = wait.min(told.ttl.unwrap_or(wait)).max(LEAST_INTERVAL);
                members.lock().list(&settings.url, told.workers.offers);
            }
            Err(error) => members.lock().failed(&settings.url, "unanswered", error.to_string()),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// How many workers the name has now.
///
/// # Errors
///
/// In words, if nobody answers.
///
/// # Cancel safety
///
/// Dropping the future ends the question.
pub(crate) async fn count(settings: &DnsSettings, servers: &[SocketAddr]) -> Result<(usize, usize), String> {
    let told = look_up(settings, servers, &mut LastTold::default()).await;
    let count = |told: LookedUp| (told.workers.offers.len(), told.workers.offers.len());
    told.map(count).map_err(|error| error.to_string())
}

fn tell_left_out(name: &str, left_out: &BTreeSet<IpAddr>) {
    if left_out.is_empty() {
        tracing::info!(source = "dns", name, "has no addresses any more at which nobody can be");
        return;
    }
    let addresses = left_out.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
    tracing::warn!(
        source = "dns",
        name,
        addresses,
        "left out: no host has such an address; the server of names is to say the workers' own"
    );
}

async fn look_up(
    settings: &DnsSettings,
    servers: &[SocketAddr],
    last: &mut LastTold,
) -> Result<LookedUp, NetError> {
    let resolver = resolver(servers)?;
    let Some(port) = settings.port else {
        let (records, ttl) = ask(&resolver, &settings.host, RecordType::SRV).await?;
        return Ok(LookedUp { workers: at_targets(settings, &records), ttl });
    };
    addresses(settings, port, &resolver, last).await
}

async fn addresses(
    settings: &DnsSettings,
    port: u16,
    resolver: &TokioResolver,
    last: &mut LastTold,
) -> Result<LookedUp, NetError> {
    let (old, new) = tokio::join!(
        ask(resolver, &settings.host, RecordType::A),
        ask(resolver, &settings.host, RecordType::AAAA),
    );
    let ttl = [&old, &new].into_iter().filter_map(|answer| answer.as_ref().ok()?.1).min();
    let [of_old, of_new] = last;
    let mut failed = Vec::new();
    for (answer, last) in [(old, of_old), (new, of_new)] {
        match answer {
            Ok((records, _)) => *last = Some(at_addresses(settings, port, &records)),
            Err(error) => failed.push(error),
        }
    }
    let workers = last.iter().flatten().cloned().fold(NamedWorkers::default(), NamedWorkers::and);
    let is_silent = failed.len() == 2 || workers.offers.is_empty();
    match failed.into_iter().next().filter(|_| is_silent) {
        Some(error) => Err(error),
        None => Ok(LookedUp { workers, ttl }),
    }
}
