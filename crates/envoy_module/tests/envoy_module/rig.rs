//! An Envoy with the module in it, before workers that do what a test tells them to.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use sgl_testkit::client::{Whole, call, post};
use sgl_testkit::envoy::{Envoy, program};
use sgl_testkit::small_guests::guest_with;
use sgl_testkit::upstream::Upstream;
use tempfile::TempDir;

/// The configuration that the documents speak of.
const EXAMPLE: &str = include_str!("../../../../deploy/envoy/inside.yaml");
/// Its workers.
const EXAMPLE_WORKERS: &str = include_str!("../../../../deploy/envoy/workers.yaml");

/// Where Envoy finds modules.
const SEARCH_PATH: &str = "ENVOY_DYNAMIC_MODULES_SEARCH_PATH";

/// Where the module is: cargo makes it beside the test.
pub(crate) fn module_dir() -> PathBuf {
    let test = std::env::current_exe().expect("this program");
    let dir = test.parent().expect("its directory").to_owned();
    assert!(dir.join("libsgl_policy.so").is_file(), "no libsgl_policy.so in {}", dir.display());
    dir
}

/// A worker in Envoy's configuration.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    pub(crate) weight: u32,
    /// As YAML, such as `gpu: h100`.
    pub(crate) metadata: &'static str,
}

impl Host {
    pub(crate) fn of(worker: &Upstream) -> Self {
        Self { address: worker.address, weight: 1, metadata: "" }
    }
}

/// Settings of the module as YAML, in place of the example's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    /// What follows `module`, in braces: `, labels: [gpu]`.
    pub(crate) settings: &'a str,
    /// What the route does besides, in place of the example's retry policy.
    pub(crate) route: &'a str,
    /// What the cluster has besides.
    pub(crate) cluster: &'a str,
}

/// Looks often, and has budgets that no busy machine spends.
pub(crate) const PATIENT: &str =
    ", check_interval_ms: 100, max_execution_time_ms: 5000, options: { max_wait_ms: 5000 }";

/// The same with labels.
pub(crate) const WITH_LABELS: &str =
    ", max_execution_time_ms: 5000, options: { max_wait_ms: 5000 }, labels: [gpu]";

impl Default for Setup<'_> {
    fn default() -> Self {
        Self { settings: PATIENT, route: "", cluster: "" }
    }
}

/// A running Envoy with the module.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) envoy: Envoy,
    dir: TempDir,
}

impl Rig {
    /// The module with patience. `None` where there is no Envoy.
    pub(crate) async fn start(wasm: &[u8], hosts: &[Host]) -> Option<Self> {
        Self::start_with(Setup::default(), wasm, hosts).await
    }

    pub(crate) async fn start_with(setup: Setup<'_>, wasm: &[u8], hosts: &[Host]) -> Option<Self> {
        let dir = TempDir::new().expect("a directory");
        std::fs::write(dir.path().join("plugin.wasm"), wasm).expect("a file");
        std::fs::write(dir.path().join("workers.yaml"), workers(hosts)).expect("a file");
        let path = module_dir();
        let variables = [(SEARCH_PATH, path.to_str().expect("a plain path"))];
        let envoy = Envoy::start_with(&config(setup, dir.path()), &variables).await?;
        Some(Self { envoy, dir })
    }

    /// An Envoy that reads the cluster from a file, so that it can be [replaced](Self::put_cluster).
    pub(crate) async fn start_with_cluster_file(
        setup: Setup<'_>,
        wasm: &[u8],
        hosts: &[Host],
    ) -> Option<Self> {
        let dir = TempDir::new().expect("a directory");
        std::fs::write(dir.path().join("plugin.wasm"), wasm).expect("a file");
        std::fs::write(dir.path().join("workers.yaml"), workers(hosts)).expect("a file");
        let (config, cluster) = with_cluster_file(setup, dir.path());
        std::fs::write(dir.path().join("cluster.yaml"), cluster).expect("a file");
        let path = module_dir();
        let variables = [(SEARCH_PATH, path.to_str().expect("a plain path"))];
        let envoy = Envoy::start_with(&config, &variables).await?;
        Some(Self { envoy, dir })
    }

    /// Replaces the cluster by one with this setup.
    pub(crate) fn put_cluster(&self, setup: Setup<'_>) {
        self.put("cluster.yaml", with_cluster_file(setup, self.dir.path()).1.as_bytes());
    }

    /// Takes the cluster away.
    pub(crate) fn put_no_cluster(&self) {
        self.put("cluster.yaml", b"resources: []");
    }

    /// Replaces the plugin's module.
    pub(crate) fn put_module(&self, wasm: &[u8]) {
        self.put("plugin.wasm", wasm);
    }

    /// Replaces the workers.
    pub(crate) fn put_hosts(&self, hosts: &[Host]) {
        self.put("workers.yaml", workers(hosts).as_bytes());
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let new = self.dir.path().join(format!("{name}.new"));
        std::fs::write(&new, bytes).expect("a file");
        std::fs::rename(&new, self.dir.path().join(name)).expect("its name");
    }

