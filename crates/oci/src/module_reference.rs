//! How a module in a registry is named where a file could be named: `oci://HOST/REPOSITORY:TAG`.

use std::fmt;

use sgl_upstream::WorkerUrl;

use crate::sha256_digest::Sha256Digest;

const SCHEME: &str = "oci://";

/// Longest name of a repository, as registries have it.
const MAX_REPOSITORY: usize = 255;

const MAX_TAG: usize = 128;

/// A module in a registry: by a tag, which may be moved, by the digest of its manifest, or by both; then the
/// tag only tells where the digest came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModuleReference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Sha256Digest>,
}

/// Why a text is no reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "found {found:?} ({reason}); expected oci://HOST[:PORT]/REPOSITORY:TAG, with @sha256:DIGEST behind it or instead of the tag"
)]
pub struct ReferenceError {
    /// What was found, without a password.
    pub found: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl ModuleReference {
    /// True if a text that may name a file names a module in a registry instead.
    pub fn is_one(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// Takes a reference apart.
    ///
    /// # Errors
    ///
    /// [`ReferenceError`].
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let wrong = |reason| ReferenceError { found: shown(text), reason };
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| wrong("it does not begin with oci://"))?;
        let (rest, digest) = match rest.rsplit_once('@') {
            Some((rest, digest)) => {
                let digest = Sha256Digest::parse(digest);
                (rest, Some(digest.ok_or_else(|| wrong("what follows @ is no digest of SHA-256"))?))
            }
            None => (rest, None),
        };
        let (host, path) = rest.split_once('/').ok_or_else(|| wrong("it has no repository"))?;
        let (repository, tag) = match path.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        if WorkerUrl::parse(&format!("https://{host}")).is_err() || host.contains('@') {
            return Err(wrong("its host is none"));
        }
        if !is_repository(repository) {
            return Err(wrong("names of repositories are lower case letters, digits, `.`, `_`, `-` and `/`"));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("tags are 1 to 128 letters, digits, `.`, `_` and `-`"));
        }
        if tag.is_none() && digest.is_none() {
            return Err(wrong("it has neither a tag nor a digest"));
        }
        let host = host.to_ascii_lowercase();
        Ok(Self { host, repository: repository.to_owned(), tag: tag.map(str::to_owned), digest })
    }

    /// Host and port, as they are written.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The last part of the repository's name.
    pub fn stem(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or_default()
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest.
    pub fn digest(&self) -> Option<Sha256Digest> {
        self.digest
    }

    /// The same module by this digest.
    #[must_use]
    pub fn with_digest(&self, digest: Sha256Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }
}

impl fmt::Display for ModuleReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

/// What was found, without a user and a password.
fn shown(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((before, digest)) if digest.starts_with("sha256:") && !before.contains('@') => text.to_owned(),
        _ => WorkerUrl::refused(text),
    }
}

fn is_repository(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_part = |part: &str| {
        let ends = [part.bytes().next(), part.bytes().next_back()];
        ends.iter().all(|end| end.is_some_and(is_plain))
            && part.bytes().all(|byte| is_plain(byte) || b"._-".contains(&byte))
    };
    name.len() <= MAX_REPOSITORY && name.split('/').all(is_part)
}

fn is_tag(tag: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let begins = tag.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    begins && tag.len() <= MAX_TAG && tag.bytes().all(is_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn reference_is_taken_apart_and_written_as_it_was() {
        let digest = Sha256Digest::parse(DIGEST);
        for (text, host, repository, tag, by) in [
            ("oci://r.example/team/p:1.2", "r.example", "team/p", Some("1.2"), None),
            ("oci://r.example:5000/p:latest", "r.example:5000", "p", Some("latest"), None),
            ("oci://127.0.0.1:5000/p@DIGEST", "127.0.0.1:5000", "p", None, digest),
            ("oci://[::1]:5000/a-b/c__d:v1@DIGEST", "[::1]:5000", "a-b/c__d", Some("v1"), digest),
        ] {
            let text = text.replace("DIGEST", DIGEST);
            let found = ModuleReference::parse(&text).unwrap();
            assert_eq!((found.host(), found.repository()), (host, repository));
            assert_eq!((found.tag(), found.digest()), (tag, by));
            assert_eq!(found.to_string(), text);
        }
        assert_eq!(ModuleReference::parse("oci://R.Example/p:T").unwrap().to_string(), "oci://r.example/p:T");
    }

    #[test]
    fn text_that_is_no_reference_is_refused_with_what_is_wrong() {
        for (text, reason) in [
            ("http://r/p:1", "begin"),
            ("oci://r", "no repository"),
            ("oci://r/", "names of repositories"),
            ("oci://r/P:1", "names of repositories"),
            ("oci://r/a//b:1", "names of repositories"),
            ("oci://r/../b:1", "names of repositories"),
            ("oci://r/a/:1", "names of repositories"),
            ("oci:///p:1", "host"),
            ("oci://r x/p:1", "host"),
            ("oci://r/p", "neither a tag nor a digest"),
            ("oci://r/p:", "tags are"),
            ("oci://r/p:.x", "tags are"),
            ("oci://r/p@sha256:12", "digest"),
            ("oci://r/p@sha512:12", "digest"),
        ] {
            let error = ModuleReference::parse(text).unwrap_err();
            assert!(error.reason.contains(reason), "{text}: {error}");
        }
        let error = ModuleReference::parse("oci://user:secret@r/p:1").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
        let long = format!("oci://r/{}:1", "a".repeat(256));
        assert!(ModuleReference::parse(&long).is_err());
        assert!(ModuleReference::parse(&format!("oci://r/p:{}", "t".repeat(129))).is_err());
    }
}
