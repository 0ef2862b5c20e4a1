//! The only place that turns an error of a plugin into an answer.

use http::StatusCode;

use crate::manage::ManageError;
use crate::manage::module_sources::UPLOADED;
use sgl_api::{Problem, ProblemFault, problem_code};
use sgl_oci::RegistryError;
use sglang_router_rs::config::{Fault, FaultKind};
use sglang_router_rs::engine::EngineError;
use sglang_router_rs::policies::trust::TrustFault;
use sglang_router_rs::policies::{OperationError, PluginError};

impl From<ManageError> for Problem {
    fn from(error: ManageError) -> Self {
        Self::from(&error)
    }
}

impl From<&ManageError> for Problem {
    fn from(error: &ManageError) -> Self {
        let (status, code) = match error {
            ManageError::Plugin(error) => return of_plugin(error),
            ManageError::Inherited { source, .. } => {
                return Self { detail: error.to_string(), ..of_plugin(source) };
            }
            ManageError::Operation(error) => of_operation(error),
            ManageError::Registry(error) => (of_registry(error), error.code()),
            ManageError::Settings { .. } => (StatusCode::BAD_REQUEST, "bad_settings"),
            ManageError::NoPluginDir => (StatusCode::CONFLICT, "no_plugin_dir"),
            ManageError::OutsidePluginDir { .. } => (StatusCode::BAD_REQUEST, "outside_plugin_dir"),
            ManageError::NothingBeside { .. } => (StatusCode::CONFLICT, "new_plugin"),
            ManageError::InUse { .. } => (StatusCode::CONFLICT, problem_code::IN_USE),
            ManageError::State(_) => (StatusCode::INSUFFICIENT_STORAGE, "state_dir_unwritable"),
            ManageError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        };
        Self::coded(status, code, format!("{error}{}", way_back(error)))
    }
}

/// How to come back to a module that is gone, as the rest of the sentence.
fn way_back(error: &ManageError) -> String {
    let ManageError::Operation(OperationError::NothingToRollBack { name, former: Some(former) }) = error
    else {
        return String::new();
    };
    let module = if former.path == UPLOADED { "FILE" } else { &former.path };
    format!(": `sgl-router plugin push {module} --name {name}`")
}

fn of_registry(error: &RegistryError) -> StatusCode {
    match error {
        RegistryError::Reference(_) => StatusCode::BAD_REQUEST,
        RegistryError::NotFound { .. } => StatusCode::NOT_FOUND,
        RegistryError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        RegistryError::TooSlow { .. } => StatusCode::GATEWAY_TIMEOUT,
        RegistryError::NoModule { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        RegistryError::Credentials { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_GATEWAY,
    }
}

fn of_operation(error: &OperationError) -> (StatusCode, &'static str) {
    let status = match error {
        OperationError::NotFound { .. } => StatusCode::NOT_FOUND,
        OperationError::Plugin(error) => status_of(error),
        _ => StatusCode::CONFLICT,
    };
    (status, error.code())
}

fn of_plugin(error: &PluginError) -> Problem {
    let faults = match error {
        PluginError::Config { faults, .. } => faults.iter().map(fault_view).collect(),
        _ => Vec::new(),
    };
    Problem { faults, ..Problem::coded(status_of(error), error.code(), whole(error)) }
}

/// A fault as answers tell it.
pub(crate) fn fault_view(fault: &Fault) -> ProblemFault {
    let (found, expected) = match &fault.kind {
        FaultKind::Value { found, allowed } => (found.clone(), allowed.clone()),
        FaultKind::Text(problem) => (problem.clone(), String::new()),
    };
    ProblemFault { key: fault.path.clone(), found, expected }
}

/// Most errors say that the module or its settings cannot be used; the match names the others.
fn status_of(error: &PluginError) -> StatusCode {
    match error {
        PluginError::Duplicate { .. } | PluginError::HandOver { .. } | PluginError::Unloaded => {
            StatusCode::CONFLICT
        }
        PluginError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            StatusCode::NOT_FOUND
        }
        PluginError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        // Not the module's fault.
        PluginError::Trust(refusal) if matches!(refusal.fault, TrustFault::Keys(_)) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        PluginError::Engine(error) => status_of_engine(error),
        PluginError::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

fn status_of_engine(error: &EngineError) -> StatusCode {
    match error {
        EngineError::Start(_) => StatusCode::SERVICE_UNAVAILABLE,
        EngineError::CompilerProcess { .. } | EngineError::Directory(_) => StatusCode::INTERNAL_SERVER_ERROR,
        EngineError::Capacity { .. } | EngineError::MemoryLimit { .. } => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

/// The error, and those of its causes that its own text leaves out.
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
