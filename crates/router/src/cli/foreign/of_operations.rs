//! Flags about requests, their limits, logs, metrics and traces.

use crate::cli::foreign::flag::FlagOwner::{Both, Sglang, VllmBinary};
use crate::cli::foreign::flag::FlagValues::{Many, One};
use crate::cli::foreign::flag::{ForeignFlag, alias, ignored, refused, same};

/// When a retry comes.
const BACKOFF: &str = "a retry goes to another worker at once, and a full worker has pauses of its own; \
                       what is retried, and how often, `--retry-on` and `--retry-max-retries` say";

pub(crate) const OF_OPERATIONS: &[ForeignFlag] = &[
    same("request-timeout-secs", Both, ""),
    alias("shutdown-grace-period-secs", Sglang, "shutdown-timeout-secs", "").defaults("180", "60"),
    same("max-payload-size", Both, "in bytes").defaults("536870912 (512 MiB)", "134217728 (128 MiB)"),
    same(
        "max-concurrent-requests",
        Both,
        "a bound of what is served at a time; there it is the size of a bucket that is refilled every second",
    )
    .defaults("-1 = none (sglang-router), 32768 (vllm-router)", "0 = none"),
    same("queue-size", Both, ""),
    same("queue-timeout-secs", Both, "503 then, with `retry-after`; there 408"),
    refused(
        "rate-limit-tokens-per-second",
        Both,
        One,
        "there is no bucket for all clients together: `--client-keys-file` limits requests and tokens a minute of each \
         key, `--max-concurrent-requests` bounds what is served at a time",
    ),
    same("request-id-headers", Both, "makes an id where a request has none, as `--request-ids` does")
        .defaults("`x-request-id`, `x-correlation-id`, `x-trace-id`, `request-id`", "off"),
    same("cors-allowed-origins", Both, "").defaults("any origin", "none"),
    same("retry-max-retries", Both, "on other workers; 429 too, 500 and 504 only with `--retry-on`"),
    ignored("retry-initial-backoff-ms", Both, One, BACKOFF),
    ignored("retry-max-backoff-ms", Both, One, BACKOFF),
    ignored("retry-backoff-multiplier", Both, One, BACKOFF),
    ignored("retry-jitter-factor", Both, One, BACKOFF),
    same("disable-retries", Both, ""),
    same("log-level", Both, "`warning` is `warn`, `critical` is `error`; filters as in `RUST_LOG` too"),
    ignored("log-dir", Both, One, "log lines go to standard error only; redirect that to a file"),
    same("prometheus-port", Both, ""),
    same("prometheus-host", Both, "in a container say `--prometheus-host 0.0.0.0`")
        .defaults("`0.0.0.0` (sglang-router), `127.0.0.1` (vllm-router)", "`127.0.0.1`"),
    ignored("prometheus-duration-buckets", Sglang, Many, "buckets of histograms are fixed; leave it out"),
    same("enable-trace", Sglang, ""),
    same(
        "otlp-traces-endpoint",
        Sglang,
        "turns traces on, there only with `--enable-trace`; OTLP over HTTP, there over gRPC: of a host without \
         `http://`, port 4317 is taken for 4318",
    )
    .defaults("`localhost:4317`", "`http://localhost:4318/v1/traces`"),
    same("otel-sampling-ratio", VllmBinary, ""),
    refused(
        "otel-excluded-paths",
        VllmBinary,
        Many,
        "probes are never traced; of the other requests `--otel-sampling-ratio` picks a share",
    ),
];
