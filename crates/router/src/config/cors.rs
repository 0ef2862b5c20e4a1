//! Web pages of other places that may read answers (CORS).

use http::HeaderValue;

use sglang_router_rs::config::Fault;

/// Where such pages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedOrigins {
    /// Whether they may come from anywhere.
    pub any: bool,
    /// The origins otherwise.
    pub origins: Box<[HeaderValue]>,
}

impl AllowedOrigins {
    /// Those of a list; `None` if it is empty. Faults have the key of the list.
    pub(crate) fn checked(list: &[String], key: &str, faults: &mut Vec<Fault>) -> Option<Self> {
        let mut origins = Vec::new();
        for (position, text) in list.iter().enumerate() {
            match origin(text) {
                Some(origin) => origins.push(origin),
                None => faults.push(Fault::value(
                    format!("{key}[{position}]"),
                    format!("{text:?}"),
                    "an origin such as https://chat.example.com, without a path, or * for any",
                )),
            }
        }
        (!list.is_empty()).then(|| Self { any: list.iter().any(|text| text == "*"), origins: origins.into() })
    }
}

fn origin(text: &str) -> Option<HeaderValue> {
    let rest = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let is_host = |host: &str| !host.is_empty() && !host.contains(['/', '?', '#', '@', '*', ' ', ',']);
    // Browsers write hosts in lower case.
    let is_origin =
        text == "*" || rest.is_some_and(|host| is_host(host) && text == text.to_ascii_lowercase());
    HeaderValue::from_str(text).ok().filter(|_| is_origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_told_from_what_is_none() {
        let mut faults = Vec::new();
        let mut read = |list: &[&str]| {
            let list: Vec<String> = list.iter().map(|text| (*text).to_owned()).collect();
            AllowedOrigins::checked(&list, "calls.cors_allowed_origins", &mut faults)
        };
        assert_eq!(read(&[]), None);
        assert!(read(&["*"]).is_some_and(|allowed| allowed.any));
        let some = read(&["https://a.example", "http://localhost:3000"]).unwrap();
        assert_eq!((some.any, some.origins.len()), (false, 2));
        for odd in
            ["a.example", "https://a.example/", "https://", "ftp://a", "https://A.example", "https://*.a"]
        {
            read(&[odd]);
        }
        assert_eq!(faults.len(), 6, "{faults:?}");
    }
}
