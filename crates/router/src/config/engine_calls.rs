//! Calls by which operators steer an engine. They are no client's: the router passes none of them on from
//! there, whatever is configured, and sends them to workers for operators only.

use percent_encoding::percent_decode_str;

/// Paths of such calls, with the engines that have them (SGLang 0.5, vLLM 0.32, llama.cpp's server).
pub(crate) const ENGINE_CALLS: [&str; 72] = [
    // Caches: SGLang, vLLM.
    "/flush_cache",
    "/clear_hicache_storage_backend",
    "/reset_prefix_cache",
    "/reset_mm_cache",
    "/reset_encoder_cache",
    // Memory and sleep: SGLang, vLLM.
    "/release_memory_occupation",
    "/resume_memory_occupation",
    "/release_kv_cache_memory",
    "/sleep",
    "/wake_up",
    "/is_sleeping",
    // Requests in flight: SGLang, vLLM.
    "/abort_request",
    "/abort_requests",
    "/pause_generation",
    "/continue_generation",
    "/pause",
    "/resume",
    "/is_paused",
    "/slow_down",
    "/open_session",
    "/close_session",
    // Weights and adapters: SGLang, vLLM, llama.cpp.
    "/update_weights",
    "/update_weights_from_disk",
    "/update_weights_from_tensor",
    "/update_weights_from_distributed",
    "/update_weights_from_ipc",
    "/update_weight_version",
    "/init_weights_update_group",
    "/destroy_weights_update_group",
    "/init_weights_send_group_for_remote_instance",
    "/send_weights_to_remote_instance",
    "/get_weights_by_name",
    "/weights_checker",
    "/weight_checker",
    "/init_weight_transfer_engine",
    "/shutdown_weight_transfer_engine",
    "/begin_weight_update",
    "/end_weight_update",
    "/start_weight_update",
    "/start_draft_weight_update",
    "/finish_weight_update",
    "/register_transfer_engine_info",
    "/get_world_size",
    "/load_lora_adapter",
    "/load_lora_adapter_from_tensors",
    "/unload_lora_adapter",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/lora-adapters",
    "/models/load",
    "/models/unload",
    // Profiles, dumps, settings, roles: SGLang, vLLM, llama.cpp.
    "/start_profile",
    "/stop_profile",
    "/freeze_gc",
    "/start_expert_distribution_record",
    "/stop_expert_distribution_record",
    "/dump_expert_distribution_record",
    "/configure_logging",
    "/set_internal_state",
    "/set_trace_level",
    "/dumper",
    "/collective_rpc",
    "/scale_elastic_ep",
    "/pd_role_switch",
    "/add_external_corpus",
    "/remove_external_corpus",
    "/is_scaling_elastic_ep",
    "/props",
    "/slots",
    // Servers that simulate engines, and an engine's own debuggers.
    "/sim/control",
    "/hicache",
    "/debug",
];

/// What the name of a call begins with that steers an engine, whatever follows: those of engines to come
/// that change caches, sleep or requests in flight.
const STEMS: [&str; 7] =
    ["flush_", "reset_", "release_", "resume_memory", "abort_", "start_profile", "stop_profile"];

/// What is in the name of a call that steers an engine, wherever it stands: those of engines to come that change
/// weights, adapters, roles or what is shared by all requests.
const PARTS: [&str; 6] =
    ["weight", "lora_adapter", "transfer_engine", "external_corpus", "role_switch", "collective_"];

/// The call by which operators steer an engine that this path is, or leads to: one that is listed, one
/// below it, or one that begins as they do. Decoded, and in lower case; empty steps do not count.
pub(crate) fn engine_call(path: &str) -> Option<String> {
    let decoded = decoded(path);
    let steps: Vec<&str> = steps(&decoded).collect();
    let is_at = |whole: &str, call: &str| {
        whole.strip_prefix(call).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    // Wherever it begins: `/v1/flush_cache` may be one too, and an engine may have a prefix before all paths.
    let is_listed = (0..steps.len()).any(|from| {
        let whole = format!("/{}", steps.get(from..).unwrap_or_default().join("/"));
        ENGINE_CALLS.iter().any(|call| is_at(&whole, call))
    });
    let is_one = |step: &&str| {
        STEMS.iter().any(|stem| step.starts_with(stem)) || PARTS.iter().any(|part| step.contains(part))
    };
    (is_listed || steps.iter().any(is_one)).then(|| format!("/{}", steps.join("/")))
}

/// True if a path has steps that an engine, or whoever stands before it, may read otherwise: `.`, `..`, empty
/// ones, backslashes, parameters, what ends a path, control characters, and blanks and dots at the end of a
/// step, encoded or not.
pub(crate) fn is_crooked(path: &str) -> bool {
    let decoded = decoded(path);
    let mut steps = decoded.strip_prefix('/').unwrap_or(&decoded).split('/').peekable();
    let is_odd = |letter: char| letter.is_control() || matches!(letter, '\\' | '%' | ';' | '?' | '#');
    let mut is_crooked = !decoded.starts_with('/') || decoded.contains(is_odd);
    while let Some(step) = steps.next() {
        is_crooked |=
            step.trim() != step || step.ends_with('.') || (step.is_empty() && steps.peek().is_some());
    }
    is_crooked
}

fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|step| !step.is_empty() && *step != ".")
}

/// Percent-encoded bytes decoded, in lower case.
fn decoded(path: &str) -> String {
    percent_decode_str(path).decode_utf8_lossy().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_steer_engines_are_known_however_they_are_written() {
        for path in [
            "/flush_cache",
            "/flush_cache/",
            "//flush_cache",
            "/./flush_cache",
            "/%66lush_cache",
            "/FLUSH_CACHE",
            "/v1/flush_cache",
            "/slots/3",
            "/update_weights_from_the_future",
            "/x/sleep",
            "/x/models/load",
            "/x/y/models/unload/",
            "/start_weight_update",
            "/x/weights/of/tomorrow",
            "/release_kv_cache_memory",
        ] {
            assert!(engine_call(path).is_some(), "{path}");
        }
        for path in [
            "/v1/chat/completions",
            "/inference/v1/generate",
            "/v1/models/a/loaded",
            "/asleep",
            "/v1/realtime",
            "/",
        ] {
            assert_eq!(engine_call(path), None, "{path}");
        }
    }

    #[test]
    fn crooked_paths_are_told() {
        for path in [
            "/a/../b",
            "/a/./b",
            "/a//b",
            "/a/%2e%2e/b",
            "/a%5cb",
            "/a/%252e",
            "a",
            "/a/%00",
            "/a/sleep%0a",
            "/a/sleep;b=c",
            "/a/sleep%3bb",
            "/a/sleep%20",
            "/a/%20b",
            "/a/sleep.",
            "/a/sleep%3f",
            "/a/%23",
            "/a/%7f",
        ] {
            assert!(is_crooked(path), "{path}");
        }
        for path in ["/a/b", "/a/b/", "/a/b.c", "/a/b%20c", "/"] {
            assert!(!is_crooked(path), "{path}");
        }
    }
}
