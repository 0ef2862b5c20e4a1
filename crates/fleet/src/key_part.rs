//! Names that are parts of keys and subjects.

use std::fmt;

use crate::fleet_state_error::FleetStateError;

/// Longest name, in bytes.
const MAX_BYTES: usize = 64;

/// The name of a fleet, of a router or of a plugin as part of a key: 1 to 64 letters, digits, `_` and `-`.
/// Dots part the keys of NATS, so there is none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPart(String);

impl KeyPart {
    /// Checks a name; `what` says whose it is.
    ///
    /// # Errors
    ///
    /// [`FleetStateError::Name`].
    pub fn parse(what: &'static str, name: &str) -> Result<Self, FleetStateError> {
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        if name.is_empty() || name.len() > MAX_BYTES || !is_plain {
            return Err(FleetStateError::Name { what, found: name.to_owned() });
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_part_no_key_are_taken() {
        for good in ["a", "Fleet_1-x", &"x".repeat(64)] {
            assert_eq!(KeyPart::parse("fleet", good).unwrap().as_str(), good);
        }
        for bad in ["", "a.b", "a b", "a*", ">", "ä", "a/b", &"x".repeat(65)] {
            assert!(KeyPart::parse("fleet", bad).is_err(), "{bad}");
        }
    }
}
