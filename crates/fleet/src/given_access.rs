//! What an operator gives for NATS to know who asks: one way of several.

use std::path::PathBuf;

use crate::access::FleetAccess;
use crate::tls_files::TlsFiles;

/// What an operator gives for NATS to know who asks, named as in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenAccess {
    /// File of a JWT and its key.
    pub credentials: Option<PathBuf>,
    /// File of an nkey's seed.
    pub nkey_file: Option<PathBuf>,
    /// A user.
    pub user: Option<String>,
    /// File of its password.
    pub password_file: Option<PathBuf>,
    /// File of a token.
    pub token_file: Option<PathBuf>,
}

impl GivenAccess {
    /// The way that was given.
    ///
    /// # Errors
    ///
    /// What was given and what is allowed.
    pub fn checked(self) -> Result<FleetAccess, String> {
        let ways = [
            ("credentials", self.credentials.is_some()),
            ("nkey_file", self.nkey_file.is_some()),
            ("user", self.user.is_some() || self.password_file.is_some()),
            ("token_file", self.token_file.is_some()),
        ];
        let given: Vec<&str> = ways.iter().filter(|(_, is_given)| *is_given).map(|(way, _)| *way).collect();
        if given.len() > 1 {
            return Err(format!("{} are given; one of them is allowed", given.join(" and ")));
        }
        Ok(match self {
            Self { credentials: Some(file), .. } => FleetAccess::Credentials(file),
            Self { nkey_file: Some(file), .. } => FleetAccess::Nkey(file),
            Self { token_file: Some(file), .. } => FleetAccess::Token(file),
            Self { user: Some(user), password_file: Some(file), .. } => FleetAccess::Password { user, file },
            Self { user: None, password_file: None, .. } => FleetAccess::Address,
            Self { user, .. } => {
                let (found, missing) =
                    if user.is_some() { ("user", "password_file") } else { ("password_file", "user") };
                return Err(format!("{found} is given without {missing}"));
            }
        })
    }
}

/// The files for TLS, where certificate and key of this side come together.
///
/// # Errors
///
/// What was given and what is missing.
pub fn given_tls(
    authorities: Vec<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<TlsFiles, String> {
    let own = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => return Err("client_cert_path is given without client_key_path".to_owned()),
        (None, Some(_)) => return Err("client_key_path is given without client_cert_path".to_owned()),
    };
    Ok(TlsFiles { authorities, own })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_way_may_be_given_and_no_half_of_one() {
        let file = || Some(PathBuf::from("f"));
        let nothing = GivenAccess::default;
        assert_eq!(nothing().checked(), Ok(FleetAccess::Address));
        let password = GivenAccess { user: Some("me".to_owned()), password_file: file(), ..nothing() };
        let expected = FleetAccess::Password { user: "me".to_owned(), file: PathBuf::from("f") };
        assert_eq!(password.clone().checked(), Ok(expected));
        let both = GivenAccess { token_file: file(), ..password };
        assert_eq!(both.checked(), Err("user and token_file are given; one of them is allowed".to_owned()));
        let half = GivenAccess { user: Some("me".to_owned()), ..nothing() };
        assert_eq!(half.checked(), Err("user is given without password_file".to_owned()));
        let half = GivenAccess { password_file: file(), ..nothing() };
        assert_eq!(half.checked(), Err("password_file is given without user".to_owned()));
        assert!(given_tls(Vec::new(), file(), None).unwrap_err().contains("without client_key_path"));
        assert!(given_tls(Vec::new(), file(), file()).unwrap().own.is_some());
    }
}
