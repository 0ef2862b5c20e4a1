//! Compiling in a process of its own, as the engine sees it: started for one module, watched, ended.
//!
//! A module can be made to compile for minutes and take gigabytes, and a compiling thread cannot be
//! stopped. A process can: by its limits, by its time, and when nobody waits for it any more.
//! `compile_worker.rs` holds what it does to confine itself.

use std::ffi::OsString;
use std::io;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use crate::engine::error::EngineError;
use crate::types::{shown, shown_path};

/// How much of its complaints is read, in bytes.
const MAX_COMPLAINT_BYTES: u64 = 8 << 10;

/// How a module is compiled in a process of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompilerProcess {
    /// The program that is started. It must compile with the same version of this library.
    pub program: PathBuf,
    /// Its arguments; `--max-memory BYTES --max-secs SECONDS` are added.
    pub arguments: Vec<OsString>,
    /// Memory that it may take, in bytes: at least 64 MiB to be useful.
    pub max_memory_bytes: u64,
    /// Time that it may take: on the clock, and of processors (in whole seconds).
    pub max_time: Duration,
}

/// Somebody waits for a module as long as this lives.
#[derive(Debug)]
pub(crate) struct StillWanted(Sender<CompilerEvent>);

/// The other end of a [`StillWanted`], for the thread that compiles.
#[derive(Debug)]
pub(crate) struct Supplier {
    events: Receiver<CompilerEvent>,
    /// For the thread that reads from the process.
    sender: Sender<CompilerEvent>,
}

/// What the thread that compiles waits for.
#[derive(Debug)]
enum CompilerEvent {
    /// The process has closed its output, and this was in it.
    Output(io::Result<Vec<u8>>),
    /// Nobody waits for the module any more.
    Unwanted,
}

impl StillWanted {
    /// Both ends.
    pub(crate) fn new() -> (Self, Supplier) {
        let (sender, events) = mpsc::channel();
        (Self(sender.clone()), Supplier { events, sender })
    }
}

impl Drop for StillWanted {
    fn drop(&mut self) {
        // An error means that the module is there.
        let _ = self.0.send(CompilerEvent::Unwanted);
    }
}

impl CompilerProcess {
    /// Memory that compiling may take by default: 1 GiB. The shipped policies need less than 20 MB.
    pub const DEFAULT_MAX_MEMORY_BYTES: u64 = 1 << 30;

    /// Time that compiling may take by default.
    pub const DEFAULT_MAX_TIME: Duration = Duration::from_secs(60);

    /// This program with the subcommand `compile-worker`, and the default limits.
    pub fn this_program() -> Self {
        // By this name and not by its path: an upgrade may have put another program there.
        let own = Path::new("/proc/self/exe");
        let program = if own.exists() { Ok(own.to_owned()) } else { std::env::current_exe() };
        Self {
            program: program.unwrap_or_else(|_| "sgl-router".into()),
            arguments: vec!["compile-worker".into()],
            max_memory_bytes: Self::DEFAULT_MAX_MEMORY_BYTES,
            max_time: Self::DEFAULT_MAX_TIME,
        }
    }

    /// The compiled module, in the form that an engine with the same settings loads. Blocks until the
    /// process ends, which also happens when nobody waits for the module any more.
    ///
    /// # Errors
    ///
    /// [`EngineError::Compile`] if the module is at fault, [`EngineError::CompileLimit`] if compiling
    /// took more than it may, [`EngineError::CompilerProcess`] if the process is at fault.
    pub(crate) fn compile(&self, wasm: &[u8], supplier: &Supplier) -> Result<Vec<u8>, EngineError> {
        let mut child = Running(self.start()?);
        let (input, output, complaints) =
            (child.0.stdin.take(), child.0.stdout.take(), child.0.stderr.take());
        // These threads end with the process, which holds the only other ends of the pipes.
        std::thread::scope(|scope| {
            scope.spawn(move || hand_over(input, wasm));
            let complaint = scope.spawn(move || read(complaints, MAX_COMPLAINT_BYTES));
            let (limit, sender) = (self.max_memory_bytes, supplier.sender.clone());
            // If the process was ended, nobody listens any more.
            scope.spawn(move || sender.send(CompilerEvent::Output(read(output, limit))));
            let waited = self.wait(&supplier.events);
            if waited.is_err() {
                child.end();
            }
            let artifact = waited?.map_err(|error| failed(&error))?;
            let status = child.0.wait().map_err(|error| failed(&error))?;
            let complaint = complaint.join().unwrap_or_else(|_| Ok(Vec::new())).unwrap_or_default();
            let complaint = String::from_utf8_lossy(&complaint);
            if status.success() { Ok(artifact) } else { Err(self.explain(status, complaint.trim())) }
        })
    }

