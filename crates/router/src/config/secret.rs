//! Texts that nobody is to see.

use std::fmt;

use http::HeaderValue;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use sglang_router_rs::types::hex;

/// A key. It is shown nowhere; serialised it is as it is, for the files that keep it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(value_type = String)]
pub struct Secret(String);

impl Secret {
    /// Of a text, without the blanks around it.
    pub(crate) fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The header by which it is shown to who asks for it; `None` if it cannot be one.
    pub(crate) fn bearer(&self) -> Option<HeaderValue> {
        let is_key = !self.0.is_empty() && self.0.bytes().all(|byte| byte.is_ascii_graphic());
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0)).ok().filter(|_| is_key)?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl Secret {
    /// Its SHA-256, 64 hexadecimal digits.
    pub(crate) fn sha256(&self) -> String {
        hex::encode(&Sha256::digest(self.0.as_bytes()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_shown_nowhere_and_is_a_header() {
        let secret = Secret::new(" sk-1\n");
        assert_eq!(format!("{secret:?}"), "***");
        let header = secret.bearer().unwrap();
        assert_eq!(header, "Bearer sk-1");
        assert!(!format!("{header:?}").contains("sk-1"));
        assert_eq!([Secret::new("").bearer(), Secret::new("a b").bearer()], [None, None]);
    }
}
