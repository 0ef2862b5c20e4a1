//! A picker in this process, and an Envoy that asks it.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderValue, Request};
use http_body_util::Full;
use sgl_router::config::{CheckedConfig, PickerSettings, WorkerEntry};
use sgl_router::{Metrics, RunningRouter};
use sgl_testkit::client::post;
use sgl_testkit::envoy::Envoy;
use sgl_testkit::process::{command, output, stderr, stdout};
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sglang_router_rs::policies::PolicyFactory;

/// Envoy, and whom it asks.
pub(crate) struct Rig {
    pub(crate) envoy: Envoy,
    pub(crate) router: RunningRouter,
}

/// What `--print-envoy-config` prints for these, on free ports.
pub(crate) async fn printed(picker: SocketAddr, workers: &[SocketAddr]) -> String {
    let urls: Vec<String> = workers.iter().map(|address| format!("http://{address}")).collect();
    let (host, port) = (picker.ip().to_string(), picker.port().to_string());
    let mut arguments = vec!["picker", "--print-envoy-config", "--envoy-listen", "127.0.0.1:0"];
    arguments.extend(["--host", &host, "--port", &port, "--worker-urls"]);
    arguments.extend(urls.iter().map(String::as_str));
    let output = output(command(&arguments)).await;
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output).replace("port_value: 9901", "port_value: 0")
}

/// The configuration with another mode for bodies of requests.
pub(crate) fn in_mode(config: &str, mode: &str) -> String {
    let modes = match mode {
        // Envoy wants trailers with it.
        "FULL_DUPLEX_STREAMED" => format!("{mode}, request_trailer_mode: SEND"),
        _ => mode.to_owned(),
    };
    let changed =
        config.replace("request_body_mode: BUFFERED_PARTIAL", &format!("request_body_mode: {modes}"));
    assert!(mode == "BUFFERED_PARTIAL" || changed != config);
    changed
}

/// The configuration with one more filter before all others.
pub(crate) fn with_filter(config: &str, filter: &str) -> String {
    let changed = config.replace("http_filters:\n", &format!("http_filters:\n{filter}"));
    assert_ne!(changed, config);
    changed
}

/// Settings of a picker over these workers, which names so many others beside the picked one.
pub(crate) fn picking(workers: Vec<WorkerEntry>, fallbacks: usize) -> CheckedConfig {
    let mut config = router::config(workers);
    config.picker = Some(PickerSettings { fallbacks });
    config
}

impl Rig {
    /// A picker with the policy that is there without settings. `None` where there is no Envoy.
    pub(crate) async fn start(workers: &[&Upstream], change: impl Fn(&str) -> String) -> Option<Self> {
        let entries = workers.iter().map(|worker| worker.entry()).collect();
        Self::with(picking(entries, 0), &PolicyFactory::new(), workers, change).await
    }

    /// A picker with these settings; Envoy gets the printed configuration, as `change` has changed it.
    pub(crate) async fn with(
        config: CheckedConfig,
        factory: &PolicyFactory,
        workers: &[&Upstream],
        change: impl Fn(&str) -> String,
    ) -> Option<Self> {
        let metrics = Arc::new(Metrics::new());
        let router = Box::pin(RunningRouter::start(config, factory, metrics)).await.expect("a picker");
        let addresses: Vec<SocketAddr> = workers.iter().map(|worker| worker.address).collect();
        let config = change(&printed(router.addresses().data, &addresses).await);
        Some(Self { envoy: Envoy::start(&config).await?, router })
    }

    /// The line of the metrics page that begins with this, without that.
    pub(crate) async fn metric(&self, line: &str) -> Option<String> {
        let page = router::metrics(&self.router).await;
        page.text().lines().find_map(|found| found.strip_prefix(line)).map(|rest| rest.trim().to_owned())
    }
}

/// A completion of this model whose body has this many bytes.
pub(crate) fn asking(model: &str, bytes: usize) -> String {
    let body = |filling: &str| format!(r#"{{"model":"{model}","prompt":"{filling}"}}"#);
    // A length of its own, so that no piece of a body is like another.
    let filling: Vec<u8> = (b'a'..=b'w').cycle().take(bytes - body("").len()).collect();
    body(std::str::from_utf8(&filling).expect("text"))
}

/// A request with a header.
pub(crate) fn with_header(
    body: &str,
    name: &'static str,
    value: &'static str,
) -> Request<Full<bytes::Bytes>> {
    let mut request = post("/v1/completions", body);
    request.headers_mut().insert(name, HeaderValue::from_static(value));
    request
}
