//! Debian's `docker-registry`, as a process.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sgl_testkit::client::{Whole, call, get};

use crate::registries::text;

/// Where the package is unpacked, once for all tests.
const UNPACKED: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/docker-registry");

/// A registry; killed when it is dropped. What it keeps is in a directory of its own.
pub(crate) struct DockerRegistry {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) dir: tempfile::TempDir,
    auth: String,
}

/// The program: that of the machine, or else of Debian's package. `None` where it cannot be had, which is
/// told, and an error under continuous integration.
#[expect(clippy::print_stderr, reason = "who runs the tests reads what is not tested")]
fn program() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    if let Some(found) =
        std::env::split_paths(&folders).map(|dir| dir.join("docker-registry")).find(|file| file.is_file())
    {
        return Some(found);
    }
    std::fs::create_dir_all(UNPACKED).expect("a directory");
    // Tests are processes that run at the same time.
    let lock = File::create(Path::new(UNPACKED).join("lock")).expect("a file");
    lock.lock().expect("a lock");
    let found = Path::new(UNPACKED).join("usr/bin/docker-registry");
    if !found.is_file() {
        let script = "{ apt-get download -qq docker-registry || { apt-get update -qq && apt-get download -qq docker-registry; }; } && dpkg -x docker-registry_*.deb .";
        let unpacked = Command::new("sh").args(["-c", script]).current_dir(UNPACKED).output();
        let failed = match unpacked {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(failed) = failed {
            let text = format!("docker-registry cannot be had from Debian: {failed}");
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{text}");
            eprintln!("skipped: {text}");
            return None;
        }
    }
    Some(found)
}

impl DockerRegistry {
    /// A registry that lets everybody in; `None` where it cannot be had.
    pub(crate) fn start() -> Option<Self> {
        Self::with_auth("")
    }

    /// A registry with a section `auth` in its configuration.
    pub(crate) fn with_auth(auth: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let (child, address) = spawn(&program()?, dir.path(), auth, SocketAddr::from(([127, 0, 0, 1], 0)));
        Some(Self { child, address, dir, auth: auth.to_owned() })
    }

    /// What a repository is called here.
    pub(crate) fn named(&self, rest: &str) -> String {
        format!("oci://{}/{rest}", self.address)
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Starts it again where it was.
    pub(crate) fn start_again(&mut self) {
        let program = program().expect("it was there");
        (self.child, self.address) = spawn(&program, self.dir.path(), &self.auth, self.address);
    }

    /// What it keeps under a digest, `sha256:…`.
    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("a digest");
        let blobs = self.dir.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }

    /// What it answers.
    pub(crate) async fn get(&self, path: &str) -> Whole {
        let mut request = get(path);
        let accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";
        request.headers_mut().insert("accept", accept.parse().expect("a value"));
        call(self.address, request).await
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &Path, dir: &Path, auth: &str, address: SocketAddr) -> (Child, SocketAddr) {
    let config = dir.join("config.yml");
    let data = text(&dir.join("data"));
    let yaml = format!(
        "version: 0.1\nlog: {{level: info, formatter: json}}\n\
         storage: {{filesystem: {{rootdirectory: {data:?}}}}}\nhttp: {{addr: \"{address}\"}}\n{auth}\n"
    );
    std::fs::write(&config, yaml).expect("a file");
    let mut child = Command::new(program)
        .arg("serve")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the registry");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let mut before = String::new();
    let address = lines.by_ref().find_map(|line| {
        let found = line.split_once("listening on ").map(|(_, rest)| {
            let end = rest.find(|c: char| !c.is_ascii_digit() && !".:".contains(c)).unwrap_or(rest.len());
            rest[..end].parse().expect("an address")
        });
        before.push_str(&line);
        found
    });
    let address = address.unwrap_or_else(|| panic!("the registry ended: {before}"));
    // What it says must not stay in the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (child, address)
}
