//! What a plugin says about itself.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::error::{DecodeError, Full};
use crate::input::{Input, UnknownInput};
use crate::names::ABI_VERSION;
use crate::reader::Reader;
use crate::writer::Writer;

/// Inputs that a manifest may list: far above what a policy looks at. Each costs its host something
/// for every decision.
pub const MAX_INPUTS: usize = 64;

/// The form of the messages of `select_worker`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Wire {
    /// An array of declared inputs, a few bytes per worker.
    Columns,
    /// A map with every field of every worker.
    Rows,
}

/// Whether decisions of one plugin may run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Concurrency {
    /// As many instances as the pool has; the guest keeps no state of its own.
    Parallel,
    /// One instance, callers queue; the guest keeps state in its memory.
    Serial,
}

/// The content of the custom section [`MANIFEST_SECTION`](crate::MANIFEST_SECTION).
///
/// `Default` is what a module without a manifest means: rows, parallel, no name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Manifest {
    /// ABI version, 1.
    pub abi: u32,
    /// The policy's own name; operators may load it under another one.
    pub name: String,
    /// The policy's version. Default empty.
    pub version: String,
    /// What it does, in a sentence. Default empty.
    pub description: String,
    /// Form of the messages. Default rows.
    pub wire: Wire,
    /// Declared inputs in wire order; empty for rows.
    pub inputs: Vec<Input>,
    /// Default parallel.
    pub concurrency: Concurrency,
}

impl Default for Manifest {
    fn default() -> Self {
        Self {
            abi: ABI_VERSION,
            name: String::new(),
            version: String::new(),
            description: String::new(),
            wire: Wire::Rows,
            inputs: Vec::new(),
            concurrency: Concurrency::Parallel,
        }
    }
}

/// Why a manifest is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManifestError {
    /// The section is not one well-formed MessagePack map.
    Malformed(DecodeError),
    /// A required key is not there.
    MissingKey(&'static str),
    /// A key has a value of another type.
    WrongType {
        /// The key.
        key: &'static str,
        /// What is wrong with its value.
        source: DecodeError,
    },
    /// `wire` or `concurrency` has a word that does not exist.
    UnknownWord {
        /// The key.
        key: &'static str,
        /// The word that was found.
        found: String,
        /// The words that exist.
        known: &'static str,
    },
    /// `inputs` names an input that this ABI version does not have.
    UnknownInput(UnknownInput),
    /// `inputs` lists more than [`MAX_INPUTS`].
    TooManyInputs {
        /// The number that it lists.
        found: usize,
    },
    /// `inputs` names an input twice.
    RepeatedInput(String),
    /// The plugin was built for an ABI that the host does not speak.
    UnsupportedAbi {
        /// The manifest's version.
        found: u64,
    },
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(_) => f.write_str("manifest is not a well-formed map"),
            Self::MissingKey(key) => write!(f, "manifest has no `{key}`"),
            Self::WrongType { key, .. } => write!(f, "manifest key `{key}` has a bad value"),
            Self::UnknownWord { key, found, known } => {
                write!(f, "manifest key `{key}` is `{found}`, expected {known}")
            }
            Self::UnknownInput(unknown) => unknown.fmt(f),
            Self::TooManyInputs { found } => {
                write!(f, "manifest lists {found} inputs, the limit is {MAX_INPUTS}")
            }
            Self::RepeatedInput(name) => write!(f, "manifest lists input `{name}` twice"),
            Self::UnsupportedAbi { found } => {
                write!(f, "plugin needs abi {found}, this host speaks abi {ABI_VERSION}")
            }
        }
    }
}

impl core::error::Error for ManifestError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Malformed(source) | Self::WrongType { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl Manifest {
    /// Writes the map of the custom section.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn encode(&self, w: &mut Writer<'_>) -> Result<(), Full> {
        w.map(7)?;
        w.str("abi")?;
        w.uint(u64::from(self.abi))?;
        for (key, text) in
            [("name", &self.name), ("version", &self.version), ("description", &self.description)]
        {
            w.str(key)?;
            w.str(text)?;
        }
        w.str("wire")?;
        w.str(self.wire.word())?;
        w.str("inputs")?;
        w.array(self.inputs.len())?;
        for input in &self.inputs {
            w.str(&input.name())?;
        }
        w.str("concurrency")?;
        w.str(self.concurrency.word())
    }

