//! All metrics of the router. Whoever counts something takes its metric from here, and the tables of
//! `docs/operations.md` are made from here:
//! `UPDATE=1 cargo test --workspace --all-features --test router docs`.

use crate::metrics::metric::{Metric, MetricKind};

/// Defines a constant for each metric, and a list of them that cannot miss one.
macro_rules! metrics {
    (
        $(#[$about:meta])*
        $list:ident $prefix:literal:
        $($metric:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)+
    ) => {
        $(
            #[doc = $help]
            pub(crate) const $metric: Metric =
                Metric { prefix: $prefix, name: $name, kind: MetricKind::$kind, labels: &[$($label),*], help: $help };
        )+

        $(#[$about])*
        pub(crate) const $list: &[Metric] = &[$($metric),+];
    };
}

metrics! {
    /// What becomes of requests, and what the router itself needs for them.
    REQUEST_METRICS "sgl_router":

    REQUESTS = Counter "requests" ["route", "status"]
        "Answered requests";
    REQUEST_DURATION = Histogram "request_duration_seconds" ["route"]
        "Time to the last byte of an answer";
    FIRST_BYTE = Histogram "first_byte_seconds" ["route"]
        "Time to the first byte of an answer's body";
    FIRST_TOKEN = Histogram "time_to_first_token_seconds" ["model"]
        "Time to the first event of a streamed answer";
    TIME_PER_TOKEN = Histogram "time_per_token_seconds" ["model"]
        "Time from one token of a streamed answer to the next, its mean over each answer";
    REFUSED_REQUESTS = Counter "refused_requests" ["code"]
        "Requests that the router answered with an error of its own, by its code";
    CLIENT_DISCONNECTS = Counter "client_disconnects" ["route"]
        "Clients that hung up before their answer";
    BROKEN_ANSWERS = Counter "broken_answers" ["route"]
        "Answers that broke off after their head";
    ERROR_EVENTS = Counter "error_events" ["route"]
        "Streams in which an event told of an error";
    PICKER_STREAMS = Counter "picker_streams" ["mode", "end"]
        "Streams of Envoy's that ended, by the mode of request bodies and by how far they came";
    PICKER_OPEN_STREAMS = Gauge "picker_open_streams" []
        "Streams of Envoy's that are open";
    PICKER_LATE_PICKS = Counter "picker_late_picks" []
        "Picks by the native policy, because the policy's or what it needs came too late";
    PICKER_CUT_PROMPTS = Counter "picker_cut_prompts" []
        "Picks for which the policy saw only the beginning of a body";
    PICKER_MOVED_REQUESTS = Counter "picker_moved_requests" []
        "Requests that Envoy had served by another worker than the one picked";
    UNPLACED_REQUESTS = Counter "unplaced_requests" ["reason"]
        "Requests that got no worker";
    RETRIES = Counter "retries" ["reason"]
        "Requests tried again on another worker";
    QUEUE_WAITING = Gauge "queue_waiting" ["for"]
        "Requests that wait in the router";
    QUEUE_BODY_BYTES = Gauge "queue_body_bytes" []
        "Bytes of memory that the bodies of waiting requests take";
    QUEUE_SERVED = Gauge "queue_served" []
        "Requests that count against max_concurrent_requests";
    QUEUE_WAITS = Counter "queue_waits" ["for", "end"]
        "Requests that waited in the router, or were to, by how that ended";
    QUEUE_WAIT_TIME = Histogram "queue_wait_seconds" ["for"]
        "Time that requests waited in the router";
    UNAUTHORIZED_REQUESTS = Counter "unauthorized_requests" []
        "Requests without a key, or with one that nobody has";
    CLIENT_KEY_REQUESTS = Counter "client_key_requests" ["key", "outcome"]
        "Requests of a client's key: admitted, or refused for a limit";
    CLIENT_KEY_IN_FLIGHT = Gauge "client_key_in_flight" ["key"]
        "Requests in flight of a client's key";
    CLIENT_KEY_TOKENS = Counter "client_key_tokens" ["key", "kind"]
        "Tokens of prompts and answers of a client's key";
    CLIENT_CONNECTIONS = Gauge "client_connections" []
        "Open connections of clients";
    CLOSED_IDLE_CONNECTIONS = Counter "closed_idle_connections" []
        "Idle connections closed to make room";
    BODY_BYTES = Gauge "body_bytes" []
        "Bytes of memory that request bodies take";
    REFUSED_BODIES = Counter "refused_bodies" []
        "Requests refused for want of memory for bodies";
    OWN_SHORTAGES = Counter "own_shortages" []
        "Requests failed for want of descriptors or ports";
    PREFIX_INDEX_BYTES = Gauge "prefix_index_bytes" []
        "Bytes of memory that the index of prefixes takes, with what is kept beside it";
    PREFIX_INDEX_KEPT_BESIDE = Gauge "prefix_index_kept_beside_bytes" []
        "Bytes of these that engines' names of blocks take that are not as large as those of the index, or of one rank of several";
    PREFIX_INDEX_BLOCKS = Gauge "prefix_index_blocks" ["source"]
        "Blocks that workers hold by the index, each at each worker: sent or reported";
    PREFIX_INDEX_EVICTED = Counter "prefix_index_evicted_blocks" []
        "Blocks forgotten because a worker, or the index, can hold no more";
    PREFIX_INDEX_REFUSED = Counter "prefix_index_refused_blocks" []
        "Blocks not noted, for want of memory or because too many requests came at once";
    MODEL_BYTES_PER_TOKEN = Gauge "model_bytes_per_token" ["model"]
        "Bytes of a prompt's text that a token has, learnt for each model from engines' counts";
    DECISION_RECORDS = Counter "decision_records" []
        "Requests whose decisions were recorded";
    DECISION_RECORDS_DROPPED = Counter "decision_records_dropped" []
        "Records that could not be written in time";
    ACCESS_LOG_LINES = Counter "access_log_lines" ["outcome"]
        "Lines of the access log, by what became of them";
    TRACE_SPANS = Counter "trace_spans" ["outcome"]
        "Spans of traces, by what became of them";
    TOKENIZED_PROMPTS = Counter "tokenized_prompts" ["outcome"]
        "Prompts of models with a tokenizer: tokenized, or why not";
    TOKENIZER_CACHE_SEGMENTS = Counter "tokenizer_cache_segments" ["model", "outcome"]
        "Pieces of prompts that had been tokenized before, or not";
    TOKENIZER_CACHE_BYTES = Gauge "tokenizer_cache_bytes" ["model"]
        "Bytes of what was tokenized before";
}

metrics! {
    /// The workers, one by one.
    WORKER_METRICS "sgl_router":

    WORKER_IN_FLIGHT = Gauge "worker_in_flight" ["worker"]
        "Requests in flight to a worker";
    WORKER_HEALTHY = Gauge "worker_healthy" ["worker"]
        "Whether policies may choose a worker: 0 or 1";
    WORKER_DRAINING = Gauge "worker_draining" ["worker"]
        "Whether a worker gets no new requests: 0 or 1";
    WORKER_CIRCUIT_STATE = Gauge "worker_circuit_state" ["worker"]
        "Circuit breaker: 0 closed, 1 open, 2 half-open";
    WORKER_FULL = Gauge "worker_full" ["worker"]
        "Whether a worker said that it is full, a moment ago: 0 or 1";
    WORKER_LATENCY = Gauge "worker_latency_seconds" ["worker"]
        "Moving average of the times to the first byte of a worker's answers; left out before the first";
    WORKER_IDLE_CONNECTIONS = Gauge "worker_idle_connections" ["worker"]
        "Idle connections to a worker";
    WORKER_RECONNECTS = Counter "worker_reconnects" ["worker"]
        "Requests sent again because an idle connection closed under them";
    WORKER_REPORT_AGE = Gauge "worker_report_age_seconds" ["worker"]
        "Time since a worker told its load; +Inf if never";
    WORKER_REPORTS_FAILED = Counter "worker_reports_failed" ["worker", "cause"]
        "Questions for a worker's load that failed, by cause";
    WORKER_KV_SOURCES = Gauge "worker_kv_sources" ["worker", "state"]
        "Sockets at which a worker publishes KV events, and those that there is a connection to";
    WORKER_KV_EVENTS = Counter "worker_kv_events" ["worker", "kind"]
        "KV events of a worker, by what they say or why they were left out";
    WORKER_KV_BATCHES = Counter "worker_kv_batches" ["worker", "end"]
        "Batches of KV events, by how they came";
    WORKER_KV_FORGOTTEN = Counter "worker_kv_forgotten" ["worker"]
        "Times that all KV events of a rank were forgotten, because some were missed or it began anew";
    WORKER_REQUESTS = Counter "worker_requests" ["worker", "outcome"]
        "Requests by worker and outcome";
    WORKER_TOKENS = Counter "worker_tokens" ["worker", "model", "kind"]
        "Tokens of prompts and answers, as answers told them";
}

metrics! {
    /// What the router is.
    BUILD_METRICS "sgl_router":

    BUILD_INFO = Gauge "build_info" ["version", "commit", "abi", "wasmtime"]
        "What the router was built from; always 1";
}

metrics! {
    /// What the system says of the process.
    PROCESS_METRICS "":

    PROCESS_CPU = Counter "process_cpu_seconds" []
        "Processor time that the process took";
    PROCESS_START = Gauge "process_start_time_seconds" []
        "Time at which it began, in seconds since 1970";
    PROCESS_RESIDENT = Gauge "process_resident_memory_bytes" []
        "Bytes of memory that it has resident";
    PROCESS_VIRTUAL = Gauge "process_virtual_memory_bytes" []
        "Bytes of addresses that it has, most of them reserved for plugins and not used";
    PROCESS_THREADS = Gauge "process_threads" []
        "Its threads";
    PROCESS_OPEN_FDS = Gauge "process_open_fds" []
        "Its open descriptors";
    PROCESS_MAX_FDS = Gauge "process_max_fds" []
        "How many it may have open";
}

metrics! {
    /// The plugins, one by one.
    PLUGIN_METRICS "sgl_router":

    PLUGIN_DECISIONS = Counter "plugin_decisions" ["plugin"]
        "Decisions that were asked of a plugin";
    PLUGIN_FALLBACKS = Counter "plugin_fallbacks" ["plugin"]
        "Decisions of the fallback policy instead";
    PLUGIN_SHEDS = Counter "plugin_sheds" ["plugin"]
        "Requests that a plugin refused";
    PLUGIN_WAITS = Counter "plugin_waits" ["plugin"]
        "Decisions in which a plugin had the request wait";
    PLUGIN_FAILURES = Counter "plugin_failures" ["plugin", "cause"]
        "Failures by cause";
    PLUGIN_DECISION_TIME = Histogram "plugin_decision_seconds" ["plugin"]
        "Times of one decision in sixteen, from the call to the checked choice";
    PLUGIN_INSTANCES_IDLE = Gauge "plugin_instances_idle" ["plugin"]
        "Instances that wait for a call";
    PLUGIN_INSTANCES_BUSY = Gauge "plugin_instances_busy" ["plugin"]
        "Instances in a call or being made";
    PLUGIN_CALLERS_WAITING = Gauge "plugin_callers_waiting" ["plugin"]
        "Callers that wait for an instance";
    PLUGIN_INSTANCES_CREATED = Counter "plugin_instances_created" ["plugin"]
        "Instances made";
    PLUGIN_INSTANCES_RECYCLED = Counter "plugin_instances_recycled" ["plugin"]
        "Instances replaced for age, use or growth";
    PLUGIN_INSTANCES_DISCARDED = Counter "plugin_instances_discarded" ["plugin"]
        "Instances dropped after a failure";
    PLUGIN_LIVE_GENERATIONS = Gauge "plugin_live_generations" ["plugin"]
        "Generations that live";
    PLUGIN_GENERATION = Gauge "plugin_generation" ["plugin"]
        "The generation that serves";
    PLUGIN_BREAKER_OPEN = Gauge "plugin_breaker_open" ["plugin"]
        "Whether the breaker keeps it out of the path: 0 or 1";
    PLUGIN_GENERATION_DECISIONS = Counter "plugin_generation_decisions" ["plugin", "generation"]
        "Decisions that were asked of a generation that lives";
    PLUGIN_GENERATION_FAILURES = Counter "plugin_generation_failures" ["plugin", "generation", "cause"]
        "Failures of a generation that lives, by cause";
    PLUGIN_GENERATION_DECISION_TIME = Histogram "plugin_generation_decision_seconds" ["plugin", "generation"]
        "Times of one decision in sixteen of a generation that lives";
    PLUGIN_SWAPS = Counter "plugin_swaps" ["plugin"]
        "Changes of the generation that decides";
    PLUGIN_ROLLBACKS = Counter "plugin_rollbacks" ["plugin"]
        "Rollbacks, canaries and shadows that were dropped included";
    PLUGIN_DRAINS = Counter "plugin_drains" ["plugin"]
        "Generations that are gone";
    PLUGIN_DRAIN_MILLISECONDS = Counter "plugin_drain_milliseconds" ["plugin"]
        "Time from a swap to the last instance, together";
    PLUGIN_DRAIN_LAST = Gauge "plugin_drain_last_seconds" ["plugin"]
        "Seconds that the last generation took to be gone";
    PLUGIN_DRAINS_OVERDUE = Counter "plugin_drains_overdue" ["plugin"]
        "Generations that took longer than they should";
    PLUGIN_CANARY_SHARE = Gauge "plugin_canary_share" ["plugin"]
        "Share of the decisions that go to the canary, 0 to 1";
    PLUGIN_SHADOW_AGREEMENT = Gauge "plugin_shadow_agreement" ["plugin"]
        "Share of the compared decisions on which the shadow agrees, 0 to 1";
    PLUGIN_SHADOW_COMPARED = Counter "plugin_shadow_compared" ["plugin"]
        "Decisions that the shadow made too";
    PLUGIN_SHADOW_AGREED = Counter "plugin_shadow_agreed" ["plugin"]
        "Those on which it agrees";
    PLUGIN_SHADOW_SKIPPED = Counter "plugin_shadow_skipped" ["plugin"]
        "Copies that it was too slow for";
    PLUGIN_PAUSED = Gauge "plugin_paused" ["plugin"]
        "Whether an operator paused it: 0 or 1";
    PLUGIN_TMP_REFUSALS = Counter "plugin_tmp_refusals" ["plugin"]
        "Calls refused since the private directory is full";
    PLUGIN_COMPLETION_FAILURES = Counter "plugin_completion_failures" ["plugin"]
        "Batches of finished requests that it was not told of";
    PLUGIN_EVENTS_DROPPED = Counter "plugin_events_dropped" ["plugin"]
        "Events about its requests that were dropped since too many waited";
    PLUGIN_LOG_SUPPRESSED = Counter "plugin_log_suppressed" ["plugin"]
        "Log lines that were not passed on";
}

metrics! {
    /// Policies, built-in ones and plugins.
    POLICY_METRICS "sgl_router":

    POLICY_SHARE = Gauge "policy_share" ["policy", "kind", "role"]
        "Share of the decisions that a policy makes, 0 to 1; of one that is paused or whose breaker is open 0";
    POLICY_TRIALS = Counter "policy_trials" ["end"]
        "Policies that were on trial, by how that ended";
}

metrics! {
    /// Sources of workers.
    SOURCE_METRICS "sgl_router":

    SOURCE_WORKERS = Gauge "source_workers" ["source", "name", "state"]
        "Workers that a source tells of, by what became of them";
    SOURCE_AGE = Gauge "source_age_seconds" ["source", "name"]
        "Time since a source was last answered";
    SOURCE_FAILURES = Counter "source_failures" ["source", "name", "cause"]
        "Times that a source did not tell its workers";
}

metrics! {
    /// The fleet that the router is one of.
    FLEET_METRICS "sgl_router":

    FLEET_CONNECTED = Gauge "fleet_connected" ["fleet"]
        "Whether NATS is reached: 0 or 1";
    FLEET_AGE = Gauge "fleet_age_seconds" ["fleet"]
        "Time since NATS last said something of the fleet; +Inf if never";
    FLEET_HOLDING = Gauge "fleet_holding" ["fleet"]
        "Whether the router follows nothing because the fleet's state went back or is another: 0 or 1";
    FLEET_ROUTERS = Gauge "fleet_routers" ["fleet"]
        "Routers that are heard of, with this one";
    FLEET_NEWEST_GENERATION = Gauge "fleet_newest_generation" ["fleet", "plugin"]
        "The newest generation that was pushed to the fleet";
    FLEET_WANTED_GENERATION = Gauge "fleet_wanted_generation" ["fleet", "plugin"]
        "The fleet's generation that this router is to serve now, by its step; 0: none";
    FLEET_SERVING_GENERATION = Gauge "fleet_serving_generation" ["fleet", "plugin"]
        "The fleet's generation that this router serves; 0: none";
    FLEET_DIVERGED = Gauge "fleet_diverged" ["fleet", "plugin"]
        "Whether this router serves something that it was given alone: 0 or 1";
    FLEET_ROLLOUT_STATE = Gauge "fleet_rollout_state" ["fleet", "plugin", "state"]
        "The state of the newest generation: 1 for what it is, 0 for the others";
    FLEET_ROLLOUT_PERCENT = Gauge "fleet_rollout_percent" ["fleet", "plugin"]
        "Percent of the routers that are to serve the newest generation now";
    FLEET_ROLLBACKS = Counter "fleet_rollbacks" ["fleet", "plugin"]
        "Generations that were rolled back in the fleet while this router looked";
    FLEET_OPEN_BREAKERS = Gauge "fleet_open_breakers" ["fleet", "plugin"]
        "Routers that are heard of whose breaker keeps the plugin out of the path";
    FLEET_FAILED_ROUTERS = Gauge "fleet_failed_routers" ["fleet", "plugin"]
        "Routers that are heard of at which a generation did not work";
    FLEET_MESSAGES = Counter "fleet_messages" ["fleet", "kind", "outcome"]
        "Messages between routers, by what became of them";
    FLEET_PREFIXES = Counter "fleet_prefixes" ["fleet", "outcome"]
        "Prompts at workers that routers tell each other of, by what became of them";
}

metrics! {
    /// Certificates of the router.
    TLS_METRICS "sgl_router":

    CERTIFICATE_END = Gauge "tls_certificate_not_after_seconds" ["certificate"]
        "Time at which a certificate expires, in seconds since 1970";
    CERTIFICATE_RELOADS = Counter "tls_certificate_reloads" ["certificate", "result"]
        "Times that changed files of a certificate were read again";
    FAILED_HANDSHAKES = Counter "tls_failed_handshakes" ["certificate"]
        "Connections on which no TLS came about";
}

/// All of them, as the documents show them: the heading of a table, and its metrics.
pub const TABLES: [(&str, &[Metric]); 9] = [
    ("Requests", REQUEST_METRICS),
    ("Workers", WORKER_METRICS),
    ("Sources of workers", SOURCE_METRICS),
    ("Fleets", FLEET_METRICS),
    ("TLS", TLS_METRICS),
    ("Policies in use", POLICY_METRICS),
    ("Plugins", PLUGIN_METRICS),
    ("Build", BUILD_METRICS),
    ("Process", PROCESS_METRICS),
];
