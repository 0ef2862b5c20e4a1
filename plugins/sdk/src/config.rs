//! Typed reading of the operator's configuration, with errors that name the key.

use sgl_policy_abi::{Init, Value};

use crate::error::Error;

/// A view of [`Init::config`].
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    init: &'a Init,
}

impl<'a> Config<'a> {
    /// Reads the configuration of `init` and refuses keys that are not in `known`,
    /// so that a misspelt key does not silently mean its default.
    ///
    /// # Errors
    /// An [`Error`] that names the first unknown key.
    pub fn new(init: &'a Init, known: &[&str]) -> Result<Self, Error> {
        match init.config.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            Some((key, _)) => Err(Error::about("unknown config key `", key, "`")),
            None => Ok(Self { init }),
        }
    }

    /// The value of `key`, unless it is missing or nil.
    #[must_use]
    pub fn get(self, key: &str) -> Option<&'a Value> {
        self.init.config(key).filter(|value| **value != Value::Nil)
    }

    /// A number of at least `min`, or `default`.
    ///
    /// # Errors
    /// An [`Error`] that names the key if the value is no number, NaN, infinite or below `min`.
    pub fn number(self, key: &str, default: f64, min: f64) -> Result<f64, Error> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        match value.as_f64() {
            Some(number) if number.is_finite() && number >= min => Ok(number),
            Some(_) => Err(Error::about("config key `", key, "` is out of range")),
            None => Err(Error::about("config key `", key, "` must be a number")),
        }
    }

    /// A whole number that is not negative, or `default`.
    ///
    /// # Errors
    /// An [`Error`] that names the key if the value is anything else.
    pub fn size(self, key: &str, default: usize) -> Result<usize, Error> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.ok_or_else(|| Error::about("config key `", key, "` must be a whole number, not negative"))
    }

    /// A text, or `default`.
    ///
    /// # Errors
    /// An [`Error`] that names the key if the value is anything else.
    pub fn text(self, key: &str, default: &'a str) -> Result<&'a str, Error> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        value.as_str().ok_or_else(|| Error::about("config key `", key, "` must be a text"))
    }
}
