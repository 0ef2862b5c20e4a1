//! Why nobody vouches for a module.

/// A rule that a module does not meet, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the module is refused by {rule}: {fault}")]
pub struct Refusal {
    /// The rule, as its place in the configuration and what it says.
    pub rule: String,
    /// What is wrong.
    pub fault: TrustFault,
}

/// What is wrong with a module's signatures, or with the keys that check them. Keys are named by their
/// ids.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustFault {
    /// It has no signature.
    #[error(
        "it is not signed; looked for {looked}; expected a signature by {expected}: sgl-router plugin sign MODULE --key KEY"
    )]
    Unsigned {
        /// Where a signature could have been.
        looked: String,
        /// The keys that would be enough.
        expected: String,
    },
    /// It is signed, but by none of the keys.
    #[error(
        "it is signed by {found}, which is not among the keys of the rule; expected a signature by {expected}: \
         sign it with one of these, or add the key to the rule"
    )]
    UnknownKey {
        /// The ids that its signatures name.
        found: String,
        /// The keys that would be enough.
        expected: String,
    },
    /// A trusted key signed other bytes.
    #[error(
        "key {key} signed other bytes: sha256:{signed}, but these have sha256:{found}; they were changed after that, or \
         the signature is another module's: sign it again"
    )]
    Changed {
        /// Who signed.
        key: String,
        /// The hash that was signed.
        signed: String,
        /// The hash that the bytes have.
        found: String,
    },
    /// A signature names a trusted key, but that key did not make it.
    #[error("a signature says that it is by key {key}, and is not: it is damaged or forged; sign it again")]
    Invalid {
        /// Who is named.
        key: String,
    },
    /// A rule wants all of its keys, and some have not signed.
    #[error("it is signed by {found}, but {missing} must have signed it, too: sign it with each of the keys")]
    Incomplete {
        /// Who signed.
        found: String,
        /// Who did not.
        missing: String,
    },
    /// The signatures cannot be read.
    #[error("its signature in {place} cannot be read: {reason}; sign it again")]
    Malformed {
        /// The custom section or the file.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// A key of the rule cannot be read.
    #[error(transparent)]
    Keys(#[from] KeyFault),
}

impl TrustFault {
    /// Which kind of fault it is, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unsigned { .. } => "unsigned",
            Self::UnknownKey { .. } => "untrusted_key",
            Self::Changed { .. } => "signature_mismatch",
            Self::Invalid { .. } => "invalid_signature",
            Self::Incomplete { .. } => "signatures_missing",
            Self::Malformed { .. } => "malformed_signature",
            Self::Keys(_) => "trust_keys_unusable",
        }
    }
}

/// A key that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key {place} cannot be used: {reason}")]
pub struct KeyFault {
    /// Its file, or where its text is.
    pub place: String,
    /// What is wrong.
    pub reason: String,
}
