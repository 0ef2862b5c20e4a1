//! `watch`: follows one plugin.

use std::io::Write;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;

use crate::cli::plugin::args::WatchArgs;
use crate::cli::plugin::client::{AdminClient, Call, encoded};
use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::table::nanoseconds;
use sgl_api::{PluginView, failures};
use sglang_router_rs::policies::{GenerationRole, PluginDetail, PluginEvent, PluginStatus};
use sglang_router_rs::types::printable;

/// Prints a line for each check of the plugin, on request until its rollout is over.
///
/// # Errors
///
/// [`CommandError`]; [`CommandError::RolledBack`] if the rollout ended so.
///
/// # Cancel safety
///
/// Dropping the future changes nothing.
pub(crate) async fn watch(client: &AdminClient, args: &WatchArgs, json: bool) -> Result<(), CommandError> {
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
            if view.detail.state == PluginStatus::Serving {
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
    let stable = || id_of(plugin, GenerationRole::Stable);
    let probation = || (plugin.state == PluginStatus::Probation).then(stable).flatten();
    id_of(plugin, GenerationRole::Canary).or_else(|| id_of(plugin, GenerationRole::Shadow)).or_else(probation)
}

/// The result of a rollout that is over. If it was over before the first check, the last event tells.
fn settled(plugin: &PluginDetail, candidate: Option<u64>) -> Result<(), CommandError> {
    let event = plugin.last_event.as_ref();
    let stays = match candidate {
        Some(candidate) => id_of(plugin, GenerationRole::Stable) == Some(candidate),
        None => !event.is_some_and(PluginEvent::is_rollback),
    };
    let event = || event.map(ToString::to_string).unwrap_or_default();
    if stays {
        Ok(())
    } else {
        Err(CommandError::RolledBack(printable(&format!("{}: {}", plugin.name, event()))))
    }
}

fn as_text(view: &PluginView, rate: Option<f64>) -> String {
    let plugin = &view.detail;
    let rate = rate.map_or("-".to_owned(), |rate| format!("{rate:.0}"));
    let one = |one: &sglang_router_rs::policies::GenerationDetail| {
        let p99 = nanoseconds(one.latency_ns.get("p99").copied());
        format!(
            "{} {} ({} decisions, {} failed, p99 {p99})",
            one.role,
            one.generation,
            one.decisions,
            failures(one)
        )
    };
    let generations: Vec<String> = plugin.generations.iter().map(one).collect();
    let event = plugin.last_event.as_ref().map(|event| format!("; {event}")).unwrap_or_default();
    let line = format!("{} {}: {rate}/s; {}{event}", plugin.name, plugin.state, generations.join(", "));
    printable(&line)
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

#[cfg(test)]
mod tests {
    use super::*;
    use sglang_router_rs::policies::{BreakerState, GenerationDetail, PluginOptions, WasmPolicyConfig};

    /// A plugin of which generation 1 serves, as the router's JSON tells it.
    fn serving(last_event: &str) -> PluginDetail {
        let stable = GenerationDetail {
            generation: 1,
            role: GenerationRole::Stable,
            digest: String::new(),
            loaded_at_secs: 0,
            version: String::new(),
            provenance: None,
            decisions: 0,
            rollout: None,
            failures: std::collections::BTreeMap::new(),
            latency_ns: std::collections::BTreeMap::new(),
            instances: 0,
            idle: 0,
            in_call: 0,
            waiting: 0,
        };
        PluginDetail {
            name: "p".to_owned(),
            state: PluginStatus::Serving,
            last_event: Some(PluginEvent::from(last_event.to_owned())),
            last_failure: None,
            breaker: BreakerState::Closed,
            decisions: 0,
            fallbacks: 0,
            sheds: 0,
            waits: 0,
            completion_failures: 0,
            events_dropped: 0,
            tmp_refusals: 0,
            swaps: 0,
            rollbacks: 0,
            shadow: None,
            generations: vec![stable],
            syscalls: Vec::new(),
            config: WasmPolicyConfig::new("p", "p.wasm"),
            options: PluginOptions::default(),
        }
    }

    #[test]
    fn rollout_that_was_over_before_the_first_look_is_judged_by_its_event() {
        for event in [
            "generation 2 rolled back: too slow",
            "generation 2 rolled back to 1: too slow",
            "generation 1 is back (by the operator), 2 stays warm",
            "generation 2 rolled back: too slow; generation 3, a canary until then, is dropped",
        ] {
            let plugin = serving(event);
            match settled(&plugin, None) {
                Err(CommandError::RolledBack(text)) => assert_eq!(text, format!("p: {event}")),
                other => panic!("{event}: {other:?}"),
            }
            assert!(settled(&plugin, Some(1)).is_ok() && settled(&plugin, Some(2)).is_err());
        }
        for event in ["generation 1 passed its probation", "resumed", "words of a newer router: rolled back"]
        {
            assert!(settled(&serving(event), None).is_ok(), "{event}");
        }
    }
}
