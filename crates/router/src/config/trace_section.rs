//! Which requests are traced, and where their spans go.

use http::Uri;
use serde::{Deserialize, Serialize};

use sglang_router_rs::config::Fault;

/// Where a collector takes spans, unless the operator says otherwise.
pub(crate) const DEFAULT_ENDPOINT: &str = "http://localhost:4318/v1/traces";

/// `[traces]`: spans of requests for OpenTelemetry's collectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TraceSection {
    /// Where a collector takes OTLP over HTTP, such as `http://localhost:4318/v1/traces`; without a path
    /// that is added. Default: none, no traces.
    pub endpoint: Option<String>,
    /// Share of the requests that begin a trace: 0.0 to 1.0. Of requests with a `traceparent` those are
    /// traced that it says are sampled. Default: 1.0.
    pub sample: f64,
    /// What the router is called in traces. Default: `sgl-router`.
    pub service_name: String,
}

impl Default for TraceSection {
    fn default() -> Self {
        Self { endpoint: None, sample: 1.0, service_name: "sgl-router".to_owned() }
    }
}

/// The same, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSettings {
    /// The URL of the collector.
    pub endpoint: String,
    /// Share of the requests.
    pub sample: f64,
    /// What the router is called.
    pub service_name: String,
}

impl TraceSettings {
    /// The settings, if there are to be traces; what cannot be adds to `faults`.
    pub(crate) fn checked(section: &TraceSection, faults: &mut Vec<Fault>) -> Option<Self> {
        if !(0.0..=1.0).contains(&section.sample) {
            faults.push(Fault::value("traces.sample", section.sample, "0.0 to 1.0"));
        }
        if section.service_name.is_empty() {
            faults.push(Fault::value("traces.service_name", "\"\"", "at least one character"));
        }
        let found = section.endpoint.as_deref()?;
        let endpoint = url_of(found);
        if endpoint.is_none() {
            let allowed = "http://HOST:PORT, of a collector that takes OTLP over HTTP (port 4318 as a rule); \
                           without TLS: have a collector beside the router pass spans on";
            faults.push(Fault::value("traces.endpoint", format!("{found:?}"), allowed));
        }
        Some(Self {
            endpoint: endpoint.unwrap_or_default(),
            sample: section.sample,
            service_name: section.service_name.clone(),
        })
    }
}

/// The URL that spans are sent to. sglang-router's flag takes a host and a port, that of OTLP over gRPC as a
/// rule: collectors that listen there take it over HTTP at the next one.
fn url_of(text: &str) -> Option<String> {
    let with_scheme = match text.strip_suffix(":4317") {
        _ if text.contains("://") => text.to_owned(),
        Some(host) => format!("http://{host}:4318"),
        None => format!("http://{text}"),
    };
    let uri: Uri = with_scheme.parse().ok()?;
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    if uri.scheme_str() != Some("http") || !has_host || uri.authority()?.as_str().contains('@') {
        return None;
    }
    let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
    Some(if bare { format!("{}/v1/traces", with_scheme.trim_end_matches('/')) } else { with_scheme })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_is_a_url_with_the_usual_path_where_it_has_none() {
        for (text, url) in [
            ("localhost:4318", Some("http://localhost:4318/v1/traces")),
            ("localhost:4317", Some("http://localhost:4318/v1/traces")),
            ("http://c:4317", Some("http://c:4317/v1/traces")),
            ("http://10.0.0.1:4318/", Some("http://10.0.0.1:4318/v1/traces")),
            ("http://c/otlp/v1/traces", Some("http://c/otlp/v1/traces")),
            ("https://c:4318", None),
            ("grpc://c:4317", None),
            ("http://", None),
            ("http://user:pass@c:4318", None),
            ("", None),
            ("a b", None),
        ] {
            assert_eq!(url_of(text).as_deref(), url, "{text}");
        }
    }
}
