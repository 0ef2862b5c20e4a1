//! Which Envoy has loaded the module.
//!
//! The ABI has no call that tells its version, and Envoy only warns of a module that was made for another. So
//! Envoy's own program is asked, once, when the module is loaded.

use std::process::{Command, Stdio};

/// The Envoy whose ABI is declared in [`crate::abi`]: any patch release of it.
const SUPPORTED: &str = "1.40";

/// Says which Envoy this is, where its program may not be started again.
const VARIABLE: &str = "SGL_POLICY_ENVOY_VERSION";

/// Why the module does not serve this Envoy.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum VersionError {
    /// It is another one.
    #[error(
        "this module is made for Envoy {SUPPORTED}.x, and this is Envoy {found}: use the module of a release that \
         supports it"
    )]
    Other {
        /// What it says it is.
        found: String,
    },
    /// It does not say.
    #[error(
        "this module is made for Envoy {SUPPORTED}.x, and this Envoy's version cannot be learnt ({reason}): set \
         {VARIABLE} to it"
    )]
    Unknown {
        /// Why not.
        reason: String,
    },
}

/// Checks the Envoy that this process is.
///
/// # Errors
///
/// [`VersionError`].
pub(crate) fn check() -> Result<(), VersionError> {
    match std::env::var(VARIABLE) {
        Ok(version) => check_version(&version),
        Err(_) => check_version(&version_in(&said_by_program()?)?),
    }
}

/// The whole output of `envoy --version`.
fn said_by_program() -> Result<String, VersionError> {
    let unknown = |reason: String| VersionError::Unknown { reason };
    // By this name and not by its path: an upgrade may have put another program there.
    let this = if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() };
    let mut command =
        Command::new(this.map_err(|error| unknown(format!("its program is not known: {error}")))?);
    command.arg("--version").stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().map_err(|error| unknown(format!("its program does not start: {error}")))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The version in `PROGRAM  version: COMMIT/VERSION/STATE/BUILD/TLS`.
fn version_in(said: &str) -> Result<String, VersionError> {
    let build = said.rsplit_once("version:").map(|(_, build)| build.trim());
    let version = build.and_then(|build| build.split('/').nth(1)).filter(|version| !version.is_empty());
    let reason = || format!("`--version` said {:?}", said.trim());
    version.map(str::to_owned).ok_or_else(|| VersionError::Unknown { reason: reason() })
}

fn check_version(version: &str) -> Result<(), VersionError> {
    let is_supported =
        version.strip_prefix(SUPPORTED).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']));
    if is_supported { Ok(()) } else { Err(VersionError::Other { found: version.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_found_in_what_envoy_says() {
        let said = "\n/usr/bin/envoy  version: 9e5580933739/1.40.0/Clean/RELEASE/BoringSSL\n\n";
        assert_eq!(version_in(said).unwrap(), "1.40.0");
        assert!(matches!(version_in("Usage: envoy"), Err(VersionError::Unknown { .. })));
    }

    #[test]
    fn only_releases_of_the_supported_line_are_taken() {
        for version in ["1.40.0", "1.40.3", "1.40.0-dev", "1.40"] {
            assert_eq!(check_version(version), Ok(()), "{version}");
        }
        for version in ["1.4.0", "1.39.3", "1.41.0", "1.400.1", ""] {
            let error = check_version(version).unwrap_err().to_string();
            assert!(error.contains("made for Envoy 1.40.x") && error.contains(version), "{error}");
        }
    }
}
