//! Where a generation comes from, and who vouches for it.

use serde::{Deserialize, Serialize};
use sgl_policy_abi::{Concurrency, Wire};

use crate::config::plugin::WasmPolicyConfig;
use crate::policies::wasm::load::module_check::ModuleFacts;
use crate::policies::wasm::load::producers::Producers;
use crate::policies::wasm::load::trust::key::PublicKey;
use crate::policies::wasm::load::trust::origin::Origin;
use crate::policies::wasm::load::trust::rules::Vouched;

/// What came with a module's bytes, kept with its generation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Supply {
    pub(crate) origin: Origin,
    /// Its detached signature.
    pub(crate) signature: Option<Vec<u8>>,
    pub(crate) vouched: Vouched,
}

/// What is known about a module's signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum SignatureState {
    /// A trusted key signed it.
    Verified,
    /// It has signatures, but none by a trusted key.
    Unverified,
    /// It has none.
    Absent,
}

/// A key that signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignedBy {
    /// Its id: 24 hex digits.
    pub key: String,
    /// What its file says the key is for.
    pub comment: String,
}

/// What a generation may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Limits {
    /// Budget of one call in milliseconds.
    pub max_execution_time_ms: u64,
    /// Linear memory of one instance in bytes.
    pub max_memory_bytes: usize,
    /// WASI functions that the module may import.
    pub allowed_syscalls: Vec<String>,
}

/// Where a generation comes from, who vouches for it, and what it asked for and got. Its digest and
/// the time of its load stand beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Provenance {
    /// Where its module was read from, or that it was pushed.
    pub origin: Origin,
    /// Size of the module in bytes.
    pub size_bytes: usize,
    /// Whether a trusted key signed it.
    pub signature: SignatureState,
    /// The trusted keys that signed it.
    pub signed_by: Vec<SignedBy>,
    /// What the module says it was made with: names with versions, by field. Nobody vouches for it.
    pub producers: Producers,
    /// Functions that it imports, as `module.name`.
    pub imports: Vec<String>,
    /// Version of the plugin ABI that it speaks.
    pub abi: u32,
    /// Form of its messages: `columns` or `rows`.
    pub form: String,
    /// Inputs that it declares; the row form means all.
    pub inputs: Vec<String>,
    /// Optional exports that a router calls. One before this field tells none.
    #[serde(default)]
    pub hooks: Vec<String>,
    /// True if one instance decides everything, one call at a time.
    #[serde(default)]
    pub serial: bool,
    /// What it may use.
    pub limits: Limits,
}

impl Provenance {
    pub(crate) fn of(supply: &Supply, facts: &ModuleFacts, config: &WasmPolicyConfig) -> Self {
        let manifest = &facts.manifest;
        let vouched = &supply.vouched;
        let signature = match (vouched.signers.as_slice(), vouched.claimed.as_slice()) {
            ([_, ..], _) => SignatureState::Verified,
            ([], [_, ..]) => SignatureState::Unverified,
            ([], []) => SignatureState::Absent,
        };
        let signer = |key: &PublicKey| SignedBy { key: key.id(), comment: key.comment().to_owned() };
        Self {
            origin: supply.origin.clone(),
            size_bytes: facts.size_bytes,
            signature,
            signed_by: vouched.signers.iter().map(signer).collect(),
            producers: facts.producers.clone(),
            imports: facts.imports.clone(),
            abi: manifest.abi,
            form: match manifest.wire {
                Wire::Columns => "columns",
                Wire::Rows => "rows",
            }
            .to_owned(),
            inputs: manifest.inputs.iter().map(|input| crate::types::shown(&input.name())).collect(),
            hooks: facts.hooks().into_iter().map(str::to_owned).collect(),
            serial: manifest.concurrency == Concurrency::Serial,
            limits: Limits {
                max_execution_time_ms: config.max_execution_time_ms,
                max_memory_bytes: config.max_memory_bytes,
                allowed_syscalls: config.allowed_syscalls.clone(),
            },
        }
    }
}
