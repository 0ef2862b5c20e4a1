//! What a registry says that it wants to be shown: `www-authenticate`.

/// A way to authenticate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password.
    Basic,
    /// A token from somebody else.
    Bearer {
        /// Where from.
        realm: String,
        /// For whom.
        service: Option<String>,
        /// For what.
        scope: Option<String>,
    },
}

impl Challenge {
    /// Of one header; none if it asks for something that is not known.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let parameters = parameters(rest);
        let find =
            |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        Some(Self::Bearer { realm: find("realm")?, service: find("service"), scope: find("scope") })
    }
}

/// `name="value"` pairs with commas between them; a quoted value may hold commas.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',']).to_ascii_lowercase();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let (value, after) = after.split_once(',').unwrap_or((after, ""));
                (value.trim().to_owned(), after)
            }
        };
        found.push((name, value));
        rest = after;
    }
    found
}

/// What stands before the closing quote, and what follows it.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return (value, text.get(at + 1..).unwrap_or_default()),
            c => {
                escaped = false;
                value.push(c);
            }
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenge_is_read_with_its_parameters() {
        let header = r#"Bearer realm="https://a.example/token?x=1",service="r, \"s\"", scope="repository:p:pull,push""#;
        let expected = Challenge::Bearer {
            realm: "https://a.example/token?x=1".to_owned(),
            service: Some("r, \"s\"".to_owned()),
            scope: Some("repository:p:pull,push".to_owned()),
        };
        assert_eq!(Challenge::parse(header), Some(expected));
        let bare = Challenge::parse("bearer Realm=https://a/t, error=\"x\"");
        let expected = Challenge::Bearer { realm: "https://a/t".to_owned(), service: None, scope: None };
        assert_eq!(bare, Some(expected));
        assert_eq!(Challenge::parse("Basic realm=\"r\""), Some(Challenge::Basic));
        for unknown in ["", "Digest realm=\"r\"", "Bearer", "Bearer service=\"s\"", "Bearer realm"] {
            assert_eq!(Challenge::parse(unknown), None, "{unknown}");
        }
    }
}
