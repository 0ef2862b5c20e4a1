//! What is known of one kind of engine.

use serde::Deserialize;

use crate::proxy::engines::reading::Reading;
use sglang_router_rs::core::EngineFacts;

/// The longest version that is shown, in bytes.
const MAX_VERSION_BYTES: usize = 64;

/// One kind of engine: where it is asked, and how its answers are read.
#[derive(Debug)]
pub(crate) struct Adapter {
    /// Its name in the configuration and for policies.
    pub(crate) name: &'static str,
    /// Where it says who it is; the first that can be read counts.
    pub(crate) identities: &'static [EngineQuestion<Identity>],
    /// Where it tells of its load, the best first.
    pub(crate) loads: &'static [EngineQuestion<Reading>],
}

/// A path, and how an answer from there is read; `None` if it is of another kind.
#[derive(Debug)]
pub(crate) struct EngineQuestion<T: 'static> {
    /// Path and query.
    pub(crate) path: &'static str,
    /// Reads the body of an answer with status 200 to 299.
    pub(crate) read: fn(&[u8]) -> Option<T>,
}

/// Who an engine says it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Identity {
    /// False if others might answer the same, so that its load must be of this kind, too.
    pub(crate) is_sure: bool,
    /// Its version.
    pub(crate) version: Option<String>,
    /// What else it says.
    pub(crate) facts: EngineFacts,
}

/// A version of an answer: any text, but short and on one line.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Version {
    /// A text.
    Text(String),
    /// Anything else.
    Other(serde::de::IgnoredAny),
}

impl Version {
    /// What may be shown of it.
    pub(crate) fn shown(self) -> Option<String> {
        match self {
            Self::Text(text)
                if text.len() <= MAX_VERSION_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic()) =>
            {
                Some(text)
            }
            Self::Text(_) | Self::Other(_) => None,
        }
    }
}
