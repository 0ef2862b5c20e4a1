//! What else there is to say of a command line of `serve` that cannot be read.

use std::ffi::OsString;

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::variables::variable_of;

/// Flags that engines have and users know from command lines that start both an engine and a router. They are
/// those of SGLang's and vLLM's servers that examples have; what begins like one of them is one, too.
const OF_ENGINES: [&str; 35] = [
    "attention-backend",
    "chunked-prefill-size",
    "context-length",
    "cuda-graph",
    "data-parallel-size",
    "disable-radix-cache",
    "disaggregation-",
    "dist-init-addr",
    "dp-size",
    "dtype",
    "enable-dp-attention",
    "enable-metrics",
    "enable-mixed-chunk",
    "enable-prefix-caching",
    "enforce-eager",
    "ep-size",
    "gpu-memory-utilization",
    "kv-cache-dtype",
    "kv-transfer-config",
    "load-format",
    "lora-",
    "max-model-len",
    "max-num-seqs",
    "max-running-requests",
    "mem-fraction-static",
    "nnodes",
    "node-rank",
    "page-size",
    "pipeline-parallel-size",
    "quantization",
    "served-model-name",
    "speculative-",
    "tensor-parallel-size",
    "tp-size",
    "trust-remote-code",
];

/// The error with what else there is to say. `arguments` are those that were read.
pub(crate) fn with_tip(mut error: Error, arguments: &[OsString]) -> Error {
    let Some(name) = flag_of(&error) else { return error };
    let tip = match error.kind() {
        ErrorKind::UnknownArgument if is_of_engine(&name) => {
            // What is spelt alike among the router's own flags is not what was meant.
            error.remove(ContextKind::SuggestedArg);
            format!("that is the engine's flag, and the router starts no engines: leave --{name} out here")
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation if is_from_variable(&name, arguments) => {
            format!("it stands in the variable {}", variable_of(&name))
        }
        _ => return error,
    };
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    error
}

/// The name of the flag that an error is about.
fn flag_of(error: &Error) -> Option<String> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return None };
    let name = argument.strip_prefix("--")?.split([' ', '=', '[']).next()?;
    Some(name.to_owned())
}

fn is_of_engine(name: &str) -> bool {
    let dashed = name.replace('_', "-");
    matches!(dashed.as_str(), "tp" | "dp" | "ep" | "pp")
        || OF_ENGINES.iter().any(|flag| dashed.starts_with(flag))
}

/// True if the flag has its value from its variable: it is not on the command line.
fn is_from_variable(name: &str, arguments: &[OsString]) -> bool {
    let is_flag = |argument: &OsString| {
        let text = argument.to_str().and_then(|text| text.strip_prefix("--")).unwrap_or_default();
        text.split('=').next() == Some(name)
    };
    std::env::var_os(variable_of(name)).is_some() && !arguments.iter().any(is_flag)
}
