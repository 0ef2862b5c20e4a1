//! What is shown to a registry that asks who one is.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Credentials for a registry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Login {
    /// User and password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token that others are asked for with.
    Refresh(String),
    /// A token that is shown as it is.
    Bearer(String),
}

impl Login {
    /// From `user:password` in base64, as files of credentials have it.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.trim()).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (user, password) = text.trim_end_matches('\0').split_once(':')?;
        Some(Self::Password { user: user.to_owned(), password: password.to_owned() })
    }

    /// The value of an `authorization` header, unless a token has to be asked for first.
    pub(crate) fn header(&self) -> Option<String> {
        match self {
            Self::Password { user, password } => {
                Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
            }
            Self::Refresh(_) => None,
            Self::Bearer(token) => Some(format!("Bearer {token}")),
        }
    }
}

/// Never shows a secret.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password",
            Self::Refresh(_) => "Refresh",
            Self::Bearer(_) => "Bearer",
        })
    }
}