    fn start(&self) -> Result<Child, EngineError> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .arg("--max-memory")
            .arg(self.max_memory_bytes.to_string())
            .arg("--max-secs")
            .arg(self.max_secs().to_string())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let failed = |error| EngineError::CompilerProcess {
            reason: format!("{} cannot be started: {error}", shown_path(&self.program)),
        };
        command.spawn().map_err(failed)
    }

    /// Waits for the process's output, as long as it may take and somebody waits for it.
    fn wait(&self, events: &Receiver<CompilerEvent>) -> Result<io::Result<Vec<u8>>, EngineError> {
        match events.recv_timeout(self.max_time) {
            Ok(CompilerEvent::Output(artifact)) => Ok(artifact),
            Err(RecvTimeoutError::Timeout) => Err(self.limit(format!("{:?}", self.max_time), "max_secs")),
            Ok(CompilerEvent::Unwanted) | Err(RecvTimeoutError::Disconnected) => {
                Err(EngineError::Compile("nobody waits for it any more".into()))
            }
        }
    }

    fn max_secs(&self) -> u64 {
        self.max_time.as_secs().max(1)
    }

    /// The error for a status that is not success.
    fn explain(&self, status: ExitStatus, complaint: &str) -> EngineError {
        // The message of the standard library before it aborts, and the system's.
        let out_of_memory = ["memory allocation of", "annot allocate memory", "out of memory"];
        if out_of_memory.iter().any(|sign| complaint.contains(sign)) {
            let limit = format!("{} MiB of memory", self.max_memory_bytes >> 20);
            return self.limit(limit, "max_memory");
        }
        if is_out_of_time(status) {
            return self.limit(format!("{} s of processor time", self.max_secs()), "max_secs");
        }
        if status.code() == Some(COMPILE_FAULT) {
            return EngineError::Compile(complaint.into());
        }
        EngineError::CompilerProcess { reason: format!("it ended with {status}: {}", shown(complaint)) }
    }

    fn limit(&self, limit: String, key: &'static str) -> EngineError {
        EngineError::CompileLimit { limit, key }
    }
}

/// Exit code of a compiler that did its work: the module is at fault.
pub(crate) const COMPILE_FAULT: i32 = 3;

fn failed(error: &io::Error) -> EngineError {
    EngineError::CompilerProcess { reason: error.to_string() }
}

fn hand_over(input: Option<impl Write>, wasm: &[u8]) {
    let Some(mut input) = input else { return };
    // A process that died takes no more; its status says why.
    let _ = input.write_all(&(wasm.len() as u64).to_le_bytes()).and_then(|()| input.write_all(wasm));
}

fn read(from: Option<impl Read>, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(limit).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// A process that does not outlive this value.
struct Running(Child);

impl Running {
    fn end(&mut self) {
        // An error means that it is gone; waiting removes it from the system's list.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(target_os = "linux")]
fn is_out_of_time(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    // KILL too: a limit that the process had before may be lower than ours.
    let signals = [rustix::process::Signal::XCPU, rustix::process::Signal::KILL];
    signals.iter().any(|signal| status.signal() == Some(signal.as_raw()))
}

#[cfg(not(target_os = "linux"))]
fn is_out_of_time(_: ExitStatus) -> bool {
    false
}
