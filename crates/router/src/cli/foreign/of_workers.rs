//! Flags about workers: which there are, pairs, discovery, and how they are found well.

use crate::cli::foreign::flag::FlagOwner::{Both, Sglang, Smg, Vllm, VllmBinary};
use crate::cli::foreign::flag::FlagValues::{Many, Nothing, One};
use crate::cli::foreign::flag::{ForeignFlag, ignored, means, refused, same};

pub(crate) const OF_WORKERS: &[ForeignFlag] = &[
    same("host", Both, "an IP address or `localhost`; in a container say `--host 0.0.0.0`")
        .defaults("`0.0.0.0` (sglang-router), `127.0.0.1` (vllm-router)", "`127.0.0.1`"),
    same("port", Both, ""),
    same(
        "worker-urls",
        Both,
        "`http://` and `https://`, not `grpc://`: engines are asked over HTTP; a worker that is not up yet joins by \
         itself",
    ),
    ignored(
        "worker-startup-timeout-secs",
        Both,
        One,
        "the router starts without waiting, and a worker joins when it is up: until then requests are answered with \
         503, or wait with `--wait-for-workers`; leave it out",
    ),
    ignored(
        "worker-startup-check-interval",
        Both,
        One,
        "a worker that is not up yet is asked at `--health-check-interval-secs`; leave it out",
    ),
    means(
        "enable-igw",
        Both,
        Nothing,
        "always so: workers are asked for their models, and requests go to those that serve theirs",
    ),
    same("dp-aware", Sglang, "each data-parallel rank is a worker of its own for policies"),
    means(
        "intra-node-data-parallel-size",
        Vllm,
        One,
        "above 1 as `--dp-aware`; how many ranks there are, engines are asked",
    ),
    means(
        "pd-disaggregation",
        Sglang,
        Nothing,
        "always so where there are `--prefill` and `--decode` workers",
    ),
    means(
        "vllm-pd-disaggregation",
        Vllm,
        Nothing,
        "`--prefill` and `--decode` workers are taken for vLLM's from the first request on; without it they \
         are once they were asked what they are",
    ),
    means(
        "kv-connector",
        Vllm,
        One,
        "`nixl` is what pairs of vLLM speak here; `mooncake` and `moriio` are refused",
    ),
    refused(
        "vllm-discovery-address",
        Vllm,
        One,
        "workers do not register over ZeroMQ; name them with `--prefill` and `--decode`",
    ),
    same("prefill", Both, "`URL [BOOTSTRAP_PORT]`, or `none` for the port"),
    same("decode", Both, ""),
    refused("mini-lb", Both, Nothing, "that is a balancer in Python for debugging; leave it out"),
    same("service-discovery", Both, "pods are selected by the server, and are workers once they are `Ready`"),
    same("selector", Both, "only with `--service-discovery`"),
    same("prefill-selector", Both, "annotations `sglang.ai/bootstrap-port`, `vllm.ai/bootstrap-port`"),
    same("decode-selector", Both, ""),
    refused(
        "router-selector",
        Smg,
        Many,
        "in smg it selects the routers of a mesh, which there is not, and in `sglang_router.launch_server` workers: say \
         `--selector` for those",
    ),
    refused(
        "model-id-from",
        Smg,
        One,
        "models are what workers say that they serve; where a worker is to have another name, `model` of `[[workers]]` \
         or of `[sources.kubernetes.worker]` says it",
    ),
    same("service-discovery-port", Both, ""),
    same("service-discovery-namespace", Both, "`*` is all, which needs a ClusterRole")
        .defaults("all", "the router's own"),
    same("health-check-interval-secs", Both, "").defaults("60", "10"),
    same("health-check-timeout-secs", Both, ""),
    same("health-check-endpoint", Both, ""),
    same("health-failure-threshold", Both, ""),
    same("health-success-threshold", Both, "the first check of a new worker decides alone"),
    means("disable-health-check", Sglang, Nothing, "as `--health-check-interval-secs 0`"),
    same("cb-failure-threshold", Both, "failures in a row"),
    same("cb-success-threshold", Both, "").defaults("3", "1"),
    same("cb-timeout-duration-secs", Both, "").defaults("60", "10"),
    ignored(
        "cb-window-duration-secs",
        Both,
        One,
        "failures count in a row, in no window (vllm-router does not use it either); leave it out",
    ),
    same("disable-circuit-breaker", Both, ""),
    refused(
        "profile",
        VllmBinary,
        Nothing,
        "the router starts no profiling; send `POST /start_profile` to the engine",
    ),
];
