//! Codes by which programs know an error: a code stays when the error's text changes.

use std::io::ErrorKind;

use crate::engine::error::{CallError, EngineError};
use crate::policies::wasm::load::error::{ModuleFault, PluginError};

impl PluginError {
    /// Which kind of error it is, for programs, such as `missing_export`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config { .. } => "config_faults",
            Self::ReservedName { .. } => "reserved_name",
            Self::Duplicate { .. } => "duplicate",
            Self::Read { source, .. } if source.kind() == ErrorKind::NotFound => "file_not_found",
            Self::Read { .. } => "file_unreadable",
            Self::TooLarge { .. } => "module_too_large",
            Self::Digest { .. } => "digest_mismatch",
            Self::Trust(refusal) => refusal.fault.code(),
            Self::Module(fault) => fault.code(),
            Self::Engine(error) => engine_code(error),
            Self::Start { source, .. } => start_code(source),
            Self::HandOver { .. } => "hand_over_failed",
            Self::Unloaded => "unloaded_meanwhile",
            Self::CompileTime { .. } => "compile_time",
            Self::ShuttingDown => "shutting_down",
            Self::SelfTest { .. } => "self_test_failed",
        }
    }
}

impl ModuleFault {
    /// Which kind of fault it is, for programs, such as `wrong_signature`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotWasm { .. } => "not_wasm",
            Self::Invalid { .. } => "invalid_module",
            Self::Memory { .. } => "unsuitable_memory",
            Self::MemoryMinimum { .. } => "memory_limit_exceeded",
            Self::MissingExport { .. } => "missing_export",
            Self::Signature { .. } => "wrong_signature",
            Self::Import { .. } => "refused_import",
            Self::Syscalls { .. } => "syscalls_not_allowed",
            Self::ForbiddenSyscall { .. } => "forbidden_syscall",
            Self::SecretHeaders { .. } => "secret_headers_not_allowed",
            Self::Manifest { .. } => "bad_manifest",
        }
    }
}

/// The code of an engine's error: only as an error of a plugin has it one.
fn engine_code(error: &EngineError) -> &'static str {
    match error {
        EngineError::Start(_) => "engine_unavailable",
        EngineError::Compile(_) => "does_not_compile",
        EngineError::CompileLimit { .. } => "compile_limit",
        EngineError::CompilerProcess { .. } => "compiler_failed",
        EngineError::Link(_) => "refused_import",
        EngineError::Capacity { .. } => "no_capacity",
        EngineError::MemoryLimit { .. } => "plugin_memory_exceeded",
        EngineError::FirstInstance { source, .. } => start_code(source),
        EngineError::Directory(_) => "no_private_directory",
    }
}

fn start_code(error: &CallError) -> &'static str {
    match error {
        CallError::Memory { .. } => "memory_limit_exceeded",
        CallError::Timeout { .. } => "start_timed_out",
        CallError::Trap { .. } => "start_trapped",
        CallError::Refused { .. } => "start_refused",
        _ => "start_failed",
    }
}
