//! Replaces the keys in a build without the feature `signatures`: no key can be read, so no rule that
//! wants one is met.

use std::convert::Infallible;
use std::fmt;

/// The error for every key.
const MISSING: &str =
    "this build cannot check signatures: switch on the feature `signatures` of sglang_router_rs";

/// True if this build can verify signatures.
pub(crate) const CAN_VERIFY: bool = false;

/// A key that signatures are checked against. This build has none.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(Infallible);

impl PublicKey {
    /// Always refuses.
    ///
    /// # Errors
    ///
    /// What this build lacks.
    pub fn from_pem(_: &str) -> Result<Self, String> {
        Err(MISSING.to_owned())
    }

    /// The key as a PEM text.
    ///
    /// # Errors
    ///
    /// None: there is no key.
    pub fn to_pem(&self) -> Result<String, String> {
        match self.0 {}
    }

    /// The key's id.
    pub fn id(&self) -> String {
        match self.0 {}
    }

    /// What it is for.
    pub fn comment(&self) -> &str {
        match self.0 {}
    }

    pub(crate) fn id_bytes(&self) -> [u8; 12] {
        match self.0 {}
    }

    /// True if this key made that signature of the message.
    pub(crate) fn signed(&self, _message: &[u8], _signature: &[u8]) -> bool {
        match self.0 {}
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}

/// A key that signs. This build has none.
#[derive(Debug)]
pub struct SecretKey(Infallible);

impl SecretKey {
    /// Always refuses.
    ///
    /// # Errors
    ///
    /// What this build lacks.
    pub fn from_pem(_: &str) -> Result<Self, String> {
        Err(MISSING.to_owned())
    }

    /// The key as a PEM text.
    ///
    /// # Errors
    ///
    /// None: there is no key.
    pub fn to_pem(&self) -> Result<String, String> {
        match self.0 {}
    }

    /// The key that checks its signatures.
    pub fn public(&self) -> PublicKey {
        match self.0 {}
    }

    pub(crate) fn sign(&self, _message: &[u8]) -> [u8; 64] {
        match self.0 {}
    }
}
