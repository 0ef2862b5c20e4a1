//! The flags of `sgl-router plugin manifest`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sgl_policy_abi::Concurrency;

/// Which module's manifest to show, or what to have it say.
#[derive(Clone, Debug, Args)]
pub struct ManifestArgs {
    /// The module
    pub file: PathBuf,
    /// The inputs that it wants to be told, in the order in which it reads them, with commas between: healthy,load,…
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub inputs: Option<Vec<String>>,
    /// It wants a map of everything instead
    #[arg(long, conflicts_with = "inputs")]
    pub rows: bool,
    /// Whether it may be asked by many threads at a time
    #[arg(long, value_enum)]
    pub concurrency: Option<ManifestConcurrency>,
    /// Its own name [default: the file's stem]
    #[arg(long)]
    pub name: Option<String>,
    /// Its version
    #[arg(long)]
    pub version: Option<String>,
    /// What it does, in a sentence
    #[arg(long)]
    pub description: Option<String>,
    /// Where to write instead of the module itself
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

impl ManifestArgs {
    /// True if it is to be changed, not shown.
    pub(crate) fn changes(&self) -> bool {
        let texts = [&self.name, &self.version, &self.description];
        let says = texts.iter().any(|text| text.is_some()) || self.concurrency.is_some();
        says || self.inputs.is_some() || self.rows || self.out.is_some()
    }
}

/// Whether decisions of a module may run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ManifestConcurrency {
    /// They may: each instance keeps no state of its own
    Parallel,
    /// One instance decides all, one after the other
    Serial,
}

impl From<ManifestConcurrency> for Concurrency {
    fn from(word: ManifestConcurrency) -> Self {
        match word {
            ManifestConcurrency::Parallel => Self::Parallel,
            ManifestConcurrency::Serial => Self::Serial,
        }
    }
}
