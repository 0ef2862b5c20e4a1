//! The arguments of `sgl-router key`.

use clap::{Args, Subcommand};

/// Makes keys of clients, or the digests of keys that there are, for the file of --client-keys-file
#[derive(Clone, Debug, Args)]
pub struct KeyArgs {
    #[command(subcommand)]
    pub(crate) command: KeyCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Makes a new key, prints it once, and what to write into the file
    New(KeyOf),
    /// Reads a key from standard input, and prints what to write into the file
    Hash(KeyOf),
}

/// Whose key it is.
#[derive(Clone, Debug, Args)]
pub(crate) struct KeyOf {
    /// Name of the key, for metrics, records and policies
    #[arg(long)]
    pub(crate) name: String,
    /// Prints JSON
    #[arg(long)]
    pub(crate) json: bool,
}
