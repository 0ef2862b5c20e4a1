//! Which part of a request a worker serves.

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;
#[cfg(feature = "openapi")]
use std::vec;
#[cfg(feature = "openapi")]
use std::vec::Vec;

use crate::error::{DecodeError, Key};

/// Which part of a request a worker serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum WorkerRole {
    /// Prefill and decode. The default.
    #[default]
    Regular,
    /// Prefill only, in a disaggregated deployment.
    Prefill,
    /// Decode only, in a disaggregated deployment.
    Decode,
}

impl WorkerRole {
    /// The word on the wire, in configuration and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
        }
    }

    /// The role of that word on the wire.
    ///
    /// # Errors
    /// [`DecodeError::UnknownWord`].
    pub fn from_word(word: &str) -> Result<Self, DecodeError> {
        match word {
            "regular" => Ok(Self::Regular),
            "prefill" => Ok(Self::Prefill),
            "decode" => Ok(Self::Decode),
            _ => Err(DecodeError::UnknownWord { key: Key::Role }),
        }
    }
}

/// The role of a word that a person wrote: the error is a sentence.
impl FromStr for WorkerRole {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::from_word(word)
            .map_err(|_| format!("unknown role `{word}`: expected regular, prefill or decode"))
    }
}

impl fmt::Display for WorkerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
