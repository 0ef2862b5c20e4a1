//! What clients may call beside the usual, and what of their requests is read and remembered for that.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use serde::{Deserialize, Serialize};

use crate::config::cors::AllowedOrigins;
use crate::config::forward_paths::ForwardPaths;
use crate::config::forwarding::{Forwarding, names};
use sglang_router_rs::config::Fault;

/// Seconds of a day.
const DAY_SECS: u64 = 86_400;

/// Headers that hold secrets, or belong to the connection: no ids of requests.
const NO_IDS: [&str; 10] = [
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "api-key",
    "cookie",
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
];

/// Most ids that may be remembered.
const MAX_RESPONSES: usize = 10_000_000;

/// `[calls]`: what clients may call beside the usual.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CallsSection {
    /// Further paths that are passed on to a worker of the policy's choice, `/path` or `/path/*` for all
    /// below it. Calls that steer an engine are refused. Default: none.
    pub forward_paths: Vec<String>,
    /// Whether workers may be added, listed and removed at the clients' listener too, with the operators'
    /// token: trainers that start engines register them there. Default: false.
    pub worker_api: bool,
    /// Ids of responses (`/v1/responses`) of which it is remembered which worker made them: 0 (none) to
    /// 10,000,000; some 150 bytes each. Default: 100,000.
    pub remembered_responses: usize,
    /// Seconds for which it is: 1 to 2,592,000. Default: 86,400.
    pub remember_responses_secs: u64,
    /// Origins of web pages that may send requests, such as `https://chat.example.com`; `*` is any. The router
    /// answers what browsers ask for that (CORS). Default: none.
    pub cors_allowed_origins: Vec<String>,
    /// Whether each request has an id: that of `request_id_headers`, or a new one. Workers get it as
    /// `x-request-id`, and clients too. Default: false.
    pub request_ids: bool,
    /// Headers in which clients send ids; the first that has one counts. Default: `x-request-id`.
    pub request_id_headers: Vec<String>,
    /// The only headers of clients that workers get, beside `content-type`, `content-encoding`, `accept`,
    /// `accept-encoding` and `x-forwarded-for`. Policies see all of them. Default: none, workers get all but
    /// those of the connection.
    pub forward_headers: Option<Vec<String>>,
}

impl Default for CallsSection {
    fn default() -> Self {
        Self {
            forward_paths: Vec::new(),
            worker_api: false,
            remembered_responses: 100_000,
            remember_responses_secs: DAY_SECS,
            cors_allowed_origins: Vec::new(),
            request_ids: false,
            request_id_headers: vec!["x-request-id".to_owned()],
            forward_headers: None,
        }
    }
}

/// The same, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallSettings {
    /// Further paths that are passed on.
    pub forward_paths: ForwardPaths,
    /// Whether workers may be added at the clients' listener too.
    pub worker_api: bool,
    /// Ids of responses that are remembered.
    pub remembered_responses: usize,
    /// For how long.
    pub remember_responses: Duration,
    /// Web pages that may send requests; `None` = browsers are told nothing.
    pub cors: Option<AllowedOrigins>,
    /// Headers in which clients send ids; `None` = requests have none.
    pub request_ids: Option<Box<[HeaderName]>>,
    /// Which headers workers get; `None` = all.
    pub forwarding: Option<Arc<Forwarding>>,
}

impl CallSettings {
    /// The settings; what is beyond its limits adds to `faults`. `hides_keys` if clients show keys of this
    /// router, which are not the workers' to see.
    pub(crate) fn checked(section: &CallsSection, hides_keys: bool, faults: &mut Vec<Fault>) -> Self {
        let (count, secs) = (section.remembered_responses, section.remember_responses_secs);
        if count > MAX_RESPONSES {
            faults.push(Fault::value("calls.remembered_responses", count, format!("0 to {MAX_RESPONSES}")));
        }
        let longest = 30 * DAY_SECS;
        if !(1..=longest).contains(&secs) {
            faults.push(Fault::value("calls.remember_responses_secs", secs, format!("1 to {longest}")));
        }
        let ids = names(&section.request_id_headers, "calls.request_id_headers", faults);
        for (position, name) in ids.iter().enumerate().filter(|(_, name)| NO_IDS.contains(&name.as_str())) {
            let allowed =
                "a header that holds an id, such as x-request-id: clients are told the id, and logs hold it";
            faults.push(Fault::value(
                format!("calls.request_id_headers[{position}]"),
                name.as_str(),
                allowed,
            ));
        }
        let headers = section.forward_headers.as_deref();
        Self {
            forward_paths: ForwardPaths::checked(&section.forward_paths, "calls.forward_paths", faults),
            worker_api: section.worker_api,
            remembered_responses: count,
            remember_responses: Duration::from_secs(secs),
            cors: AllowedOrigins::checked(
                &section.cors_allowed_origins,
                "calls.cors_allowed_origins",
                faults,
            ),
            request_ids: section.request_ids.then_some(ids),
            forwarding: Forwarding::checked(headers, hides_keys, "calls.forward_headers", faults),
        }
    }
}