    /// Reads the custom section. `abi` and `name` are required, and `inputs` for columns.
    ///
    /// # Errors
    /// [`ManifestError`]. The version is checked first, since another ABI may well
    /// give other keys another meaning.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        check_abi(bytes)?;
        let mut manifest = Self::default();
        let mut has_name = false;
        let mut has_inputs = false;
        let mut r = Reader::new(bytes);
        for _ in 0..r.map().map_err(ManifestError::Malformed)? {
            let key = r.str().map_err(ManifestError::Malformed)?;
            match key {
                "name" => {
                    manifest.name = text(&mut r, "name")?;
                    has_name = true;
                }
                "version" => manifest.version = text(&mut r, "version")?,
                "description" => manifest.description = text(&mut r, "description")?,
                "wire" => manifest.wire = Wire::parse(&text(&mut r, "wire")?)?,
                "inputs" => {
                    manifest.inputs = inputs(&mut r)?;
                    has_inputs = true;
                }
                "concurrency" => {
                    manifest.concurrency = Concurrency::parse(&text(&mut r, "concurrency")?)?;
                }
                _ => r.skip().map_err(ManifestError::Malformed)?,
            }
        }
        if !has_name {
            return Err(ManifestError::MissingKey("name"));
        }
        if manifest.wire == Wire::Columns && !has_inputs {
            return Err(ManifestError::MissingKey("inputs"));
        }
        Ok(manifest)
    }
}

impl Wire {
    /// The word in the manifest.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Columns => "columns",
            Self::Rows => "rows",
        }
    }

    fn parse(word: &str) -> Result<Self, ManifestError> {
        match word {
            "columns" => Ok(Self::Columns),
            "rows" => Ok(Self::Rows),
            _ => Err(unknown_word("wire", word, "`columns` or `rows`")),
        }
    }
}

impl Concurrency {
    /// The word in the manifest.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Parallel => "parallel",
            Self::Serial => "serial",
        }
    }

    fn parse(word: &str) -> Result<Self, ManifestError> {
        match word {
            "parallel" => Ok(Self::Parallel),
            "serial" => Ok(Self::Serial),
            _ => Err(unknown_word("concurrency", word, "`parallel` or `serial`")),
        }
    }
}

fn unknown_word(key: &'static str, found: &str, known: &'static str) -> ManifestError {
    ManifestError::UnknownWord { key, found: String::from(found), known }
}

/// Checks that the bytes are one map and that its `abi` is ours.
fn check_abi(bytes: &[u8]) -> Result<(), ManifestError> {
    let mut r = Reader::new(bytes);
    let mut abi = None;
    for _ in 0..r.map().map_err(ManifestError::Malformed)? {
        if r.str().map_err(ManifestError::Malformed)? == "abi" {
            let found = r.uint();
            abi = Some(found.map_err(|source| ManifestError::WrongType { key: "abi", source })?);
        } else {
            r.skip().map_err(ManifestError::Malformed)?;
        }
    }
    r.finish().map_err(ManifestError::Malformed)?;
    match abi {
        None => Err(ManifestError::MissingKey("abi")),
        Some(found) if found == u64::from(ABI_VERSION) => Ok(()),
        Some(found) => Err(ManifestError::UnsupportedAbi { found }),
    }
}

fn text(r: &mut Reader<'_>, key: &'static str) -> Result<String, ManifestError> {
    r.str().map(String::from).map_err(|source| ManifestError::WrongType { key, source })
}

fn inputs(r: &mut Reader<'_>) -> Result<Vec<Input>, ManifestError> {
    let wrong = |source| ManifestError::WrongType { key: "inputs", source };
    let mut inputs = Vec::new();
    let found = r.array().map_err(wrong)?;
    if found > MAX_INPUTS {
        return Err(ManifestError::TooManyInputs { found });
    }
    for _ in 0..found {
        let name = r.str().map_err(wrong)?;
        let input = Input::parse(name).map_err(ManifestError::UnknownInput)?;
        if inputs.contains(&input) {
            return Err(ManifestError::RepeatedInput(String::from(name)));
        }
        inputs.push(input);
    }
    Ok(inputs)
}
