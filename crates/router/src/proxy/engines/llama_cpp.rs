//! The server of llama.cpp: `/metrics` with `--metrics`, else `/slots`; `/props`.

use serde::Deserialize;

use crate::proxy::engines::adapter::{Adapter, EngineQuestion, Identity, Version};
use crate::proxy::engines::exposition::samples;
use crate::proxy::engines::figure::{Figure, Sceptic};
use crate::proxy::engines::reading::{Bounded, RankLoad, Reading};
use sglang_router_rs::core::EngineFacts;

/// llama.cpp.
pub(crate) const LLAMA_CPP: Adapter = Adapter {
    name: "llamacpp",
    identities: &[EngineQuestion { path: "/props", read: identity }],
    loads: &[
        EngineQuestion { path: "/metrics", read: metrics },
        EngineQuestion { path: "/slots", read: slots },
    ],
    rank_counts: &[],
    rank_fields: None,
};

/// What is read of `/props`.
#[derive(Debug, Deserialize)]
struct Props {
    total_slots: Figure,
    default_generation_settings: Defaults,
    #[serde(default)]
    build_info: Option<Version>,
}

#[derive(Debug, Deserialize)]
struct Defaults {
    #[serde(default)]
    n_ctx: Figure,
}

fn identity(body: &[u8]) -> Option<Identity> {
    let props: Props = serde_json::from_slice(body).ok()?;
    let mut sceptic = Sceptic::default();
    let slots = sceptic.size(props.total_slots);
    let context = sceptic.size(props.default_generation_settings.n_ctx);
    Some(Identity {
        is_sure: true,
        version: props.build_info.and_then(Version::shown),
        facts: EngineFacts {
            kv_capacity_tokens: slots.zip(context).and_then(|(slots, context)| slots.checked_mul(context)),
            max_running_requests: slots,
            ..EngineFacts::UNKNOWN
        },
        ..Identity::default()
    })
}

fn metrics(body: &[u8]) -> Option<Reading> {
    let text = std::str::from_utf8(body).ok()?;
    let (mut rank, mut sceptic, mut is_load) = (RankLoad::default(), Sceptic::default(), false);
    for sample in samples(text, "llamacpp:") {
        match sample.name {
            "requests_processing" => rank.running = sceptic.count(sample.value),
            "requests_deferred" => rank.waiting = sceptic.count(sample.value),
            // Until the summer of 2025.
            "kv_cache_usage_ratio" => rank.kv_usage = sceptic.share(sample.value),
            "tokens_predicted_total" => rank.generated = sceptic.total(sample.value),
            _ => continue,
        }
        is_load = true;
    }
    is_load.then(|| Reading { ranks: vec![rank], nonsense: sceptic.nonsense })
}

/// One of the requests that it can run.
#[derive(Debug, Deserialize)]
struct ServingSlot {
    /// Since the end of 2024.
    is_processing: Option<bool>,
    /// Before: 0 for an idle one.
    #[serde(default)]
    state: Figure,
}

fn slots(body: &[u8]) -> Option<Reading> {
    let Bounded(slots) = serde_json::from_slice::<Bounded<ServingSlot>>(body).ok()?;
    let mut sceptic = Sceptic::default();
    let mut running = 0;
    for slot in &slots {
        let is_busy = match slot.is_processing {
            Some(is_processing) => is_processing,
            None => sceptic.count(slot.state)? > 0,
        };
        running += u32::from(is_busy);
    }
    let max = u32::try_from(slots.len()).ok().filter(|slots| *slots > 0)?;
    let rank = RankLoad { running: Some(running), max_running_requests: Some(max), ..RankLoad::default() };
    Some(Reading { ranks: vec![rank], nonsense: sceptic.nonsense })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_page_is_read() {
        let page = "# HELP llamacpp:requests_processing Number of requests processing\n\
                    # TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing 2\n\
                    llamacpp:requests_deferred 5\nllamacpp:tokens_predicted_total 900\n\
                    llamacpp:predicted_tokens_seconds 0\n";
        let reading = metrics(page.as_bytes()).unwrap();
        let report = reading.report();
        assert_eq!((report.running, report.waiting, report.queued_tokens), (2, 5, -1));
        assert_eq!((reading.ranks[0].generated, reading.nonsense), (Some(900.0), false));
        let bad = metrics(b"llamacpp:requests_processing -2\nllamacpp:requests_deferred inf\n").unwrap();
        assert_eq!((bad.report().known(), bad.nonsense), (Reading::default().report().known(), true));
        assert_eq!(metrics(b"vllm:num_requests_running 1\n"), None);
    }

    #[test]
    fn slots_are_counted() {
        let body = br#"[{"id": 0, "n_ctx": 2048, "is_processing": false}, {"id": 1, "n_ctx": 2048, "is_processing": true, "params": {}}]"#;
        let reading = slots(body).unwrap();
        assert_eq!((reading.report().running, reading.report().waiting), (1, -1));
        assert_eq!(reading.facts().max_running_requests, Some(2));
        assert_eq!(slots(br#"[{"state": 0}, {"state": 1}, {"state": 1}]"#).unwrap().report().running, 2);
        for other in ["[]", "{}", "[{}]", "[7]", r#"[{"is_processing": "yes"}]"#, r#"[{"state": -1}]"#] {
            assert_eq!(slots(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn server_says_who_it_is() {
        let props =
            br#"{"default_generation_settings": {"params": {"seed": 1}, "n_ctx": 2048}, "total_slots": 2,
            "model_path": "tiny.gguf", "chat_template": "x", "build_info": "b6000-abc"}"#;
        let found = identity(props).unwrap();
        assert_eq!((found.is_sure, found.version.as_deref()), (true, Some("b6000-abc")));
        assert_eq!((found.facts.kv_capacity_tokens, found.facts.max_running_requests), (Some(4096), Some(2)));
        for other in ["{}", "[]", r#"{"total_slots": 2}"#] {
            assert_eq!(identity(other.as_bytes()), None, "{other}");
        }
        let odd = identity(br#"{"default_generation_settings": {"n_ctx": 4000000000}, "total_slots": -2}"#)
            .unwrap();
        assert!(odd.facts.is_unknown());
    }
}
