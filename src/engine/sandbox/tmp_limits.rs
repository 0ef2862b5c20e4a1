//! How much a plugin's private directory may hold.

/// What the guests of a plugin may have in their private directory together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TmpLimits {
    /// Bytes of all files.
    pub max_bytes: u64,
    /// Files, directories and links.
    pub max_files: u64,
}