    /// A request over a connection of its own, with these headers.
    pub(crate) async fn ask(&self, headers: &[(&'static str, &str)]) -> Whole {
        ask(self.envoy.clients, headers).await
    }
}

/// A request over a connection of its own, with these headers.
pub(crate) async fn ask(address: SocketAddr, headers: &[(&'static str, &str)]) -> Whole {
    let mut request = post("/v1/completions", r#"{"prompt":"Hello"}"#);
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a header"));
    }
    call(address, request).await
}

/// A guest that chooses the worker with this label value: it counts the URLs in the table before it.
pub(crate) fn choosing_labelled(value: &str) -> Vec<u8> {
    let first = i32::from_le_bytes(value.as_bytes()[..4].try_into().expect("four bytes"));
    let http = i32::from_le_bytes(*b"http");
    let fields = format!(
        r#"(func (export "on_workers") (param $at i32) (param $len i32)
             (local $end i32) (local $count i32) (local $word i32)
             (i32.store8 (i32.const 16) (i32.const 0))
             (local.set $end (i32.add (local.get $at) (i32.sub (local.get $len) (i32.const 3))))
             (loop $next
               (if (i32.lt_u (local.get $at) (local.get $end)) (then
                 (local.set $word (i32.load (local.get $at)))
                 (if (i32.eq (local.get $word) (i32.const {http})) (then
                   (local.set $count (i32.add (local.get $count) (i32.const 1)))))
                 (if (i32.eq (local.get $word) (i32.const {first})) (then
                   (i32.store8 (i32.const 16) (i32.sub (local.get $count) (i32.const 1)))))
                 (local.set $at (i32.add (local.get $at) (i32.const 1)))
                 (br $next)))))"#
    );
    guest_with(&fields, &sgl_testkit::text::answer(16, 1))
}

/// The example with its paths and ports replaced, and with this setup.
pub(crate) fn config(setup: Setup<'_>, dir: &Path) -> String {
    let path = |name: &str| dir.join(name).display().to_string();
    let (head, rest) = EXAMPLE.split_once("                  retry_policy:\n").expect("a retry policy");
    let (_, rest) = rest.split_once("  clusters:\n").expect("the clusters");
    let head = format!("{head}                  {}\n  clusters:\n", setup.route);
    let (middle, _) = rest.split_once("                # Replace the file").expect("the settings");
    let settings = format!("{{ module: {}{} }}", path("plugin.wasm"), setup.settings);
    let middle = middle.trim_end().strip_suffix("value:").expect("the key of the settings");
    format!("{head}{middle}value: {settings}\n    {}\n", setup.cluster)
        .replace("/etc/envoy/workers.yaml", &path("workers.yaml"))
        .replace("port_value: 9901", "port_value: 0")
        .replace("address: 0.0.0.0, port_value: 30000", "address: 127.0.0.1, port_value: 0")
}

/// The same in two files: all but the cluster, and the cluster.
fn with_cluster_file(setup: Setup<'_>, dir: &Path) -> (String, String) {
    let whole = config(setup, dir);
    let (rest, cluster) = whole.split_once("  clusters:\n  - name: workers\n").expect("the cluster");
    let file = dir.join("cluster.yaml").display().to_string();
    let source = format!(
        "dynamic_resources: {{ cds_config: {{ resource_api_version: V3, path_config_source: {{ path: {file} }} }} }}\n\
         static_resources:\n"
    );
    let rest = rest.replacen("static_resources:\n", &source, 1);
    // A route of a file is otherwise refused before there is its cluster.
    let rest = rest.replacen("virtual_hosts:", "validate_clusters: false\n            virtual_hosts:", 1);
    let head =
        "resources:\n  - \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\n    name: workers\n";
    (rest, format!("{head}{cluster}"))
}

/// The example as it is, but for its paths.
pub(crate) fn example(dir: &Path, wasm: &[u8]) -> String {
    std::fs::write(dir.join("plugin.wasm"), wasm).expect("a file");
    std::fs::write(dir.join("workers.yaml"), EXAMPLE_WORKERS).expect("a file");
    let path = |name: &str| dir.join(name).display().to_string();
    EXAMPLE
        .replace("/etc/sgl-router/least_connections.wasm", &path("plugin.wasm"))
        .replace("/etc/envoy/workers.yaml", &path("workers.yaml"))
}

/// What Envoy says of a configuration: whether it takes it, and its log. `None` where there is no Envoy.
pub(crate) fn validate(config: &str, variables: &[(&str, &str)]) -> Option<(bool, String)> {
    let program = program()?;
    let dir = TempDir::new().expect("a directory");
    let file = dir.path().join("envoy.yaml");
    std::fs::write(&file, config).expect("a file");
    let mut command = Command::new(program);
    command.arg("-c").arg(&file).args(["--mode", "validate", "-l", "info"]);
    command.env(SEARCH_PATH, module_dir()).envs(variables.iter().copied());
    let output = command.output().expect("Envoy");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Some((output.status.success(), said.concat()))
}

fn workers(hosts: &[Host]) -> String {
    let (head, _) = EXAMPLE_WORKERS.split_once("    lb_endpoints:\n").expect("the workers");
    let mut text = format!("{head}    lb_endpoints:\n");
    for Host { address, weight, metadata } in hosts {
        let (ip, port) = (address.ip(), address.port());
        writeln!(
            text,
            "    - endpoint: {{ address: {{ socket_address: {{ address: {ip}, port_value: {port} }} }} }}\n      \
             load_balancing_weight: {weight}\n      \
             metadata: {{ filter_metadata: {{ envoy.lb: {{ {metadata} }} }} }}"
        )
        .expect("a text");
    }
    if hosts.is_empty() { text.replace("    lb_endpoints:\n", "    lb_endpoints: []\n") } else { text }
}
