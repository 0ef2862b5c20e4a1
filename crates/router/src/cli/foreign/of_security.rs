//! Flags that protect: never accepted without their effect.

use crate::cli::foreign::flag::FlagOwner::{Both, Sglang, SglangDocuments, VllmBinary};
use crate::cli::foreign::flag::FlagValues::{Many, Nothing, One};
use crate::cli::foreign::flag::{ForeignFlag, alias, means, refused, same};

/// Who may operate.
const OPERATORS: &str = "operators have one bearer token on a port of their own: `--admin-token-file`";

pub(crate) const OF_SECURITY: &[ForeignFlag] = &[
    same(
        "api-key",
        Both,
        "workers are shown it, and clients must show it, as in sglang-router; vllm-router does not ask clients: \
         that is `--api-key-file` or the variable `SGL_ROUTER_WORKER_API_KEY` here",
    ),
    refused("api-key-validation-urls", VllmBinary, Many, "nobody is asked whether a client's key is good"),
    same("tls-cert-path", Sglang, ""),
    same("tls-key-path", Sglang, ""),
    same("client-cert-path", Sglang, ""),
    same("client-key-path", Sglang, ""),
    same("ca-cert-paths", Sglang, ""),
    alias("ca-cert-path", SglangDocuments, "ca-cert-paths", ""),
    refused("control-plane-api-keys", Sglang, Many, OPERATORS),
    means(
        "control-plane-audit-enabled",
        Sglang,
        Nothing,
        "always so: `GET /v1/audit` lists what operators changed, `--audit-file FILE` keeps it",
    ),
    refused("jwt-issuer", Sglang, One, OPERATORS),
    refused("jwt-audience", Sglang, One, OPERATORS),
    refused("jwt-jwks-uri", Sglang, One, OPERATORS),
    refused("jwt-role-mapping", Sglang, Many, OPERATORS),
];
