//! What can go wrong in the engine: before a generation serves, and in a call.

use std::time::Duration;

use crate::types::printable;

/// Any error, as a source.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a module could not be made ready to serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The engine itself could not start.
    #[error("the wasm engine could not start: {}", with_causes(&**.0))]
    Start(BoxError),
    /// The module is not valid or could not be compiled.
    #[error("the module does not compile: {}", with_causes(&**.0))]
    Compile(BoxError),
    /// Compiling the module took more than is allowed.
    #[error(
        "compiling the module took more than {limit}; make it smaller, or its functions simpler, or raise \
         compile.{key}"
    )]
    CompileLimit {
        /// How much is allowed.
        limit: String,
        /// The setting.
        key: &'static str,
    },
    /// The compiling process did not do its work.
    #[error(
        "the process that compiles modules failed: {reason}; to compile in the router's own process: \
         compile.in_process = true"
    )]
    CompilerProcess {
        /// What happened.
        reason: String,
    },
    /// The module imports something that is not provided.
    #[error("the module's imports cannot be satisfied: {}", with_causes(&**.0))]
    Link(BoxError),
    /// The engine's pool has no room for the instances of one more generation.
    #[error(
        "no room for {asked} more instances: {reserved} of {total} are reserved; \
         lower max_instances, unload a plugin, or raise the engine's total"
    )]
    Capacity {
        /// Instances that the pool wanted to reserve.
        asked: usize,
        /// Instances that are reserved by others.
        reserved: usize,
        /// What the engine can hold.
        total: usize,
    },
    /// At their largest, the instances of one more generation would need more memory than is allowed.
    #[error(
        "its instances may come to {} of memory, and {} of {} are reserved by others; lower \
         max_instances or max_memory_bytes, unload a plugin, or raise max_plugin_memory",
        mebibytes(*.asked), mebibytes(*.reserved), mebibytes(*.limit)
    )]
    MemoryLimit {
        /// Bytes that the pool wanted to reserve.
        asked: u64,
        /// Bytes that are reserved by others.
        reserved: u64,
        /// Bytes that plugins may have.
        limit: u64,
    },
    /// A first instance could not be made.
    #[error("the first instance could not be made: {step}: {source}")]
    FirstInstance {
        /// The step that failed: `instantiate`, `init` …
        step: &'static str,
        /// What happened.
        #[source]
        source: CallError,
    },
    /// The private directory of a plugin could not be made.
    #[error("the plugin's private directory could not be made: {0}")]
    Directory(std::io::Error),
}

/// A number of bytes, for people.
fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// An error with all its causes in one line, for those who print only one.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    // It contains names from a module.
    printable(&causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

/// Why a guest call gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No instance became free in the time that a caller may wait; the guest did not run.
    #[error("no instance became free within {waited:?} (the pool may have {size})")]
    Saturated {
        /// How long that is.
        waited: Duration,
        /// Instances that the pool may have.
        size: usize,
    },
    /// Too many callers wait already; the guest did not run.
    #[error("{waiting} callers wait for an instance already, which is the limit")]
    QueueFull {
        /// Callers that wait.
        waiting: usize,
    },
    /// The guest was stopped because its budget was spent.
    #[error("stopped: the budget of {budget:?} is spent")]
    Timeout {
        /// The budget.
        budget: Duration,
    },
    /// The guest needed more memory than it may have.
    #[error("needed more memory than its limit of {limit_bytes} bytes")]
    Memory {
        /// Its limit.
        limit_bytes: usize,
    },
    /// The guest trapped; its instance is gone.
    #[error("trapped: {reason}")]
    Trap {
        /// The trap, in one line.
        reason: String,
    },
    /// The guest pointed outside its memory.
    #[error("returned {len} bytes at {pointer:#x}, outside its memory of {memory_bytes} bytes")]
    BadPointer {
        /// Where.
        pointer: u32,
        /// How many bytes.
        len: u32,
        /// The size of its memory.
        memory_bytes: usize,
    },
    /// The answer is too large.
    #[error("answered {len} bytes; the limit is {limit}")]
    AnswerTooLarge {
        /// Bytes that it claimed.
        len: u32,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// The message did not fit into the buffer although it was measured first.
    #[error("a message did not fit into its {capacity} bytes")]
    MessageTooLarge {
        /// The buffer's size.
        capacity: usize,
    },
    /// The guest refused a message.
    #[error("refused: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// The generation is out of use; another one may have replaced it.
    #[error("the generation is out of use")]
    OutOfUse,
    /// There is no instance, and none could be made.
    #[error("there is no instance, and none could be made: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

impl CallError {
    /// True if the error says nothing about the guest.
    pub fn is_untouched(&self) -> bool {
        matches!(self, Self::Saturated { .. } | Self::QueueFull { .. } | Self::OutOfUse)
    }
}
