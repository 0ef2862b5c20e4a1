//! The one place where an error of a plugin becomes an answer.

use http::StatusCode;

use crate::admin::problem::Problem;
use crate::admin::problem::ProblemFault;
use crate::config::faults::Fault;
use crate::config::faults::FaultKind;
use crate::engine::error::CallError;
use crate::engine::error::EngineError;
use crate::manage::ManageError;
use crate::policies::OperationError;
use crate::policies::PluginError;
use crate::policies::wasm::error::ModuleFault;
use crate::policies::wasm::trust::TrustFault;

impl From<ManageError> for Problem {
    fn from(error: ManageError) -> Self {
        Self::of(&error)
    }
}

impl Problem {
    /// The answer that an error becomes.
    pub(crate) fn of(error: &ManageError) -> Self {
        let (status, code) = match error {
            ManageError::Plugin(error) => return of_plugin(error),
            ManageError::Operation(error) => of_operation(error),
            ManageError::Settings { .. } => (StatusCode::BAD_REQUEST, "bad_settings"),
            ManageError::NoPluginDir => (StatusCode::CONFLICT, "no_plugin_dir"),
            ManageError::OutsidePluginDir { .. } => (StatusCode::BAD_REQUEST, "outside_plugin_dir"),
            ManageError::NothingBeside { .. } => (StatusCode::CONFLICT, "new_plugin"),
            ManageError::InUse { .. } => (StatusCode::CONFLICT, "in_use"),
            ManageError::State(_) => (StatusCode::INSUFFICIENT_STORAGE, "state_dir_unwritable"),
            ManageError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        };
        Self::coded(status, code, error.to_string())
    }
}

fn of_operation(error: &OperationError) -> (StatusCode, &'static str) {
    match error {
        OperationError::NotFound { .. } => (StatusCode::NOT_FOUND, "plugin_not_found"),
        OperationError::NothingToPromote { .. } => (StatusCode::CONFLICT, "nothing_to_promote"),
        OperationError::NothingToRollBack { .. } => (StatusCode::CONFLICT, "nothing_to_roll_back"),
        OperationError::Plugin(error) => {
            let (status, code, _) = kind_of(error);
            (status, code)
        }
    }
}

fn of_plugin(error: &PluginError) -> Problem {
    let (status, code, faults) = kind_of(error);
    let faults = faults.iter().map(fault_view).collect();
    Problem { faults, ..Problem::coded(status, code, whole(error)) }
}

fn fault_view(fault: &Fault) -> ProblemFault {
    let (found, expected) = match &fault.kind {
        FaultKind::Value { found, allowed } => (found.clone(), allowed.clone()),
        FaultKind::Text(problem) => (problem.clone(), String::new()),
    };
    ProblemFault { key: fault.path.clone(), found, expected }
}

fn kind_of(error: &PluginError) -> (StatusCode, &'static str, &[Fault]) {
    const BAD: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
    let (status, code) = match error {
        PluginError::Config { faults, .. } => return (BAD, "config_faults", faults),
        PluginError::ReservedName { .. } => (BAD, "reserved_name"),
        PluginError::Duplicate { .. } => (StatusCode::CONFLICT, "duplicate"),
        PluginError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            (StatusCode::NOT_FOUND, "file_not_found")
        }
        PluginError::Read { .. } => (BAD, "file_unreadable"),
        PluginError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "module_too_large"),
        PluginError::Digest { .. } => (BAD, "digest_mismatch"),
        PluginError::Trust(refusal) => of_trust(&refusal.fault),
        PluginError::Module(fault) => (BAD, code_of_module(fault)),
        PluginError::Engine(error) => of_engine(error),
        PluginError::Start { source, .. } => (BAD, code_of_start(source)),
        PluginError::HandOver { .. } => (StatusCode::CONFLICT, "hand_over_failed"),
        PluginError::Unloaded => (StatusCode::CONFLICT, "unloaded_meanwhile"),
        PluginError::CompileTime { .. } => (BAD, "compile_time"),
        PluginError::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "shutting_down"),
        PluginError::SelfTest { .. } => (BAD, "self_test_failed"),
    };
    (status, code, &[])
}

fn of_trust(fault: &TrustFault) -> (StatusCode, &'static str) {
    let status = match fault {
        // Not the module's fault.
        TrustFault::Keys(_) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    (status, fault.code())
}

fn code_of_module(fault: &ModuleFault) -> &'static str {
    match fault {
        ModuleFault::NotWasm { .. } => "not_wasm",
        ModuleFault::Invalid { .. } => "invalid_module",
        ModuleFault::Memory { .. } => "unsuitable_memory",
        ModuleFault::MemoryMinimum { .. } => "memory_limit_exceeded",
        ModuleFault::MissingExport { .. } => "missing_export",
        ModuleFault::Signature { .. } => "wrong_signature",
        ModuleFault::Import { .. } => "refused_import",
        ModuleFault::Syscalls { .. } => "syscalls_not_allowed",
        ModuleFault::ForbiddenSyscall { .. } => "forbidden_syscall",
        ModuleFault::SecretHeaders { .. } => "secret_headers_not_allowed",
        ModuleFault::Manifest { .. } => "bad_manifest",
    }
}

fn of_engine(error: &EngineError) -> (StatusCode, &'static str) {
    match error {
        EngineError::Start(_) => (StatusCode::SERVICE_UNAVAILABLE, "engine_unavailable"),
        EngineError::Compile(_) => (StatusCode::UNPROCESSABLE_ENTITY, "does_not_compile"),
        EngineError::CompileLimit { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "compile_limit"),
        EngineError::CompilerProcess { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "compiler_failed"),
        EngineError::Link(_) => (StatusCode::UNPROCESSABLE_ENTITY, "refused_import"),
        EngineError::Capacity { .. } => (StatusCode::INSUFFICIENT_STORAGE, "no_capacity"),
        EngineError::MemoryLimit { .. } => (StatusCode::INSUFFICIENT_STORAGE, "plugin_memory_exceeded"),
        EngineError::FirstInstance { source, .. } => {
            (StatusCode::UNPROCESSABLE_ENTITY, code_of_start(source))
        }
        EngineError::Directory(_) => (StatusCode::INTERNAL_SERVER_ERROR, "no_private_directory"),
    }
}

fn code_of_start(error: &CallError) -> &'static str {
    match error {
        CallError::Memory { .. } => "memory_limit_exceeded",
        CallError::Timeout { .. } => "start_timed_out",
        CallError::Trap { .. } => "start_trapped",
        CallError::Refused { .. } => "start_refused",
        _ => "start_failed",
    }
}

/// The error and those of its causes that its own text does not tell.
fn whole(error: &PluginError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}
