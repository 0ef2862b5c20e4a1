//! The message of `init`, and its answer.

use alloc::string::String;

use crate::error::{DecodeError, Expected, Full};
use crate::reader::Reader;
use crate::value::{Map, Value, decode_map, encode_map, lookup};
use crate::writer::Writer;

/// What an instance is told once, before anything else.
///
/// On the wire a map: `{abi, plugin, generation, config, seed}`; unknown keys are ignored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Init {
    /// ABI version of the host.
    pub abi: u32,
    /// The name that the plugin was loaded under.
    pub plugin: String,
    /// Number of this generation of the plugin, from 1.
    pub generation: u64,
    /// The operator's configuration.
    pub config: Map,
    /// Fresh randomness, another value for each instance.
    pub seed: u64,
}

impl Init {
    /// The configured value of `key`.
    #[must_use]
    pub fn config(&self, key: &str) -> Option<&Value> {
        lookup(&self.config, key)
    }

    /// Writes the message.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn encode(&self, w: &mut Writer<'_>) -> Result<(), Full> {
        w.map(5)?;
        w.str("abi")?;
        w.uint(u64::from(self.abi))?;
        w.str("plugin")?;
        w.str(&self.plugin)?;
        w.str("generation")?;
        w.uint(self.generation)?;
        w.str("config")?;
        encode_map(&self.config, w)?;
        w.str("seed")?;
        w.uint(self.seed)
    }

    /// Reads the message. Keys that are not there keep their default.
    ///
    /// # Errors
    /// [`DecodeError`] for anything but such a map.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut init = Self::default();
        let mut r = Reader::new(bytes);
        for _ in 0..r.map()? {
            match r.str()? {
                "abi" => {
                    init.abi = u32::try_from(r.uint()?)
                        .map_err(|_| DecodeError::OutOfRange { expected: Expected::Small })?;
                }
                "plugin" => init.plugin = String::from(r.str()?),
                "generation" => init.generation = r.uint()?,
                "config" => init.config = decode_map(&mut r)?,
                "seed" => init.seed = r.uint()?,
                _ => r.skip()?,
            }
        }
        r.finish()?;
        Ok(init)
    }
}

/// Writes the answer of an export that failed: `{error}`. It is an answer of `init`,
/// of `select_worker` and of `select_worker_pair`.
///
/// # Errors
/// [`Full`] if it does not fit.
pub fn encode_error(w: &mut Writer<'_>, error: &str) -> Result<(), Full> {
    w.map(1)?;
    w.str("error")?;
    w.str(error)
}

/// Reads the answer of `init`: none if the guest is ready, or its error.
///
/// Ready is an empty answer, nil, or a map whose `error` is nil or not there.
///
/// # Errors
/// [`DecodeError`] for anything else.
pub fn init_error(bytes: &[u8]) -> Result<Option<&str>, DecodeError> {
    let mut r = Reader::new(bytes);
    let mut error = None;
    if !bytes.is_empty() && !r.nil() {
        for _ in 0..r.map()? {
            match r.str()? {
                "error" => error = r.opt_str()?,
                _ => r.skip()?,
            }
        }
    }
    r.finish()?;
    Ok(error)
}
