//! Why a plugin could not be loaded.

use std::path::{Path, PathBuf};

use crate::config::faults::Fault;
use crate::engine::error::{CallError, EngineError};
use crate::policies::wasm::load::trust::fault::Refusal;
use crate::types::shown_path;

/// Why a plugin was not loaded. The registry stays as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The configuration has faults; all of them.
    #[error("the configuration of plugin `{name}` has {}", counted(faults))]
    Config {
        /// The plugin.
        name: String,
        /// One entry for each fault: the key, what was found, what is allowed.
        faults: Vec<Fault>,
    },
    /// The name is a built-in policy's.
    #[error("`{name}` is a built-in policy; give the plugin another name (built in: {})", built_in.join(", "))]
    ReservedName {
        /// The name.
        name: String,
        /// All reserved names.
        built_in: Vec<&'static str>,
    },
    /// A plugin of that name is loaded and the options say `if_loaded = "refuse"`.
    #[error(
        "a plugin named `{name}` is loaded (generation {generation}); unload it first, or load with if_loaded = \"replace\""
    )]
    Duplicate {
        /// The name.
        name: String,
        /// The generation that serves.
        generation: u64,
    },
    /// The file could not be read.
    #[error("the module {} cannot be read{}: {source}", shown_path(path), hint_at(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is too large to be a policy.
    #[error("the module has {bytes} bytes; the limit is {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The module's digest is not the one that was asked for.
    #[error(
        "the module's digest is sha256:{found}, but sha256:{expected} is required; the file is not the one that was pinned"
    )]
    Digest {
        /// The module's.
        found: String,
        /// The one in the options.
        expected: String,
    },
    /// The signers are not enough for a module from there.
    #[error(transparent)]
    Trust(#[from] Refusal),
    /// The module breaks a rule of the plugin ABI.
    #[error("the module is not a policy plugin: {0}")]
    Module(#[from] ModuleFault),
    /// The engine could not make it ready.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A first instance could not be made or initialised.
    #[error("the plugin does not start: {step} {source}")]
    Start {
        /// The step: `init`, `warm-up` …
        step: &'static str,
        /// What happened.
        source: CallError,
    },
    /// The guest's state could not be carried over; the old generation goes on with it.
    #[error("the state of the old generation could not be carried over: {source}")]
    HandOver {
        /// What happened.
        source: CallError,
    },
    /// The plugin was unloaded while its next generation was prepared.
    #[error("the plugin was unloaded meanwhile; load it again")]
    Unloaded,
    /// Reading, checking and compiling the module took too long.
    #[error("the module is not compiled after {limit:?}; make it smaller, or its functions simpler")]
    CompileTime {
        /// The longest time.
        limit: std::time::Duration,
    },
    /// The engine is being dropped.
    #[error("the engine is shutting down")]
    ShuttingDown,
    /// The plugin did not pass a decision over made-up workers.
    #[error("the plugin fails its self-test: {reason}")]
    SelfTest {
        /// What was wrong.
        reason: String,
    },
}

impl PluginError {
    pub(crate) fn hand_over(source: CallError) -> Self {
        Self::HandOver { source }
    }

    /// The error of starting, with the step that failed.
    pub(crate) fn of_start(error: EngineError) -> Self {
        match error {
            EngineError::FirstInstance { step, source } => Self::Start { step, source },
            other => Self::Engine(other),
        }
    }
}

/// What is wrong with a module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleFault {
    /// It is no Wasm binary at all.
    #[error("{found}; expected a core WebAssembly binary (it starts with \"\\0asm\")")]
    NotWasm {
        /// What it looks like.
        found: String,
    },
    /// It does not validate.
    #[error("it is not valid WebAssembly at byte {offset}: {reason}")]
    Invalid {
        /// Where.
        offset: u64,
        /// What the validator said.
        reason: String,
    },
    /// It has a memory that the host does not take.
    #[error("{found}; expected exactly one 32-bit memory, not shared, defined and exported as `memory`")]
    Memory {
        /// What it has.
        found: String,
    },
    /// It starts with more memory than it may have.
    #[error(
        "it starts with {pages} pages of memory ({bytes} bytes), above max_memory_bytes = {limit}; raise the limit, \
         or build with a smaller stack (Rust: -C link-arg=-zstack-size=65536)"
    )]
    MemoryMinimum {
        /// 64 KiB pages.
        pages: u64,
        /// The same in bytes.
        bytes: u64,
        /// The limit.
        limit: usize,
    },
    /// An export is missing.
    #[error("export `{name}` is missing; expected {expected} (the exports are: {present})")]
    MissingExport {
        /// Its name.
        name: &'static str,
        /// Its signature.
        expected: &'static str,
        /// What is there.
        present: String,
    },
    /// An export has another signature.
    #[error("export `{name}` is {found}; expected {expected}")]
    Signature {
        /// Its name.
        name: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// It imports something that no plugin may have.
    #[error("import `{module}.{name}` is not provided: {why}")]
    Import {
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
        /// Why, and what it could import instead.
        why: String,
    },
    /// It imports system calls that it may not use.
    #[error(
        "it needs system calls that are not allowed: {}; to allow them: allowed_syscalls = [{}]",
        missing.join(", "),
        needed.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
    )]
    Syscalls {
        /// Those that are not allowed yet.
        missing: Vec<String>,
        /// All that the module imports.
        needed: Vec<String>,
    },
    /// It imports a system call that no plugin may have.
    #[error("system call `{name}` is never allowed: {why}")]
    ForbiddenSyscall {
        /// The function.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// It declares headers with credentials as inputs, without permission.
    #[error(
        "it wants to see headers that carry credentials: {}; to allow it: allowed_secret_headers = [{}]",
        missing.join(", "),
        needed.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
    )]
    SecretHeaders {
        /// Those that are not allowed yet.
        missing: Vec<String>,
        /// All of that kind that the module declares.
        needed: Vec<String>,
    },
    /// Its manifest cannot be used.
    #[error("its manifest (custom section `sgl.policy`) is refused: {reason}")]
    Manifest {
        /// Why.
        reason: String,
    },
}

fn counted(faults: &[Fault]) -> String {
    let (count, plural) = (faults.len(), if faults.len() == 1 { "" } else { "s" });
    let texts: Vec<String> = faults.iter().map(Fault::to_string).collect();
    format!("{count} fault{plural}: {}", texts.join("; "))
}

/// Where a file was looked for, if its path alone does not tell.
fn hint_at(path: &Path) -> &'static str {
    if path.is_relative() { " (its path is relative to the working directory)" } else { "" }
}
