//! A router of a fleet, and the command that operators have.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use sgl_fleet::connection::{ConnectionSettings, FleetConnection};
use sgl_fleet::fleet_address::FleetAddress;
use sgl_testkit::client::{call, get};
use sgl_testkit::nats_server::NatsServer;
use sgl_testkit::process::{Process, command, output, stderr, stdout};

/// Longest that a fleet may take to something. Far beyond what it takes: reading all of the state comes every
/// 10 seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// A router of the fleet `f`.
pub(crate) struct Member {
    pub(crate) process: Process,
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

/// A module in a file.
pub(crate) fn module(dir: &Path, name: &str, wasm: &[u8]) -> String {
    let path = dir.join(name);
    std::fs::write(&path, wasm).expect("a file");
    text(&path)
}

impl Member {
    /// Starts one that keeps its state below this directory, by its name.
    pub(crate) async fn start(url: &str, name: &str, dir: &Path) -> Self {
        Self::start_with(url, name, dir, &[]).await
    }

    /// The same, with more flags.
    pub(crate) async fn start_with(url: &str, name: &str, dir: &Path, more: &[&str]) -> Self {
        let state = text(&dir.join(name));
        let flags = ["--fleet", url, "--fleet-name", "f", "--fleet-router", name, "--state-dir", &state];
        Self { process: Process::serve(&[&flags, more].concat()).await }
    }

    /// What it sees of the fleet.
    pub(crate) async fn fleet(&self) -> Value {
        let answer = call(self.process.admin, get("/v1/fleet")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["fleet"].clone()
    }

    /// The digest that serves as `p`, whoever brought it.
    pub(crate) async fn digest(&self) -> Option<String> {
        let answer = call(self.process.admin, get("/v1/plugins/p")).await;
        let shown = answer.json();
        let generations = shown["generations"].as_array()?;
        let stable = generations.iter().find(|generation| generation["role"] == "stable")?;
        Some(stable["digest"].as_str()?.to_owned())
    }

    /// What it says of itself about `p`, as it sees it.
    pub(crate) async fn own(&self) -> Value {
        let fleet = self.fleet().await;
        let routers = fleet["routers"].as_array().expect("routers");
        let own = routers.iter().find(|router| router["name"] == fleet["router"]).expect("itself");
        own["plugins"].as_array().and_then(|plugins| plugins.first()).cloned().unwrap_or_default()
    }

    /// A number of its metrics: of the sample that begins like this, name and labels; `None` if there is none.
    pub(crate) async fn number(&self, sample: &str) -> Option<f64> {
        let answer = call(self.process.metrics, get("/metrics")).await;
        let page = answer.text();
        let line =
            page.lines().find(|line| line.strip_prefix(sample).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
    }

    /// Waits until a number of its metrics is what it should be.
    pub(crate) async fn shows(&self, sample: &str, is_right: impl Fn(f64) -> bool) {
        within(sample, async || self.number(sample).await.is_some_and(&is_right)).await;
    }

    /// Waits until it serves this generation of `p`.
    pub(crate) async fn serves(&self, generation: u64) {
        within("it serves it", async || self.own().await["serving"] == generation).await;
    }

    /// Waits until it goes on with what it has; gives the reason.
    pub(crate) async fn holds(&self) -> String {
        within("it holds", async || self.fleet().await["holding"].is_string()).await;
        self.fleet().await["holding"].as_str().expect("a reason").to_owned()
    }
}

/// Asks again and again until something is true.
pub(crate) async fn within(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_true().await {
        assert!(began.elapsed() < LIMIT, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Publishes something on a plain subject, one after the other, as anybody may who reaches NATS.
pub(crate) async fn publish(url: &str, subject: &str, payloads: impl IntoIterator<Item: Into<Vec<u8>>>) {
    let address = FleetAddress::parse(url).expect("an address");
    let connection =
        FleetConnection::now(&ConnectionSettings::new(address, "a test")).await.expect("it is there");
    let client = connection.client();
    for payload in payloads {
        client.publish(subject.to_owned(), payload.into().into()).await.expect("a message");
    }
    client.flush().await.expect("it is sent");
}

/// Asks NATS' own API for something; gives its answer.
pub(crate) async fn nats_api(url: &str, subject: &str, request: &Value) -> Value {
    let address = FleetAddress::parse(url).expect("an address");
    let connection =
        FleetConnection::now(&ConnectionSettings::new(address, "a test")).await.expect("it is there");
    let asked = connection.client().request(format!("$JS.API.{subject}"), request.to_string().into()).await;
    let answer: Value = serde_json::from_slice(&asked.expect("an answer").payload).expect("JSON");
    assert!(answer["error"].is_null(), "{answer}");
    answer
}

/// Runs `fleet`; gives exit code, standard output and standard error.
pub(crate) async fn fleet(url: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut command = command(&["fleet", "--fleet", url, "--fleet-name", "f"]);
    command.args(arguments);
    let ended = output(command).await;
    (ended.status.code().expect("a code"), stdout(&ended), stderr(&ended))
}

/// Runs `fleet --json`, which must succeed.
pub(crate) async fn done(url: &str, arguments: &[&str]) -> Value {
    let (code, out, error) = fleet(url, &[arguments, &["--json"]].concat()).await;
    assert_eq!(code, 0, "{arguments:?}: {out} {error}");
    serde_json::from_str(&out).expect("JSON")
}

/// Pushes a module as `p`, for all at once; gives its generation.
pub(crate) async fn push(url: &str, file: &str) -> u64 {
    let arguments = ["push", file, "--name", "p", "--steps", "100", "--soak-secs", "0", "--wait"];
    done(url, &arguments).await["generation"].as_u64().expect("a number")
}

/// A server, two routers and two modules.
pub(crate) struct Two {
    pub(crate) server: NatsServer,
    pub(crate) url: String,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) routers: [Member; 2],
    pub(crate) modules: [String; 2],
}

impl Two {
    /// `None` where the server cannot be had.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// The same, with more flags for both routers.
    pub(crate) async fn start_with(flags: &[&str]) -> Option<Self> {
        Some(Self::at(NatsServer::start()?, flags).await)
    }

    /// Two routers at this server.
    pub(crate) async fn at(server: NatsServer, flags: &[&str]) -> Self {
        let (url, dir) = (server.url(), tempfile::tempdir().expect("a directory"));
        let module = |choice: u8| {
            let wasm = sgl_testkit::small_guests::guest_choosing(choice);
            module(dir.path(), &format!("{choice}.wasm"), &wasm)
        };
        let modules = [module(0), module(1)];
        let routers = [
            Member::start_with(&url, "a", dir.path(), flags).await,
            Member::start_with(&url, "b", dir.path(), flags).await,
        ];
        let two = Self { server, url, dir, routers, modules };
        // Both have heard of each other: a rollout waits for those that are heard of.
        two.hear_of(2).await;
        two
    }

    /// Waits until each has heard of so many.
    pub(crate) async fn hear_of(&self, count: usize) {
        for router in &self.routers {
            within("so many are heard of", async || {
                router.fleet().await["routers"].as_array().is_some_and(|routers| routers.len() == count)
            })
            .await;
        }
    }

    /// Waits until both serve this generation.
    pub(crate) async fn serve(&self, generation: u64) {
        for router in &self.routers {
            router.serves(generation).await;
        }
    }
}
