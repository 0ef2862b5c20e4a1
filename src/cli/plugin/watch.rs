//! `watch`: follows one plugin.

use std::io::Write;
use std::time::Duration;
use std::time::Instant;

use http::Method;
use serde_json::json;

use crate::admin::plugins::view::PluginView;
use crate::admin::plugins::view::failures;
use crate::cli::plugin::args::WatchArgs;
use crate::cli::plugin::client::AdminClient;
use crate::cli::plugin::client::Call;
use crate::cli::plugin::client::encoded;
use crate::cli::plugin::exit::Failure;
use crate::cli::plugin::table::nanoseconds;
use crate::policies::GenerationRole;
use crate::policies::PluginDetail;

/// Prints a line for each look, until the rollout is over if that is asked for.
///
/// # Errors
///
/// [`Failure`]; [`Failure::RolledBack`] if the rollout ended so.
///
/// # Cancel safety
///
/// Dropping the future changes nothing.
pub async fn watch(client: &AdminClient, args: &WatchArgs, json: bool) -> Result<(), Failure> {
    let path = format!("/v1/plugins/{}", encoded(&args.name));
    let mut before: Option<(Instant, u64)> = None;
    let mut candidate = args.generation;
    loop {
        let view: PluginView = client.json(Call::new(Method::GET, path.as_str())).await?;
        let now = Instant::now();
        let rate = before.map(|(then, count)| per_second(view.detail.decisions, count, now - then));
        before = Some((now, view.detail.decisions));
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", if json { as_json(&view, rate) } else { as_text(&view, rate) })?;
        out.flush()?;
        drop(out);
        if args.until_settled {
            candidate = candidate.or_else(|| on_trial(&view.detail));
            if view.detail.state == "serving" {
                return settled(&view.detail, candidate);
            }
        }
        tokio::time::sleep(Duration::from_millis(args.interval_ms)).await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn per_second(now: u64, before: u64, time: Duration) -> f64 {
    now.saturating_sub(before) as f64 / time.as_secs_f64()
}

fn id_of(plugin: &PluginDetail, role: GenerationRole) -> Option<u64> {
    plugin.generations.iter().find(|one| one.role == role).map(|one| one.generation)
}

/// The generation whose stay is being decided.
fn on_trial(plugin: &PluginDetail) -> Option<u64> {
    let probation = || (plugin.state == "probation").then(|| id_of(plugin, GenerationRole::Stable)).flatten();
    id_of(plugin, GenerationRole::Canary).or_else(|| id_of(plugin, GenerationRole::Shadow)).or_else(probation)
}

/// What came of a rollout that is over. If it was over before the first look, the last event
/// tells.
fn settled(plugin: &PluginDetail, candidate: Option<u64>) -> Result<(), Failure> {
    let event = plugin.last_event.clone().unwrap_or_default();
    let stays = match candidate {
        Some(candidate) => id_of(plugin, GenerationRole::Stable) == Some(candidate),
        None => !event.contains("rolled back"),
    };
    if stays { Ok(()) } else { Err(Failure::RolledBack(format!("{}: {event}", plugin.name))) }
}

fn as_text(view: &PluginView, rate: Option<f64>) -> String {
    let plugin = &view.detail;
    let rate = rate.map_or("-".to_owned(), |rate| format!("{rate:.0}"));
    let one = |one: &crate::policies::GenerationDetail| {
        let role = format!("{:?}", one.role).to_lowercase();
        let p99 = nanoseconds(one.latency_ns.get("p99").copied());
        format!(
            "{role} {} ({} decisions, {} failed, p99 {p99})",
            one.generation,
            one.decisions,
            failures(one)
        )
    };
    let generations: Vec<String> = plugin.generations.iter().map(one).collect();
    let event = plugin.last_event.as_deref().map(|event| format!("; {event}")).unwrap_or_default();
    format!("{} {}: {rate}/s; {}{event}", plugin.name, plugin.state, generations.join(", "))
}

fn as_json(view: &PluginView, rate: Option<f64>) -> String {
    let plugin = &view.detail;
    json!({
        "name": plugin.name,
        "state": plugin.state,
        "decisions": plugin.decisions,
        "decisions_per_second": rate,
        "fallbacks": plugin.fallbacks,
        "rollbacks": plugin.rollbacks,
        "breaker": plugin.breaker,
        "canary_percent": view.canary_percent,
        "shadow": plugin.shadow,
        "generations": plugin.generations,
        "last_event": plugin.last_event,
    })
    .to_string()
}
