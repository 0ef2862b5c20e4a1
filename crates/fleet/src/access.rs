//! How a router shows NATS who it is.

use std::path::{Path, PathBuf};

use async_nats::ConnectOptions;

use crate::fleet_address::FleetAddress;
use crate::fleet_state_error::FleetStateError;

/// Largest file with a secret, in bytes.
const MAX_SECRET_BYTES: usize = 64 << 10;

/// Letters of the seed of an nkey.
const SEED_LETTERS: usize = 58;

/// How a router shows NATS who it is. Files are read when the connection is made; secrets are never shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FleetAccess {
    /// By what stands before the host in the address: `USER:PASSWORD@`, `TOKEN@`, or nothing.
    #[default]
    Address,
    /// By a JWT and its key, in one file (`.creds`).
    Credentials(PathBuf),
    /// By an nkey: the file has its seed.
    Nkey(PathBuf),
    /// By a user's password, which is the first line of the file.
    Password {
        /// The user.
        user: String,
        /// Has the password.
        file: PathBuf,
    },
    /// By a token, which is the first line of the file.
    Token(PathBuf),
}

impl FleetAccess {
    /// Options that show it.
    ///
    /// # Errors
    ///
    /// [`FleetStateError::File`].
    pub(crate) async fn shown_by(
        &self,
        options: ConnectOptions,
        address: &FleetAddress,
    ) -> Result<ConnectOptions, FleetStateError> {
        match self {
            Self::Address => Ok(match address.secrets() {
                Some((user, Some(password))) => options.user_and_password(user, password),
                Some((token, None)) => options.token(token),
                None => options,
            }),
            Self::Credentials(file) => {
                options.credentials_file(file).await.map_err(|error| FleetStateError::file(file, error))
            }
            Self::Nkey(file) => Ok(options.nkey(seed(file)?)),
            Self::Password { user, file } => Ok(options.user_and_password(user.clone(), first_line(file)?)),
            Self::Token(file) => Ok(options.token(first_line(file)?)),
        }
    }
}

fn read(file: &Path) -> Result<String, FleetStateError> {
    let text = std::fs::read_to_string(file).map_err(|error| FleetStateError::file(file, error))?;
    if text.len() > MAX_SECRET_BYTES {
        return Err(FleetStateError::file(file, format!("it has {} bytes", text.len())));
    }
    Ok(text)
}

fn first_line(file: &Path) -> Result<String, FleetStateError> {
    let line = read(file)?.lines().next().unwrap_or_default().trim().to_owned();
    if line.is_empty() { Err(FleetStateError::file(file, "its first line is empty")) } else { Ok(line) }
}

/// The seed of a user's key, on a line of its own as `nk` and `nsc` write it.
fn seed(file: &Path) -> Result<String, FleetStateError> {
    let text = read(file)?;
    let is_seed = |line: &&str| line.len() == SEED_LETTERS && line.starts_with("SU");
    let seed = text.lines().map(str::trim).find(is_seed);
    seed.map(str::to_owned).ok_or_else(|| {
        FleetStateError::file(file, "there is no line with the seed of a user's nkey (SU…, 58 letters)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(
        read: impl FnOnce(&Path) -> Result<String, FleetStateError>,
        text: &str,
    ) -> Result<String, String> {
        let dir = std::env::temp_dir().join(format!("sgl-fleet-access-{}", fastrand::u64(..)));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("secret");
        std::fs::write(&file, text).unwrap();
        let found = read(&file).map_err(|error| error.to_string());
        std::fs::remove_dir_all(&dir).unwrap();
        found
    }

    #[test]
    fn secret_is_the_first_line_of_its_file() {
        assert_eq!(said(first_line, " s3cret \nmore"), Ok("s3cret".to_owned()));
        assert!(said(first_line, "\nmore").unwrap_err().contains("its first line is empty"));
        assert!(said(first_line, &"x".repeat(MAX_SECRET_BYTES + 1)).unwrap_err().contains("65537 bytes"));
        assert!(
            first_line(Path::new("/nowhere/secret")).unwrap_err().to_string().contains("/nowhere/secret")
        );
    }

    #[test]
    fn seed_is_found_between_other_lines_and_nothing_else_is_one() {
        let whole = format!("SU{}", "A".repeat(56));
        assert_eq!(said(seed, &format!("-----BEGIN-----\n {whole}\n-----END-----\n")), Ok(whole.clone()));
        for bad in ["", &whole[1..], &format!("SA{}", "A".repeat(56)), &format!("{whole}A")] {
            assert!(said(seed, bad).unwrap_err().contains("no line with the seed"), "{bad}");
        }
    }
}
