//! Extism, which runs in a process of its own: see `extism_host`.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::Path;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context;

use crate::rounds::Shape;

pub(crate) struct Extism {
    host: Child,
    calls: ChildStdin,
    done: BufReader<ChildStdout>,
    version: String,
}

impl Extism {
    pub(crate) fn new(host: &Path, library: &Path, module: &Path, workers: usize) -> anyhow::Result<Self> {
        let mut host = Command::new(host)
            .arg(library)
            .arg(module)
            .arg(workers.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| host.display().to_string())?;
        let calls = host.stdin.take().context("no pipe to Extism")?;
        let done = BufReader::new(host.stdout.take().context("no pipe from Extism")?);
        let mut started = Self { host, calls, done, version: String::new() };
        started.version = started.line()?;
        Ok(started)
    }

    /// The version of Extism.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.done.read_line(&mut line)?;
        anyhow::ensure!(line.ends_with('\n'), "Extism's host ended");
        Ok(line.trim().to_owned())
    }
}

impl Shape for Extism {
    fn run(&mut self, calls: u32) -> anyhow::Result<()> {
        writeln!(self.calls, "{calls}")?;
        anyhow::ensure!(self.line()? == calls.to_string(), "Extism's host lost count");
        Ok(())
    }
}

impl Drop for Extism {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.host.kill();
        let _ = self.host.wait();
    }
}
