//! Credentials as `docker login` and `podman login` leave them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::credential_helper;
use crate::login::Login;
use crate::registry_error::RegistryError;

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// How docker names its own registry in these files.
const DOCKER_HUB: &str = "index.docker.io";

/// A file of credentials.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DockerConfig {
    auths: BTreeMap<String, DockerAuth>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DockerAuth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// The credentials for a repository: of the given file, else of the first of docker's and podman's files
/// that has any for it. Reads files, and may start a helper.
///
/// # Errors
///
/// [`RegistryError::Credentials`] if a file or a helper cannot be used.
pub(crate) fn login(
    file: Option<&Path>,
    host: &str,
    repository: &str,
) -> Result<Option<Login>, RegistryError> {
    if let Some(file) = file {
        let config = read(file)?.ok_or_else(|| bad(file, "there is no such file"))?;
        return config.login(file, host, repository);
    }
    for file in usual_files() {
        if let Some(config) = read(&file)?
            && let Some(login) = config.login(&file, host, repository)?
        {
            return Ok(Some(login));
        }
    }
    Ok(None)
}

/// Where docker and podman keep them, those first that are named by the environment.
fn usual_files() -> Vec<PathBuf> {
    let of = |variable: &str, below: &str| {
        let dir = std::env::var_os(variable).filter(|value| !value.is_empty())?;
        Some(if below.is_empty() { dir.into() } else { Path::new(&dir).join(below) })
    };
    let found = [
        of("REGISTRY_AUTH_FILE", ""),
        of("DOCKER_CONFIG", "config.json").or_else(|| of("HOME", ".docker/config.json")),
        of("XDG_RUNTIME_DIR", "containers/auth.json"),
        of("HOME", ".config/containers/auth.json"),
    ];
    found.into_iter().flatten().collect()
}

fn read(file: &Path) -> Result<Option<DockerConfig>, RegistryError> {
    let open = match File::open(file) {
        Ok(open) => open,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(bad(file, error)),
    };
    let mut text = Vec::new();
    open.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(|error| bad(file, error))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(bad(file, format!("it has more than {MAX_BYTES} bytes")));
    }
    // The place only: the error's own text may hold what was found there.
    let place = |error: serde_json::Error| format!("no JSON of docker's, line {}", error.line());
    serde_json::from_slice(&text).map(Some).map_err(|error| bad(file, place(error)))
}

fn bad(file: &Path, reason: impl ToString) -> RegistryError {
    RegistryError::Credentials { place: file.display().to_string(), reason: reason.to_string() }
}

impl DockerConfig {
    fn login(&self, file: &Path, host: &str, repository: &str) -> Result<Option<Login>, RegistryError> {
        for name in names(host, repository) {
            if let Some(helper) = of_host(&self.cred_helpers, &name) {
                return credential_helper::ask(helper, &server(&name));
            }
            if let Some(auth) = of_host(&self.auths, &name).filter(|auth| !auth.is_empty()) {
                let no_pair = || bad(file, format!("`auth` of {name} is no USER:PASSWORD in base64"));
                return auth.login().map(Some).ok_or_else(no_pair);
            }
        }
        match &self.creds_store {
            Some(helper) => credential_helper::ask(helper, &server(host)),
            None => Ok(None),
        }
    }
}

impl DockerAuth {
    fn is_empty(&self) -> bool {
        let fields = [&self.auth, &self.username, &self.identitytoken, &self.registrytoken];
        fields.iter().all(|field| field.is_empty())
    }

    fn login(&self) -> Option<Login> {
        if !self.identitytoken.is_empty() {
            return Some(Login::Refresh(self.identitytoken.clone()));
        }
        if !self.registrytoken.is_empty() {
            return Some(Login::Bearer(self.registrytoken.clone()));
        }
        if self.auth.is_empty() {
            let (user, password) = (self.username.clone(), self.password.clone());
            return Some(Login::Password { user, password });
        }
        Login::decode(&self.auth)
    }
}

/// What an entry for a repository may be called, the most exact first: `host/a/b`, `host/a`, `host`.
fn names(host: &str, repository: &str) -> Vec<String> {
    let mut name = format!("{host}/{repository}");
    let mut all = vec![name.clone()];
    while let Some((shorter, _)) = name.rsplit_once('/').map(|(shorter, rest)| (shorter.to_owned(), rest)) {
        all.push(shorter.clone());
        name = shorter;
    }
    if host == "docker.io" {
        all.push(DOCKER_HUB.to_owned());
    }
    all
}

/// What helpers call a registry.
fn server(host: &str) -> String {
    if host == "docker.io" || host == DOCKER_HUB {
        format!("https://{DOCKER_HUB}/v1/")
    } else {
        host.to_owned()
    }
}

/// The entry of a name; those of docker may be URLs.
fn of_host<'a, T>(entries: &'a BTreeMap<String, T>, name: &str) -> Option<&'a T> {
    let bare = |key: &str| {
        let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        let key = key.trim_end_matches('/');
        key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key).to_owned()
    };
    entries.get(name).or_else(|| entries.iter().find(|(key, _)| bare(key) == name).map(|(_, entry)| entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str, password: &str) -> Option<Login> {
        Some(Login::Password { user: user.to_owned(), password: password.to_owned() })
    }

    #[test]
    fn most_exact_entry_of_a_file_counts_and_secrets_are_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        // u:p, a:b and hub:h.
        let text = r#"{"auths": {"r.example:5000": {"auth": "dTpw"}, "r.example:5000/team": {"auth": "YTpi"},
            "https://index.docker.io/v1/": {"auth": "aHViOmg="}, "empty.example": {},
            "token.example": {"identitytoken": "t"}, "bad.example": {"auth": "!secret!"}}}"#;
        std::fs::write(&file, text).unwrap();
        let of = |host: &str, repository: &str| login(Some(&file), host, repository);
        assert_eq!(of("r.example:5000", "p").unwrap(), password("u", "p"));
        assert_eq!(of("r.example:5000", "team/p").unwrap(), password("a", "b"));
        assert_eq!(of("docker.io", "library/p").unwrap(), password("hub", "h"));
        assert_eq!(of("token.example", "p").unwrap(), Some(Login::Refresh("t".to_owned())));
        for none in ["r.example", "empty.example", "other.example"] {
            assert_eq!(of(none, "p").unwrap(), None, "{none}");
        }
        let error = of("bad.example", "p").unwrap_err().to_string();
        assert!(error.contains("config.json") && !error.contains("secret"), "{error}");
        assert!(!format!("{:?}", of("r.example:5000", "p")).contains("\"p\""));
    }

    #[test]
    fn file_that_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        let missing = login(Some(&file), "r", "p").unwrap_err().to_string();
        assert!(missing.contains("config.json") && missing.contains("no such file"), "{missing}");
        std::fs::write(&file, "{\"auths\": {\n\"r\": {\"auth\": secret}}}").unwrap();
        let broken = login(Some(&file), "r", "p").unwrap_err().to_string();
        assert!(broken.contains("line 2") && !broken.contains("secret"), "{broken}");
    }
}
