//! Paths that an operator has listed, so that they are passed on to workers.

use std::sync::Arc;

use crate::config::engine_calls::{engine_call, is_crooked};
use sglang_router_rs::config::Fault;

/// The paths; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardPaths(Arc<[ListedPath]>);

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ListedPath {
    /// This path.
    Exact(String),
    /// All that begins with this, which ends with `/`.
    Below(String),
}

impl ForwardPaths {
    /// Those of a list; faults have the key of the list.
    pub(crate) fn checked(list: &[String], key: &str, faults: &mut Vec<Fault>) -> Self {
        let mut read = |(position, path): (usize, &String)| match ListedPath::read(path) {
            Ok(path) => Some(path),
            Err(allowed) => {
                faults.push(Fault::value(format!("{key}[{position}]"), format!("{path:?}"), allowed));
                None
            }
        };
        Self(list.iter().enumerate().filter_map(&mut read).collect())
    }

    /// True if requests of this path are passed on. What steers an engine never is, though a listed path
    /// has it below it.
    pub fn admit(&self, path: &str) -> bool {
        let is_listed = self.0.iter().any(|listed| match listed {
            ListedPath::Exact(listed) => listed == path,
            ListedPath::Below(listed) => path.len() > listed.len() && path.starts_with(listed),
        });
        is_listed && !is_crooked(path) && engine_call(path).is_none()
    }
}

impl ListedPath {
    fn read(path: &str) -> Result<Self, String> {
        const FORM: &str = "a path such as /inference/v1/generate, or /v1/realtime/* for all below it";
        let (exact, below) = match path.strip_suffix("/*") {
            Some("") => return Err(format!("{FORM}; /* is every path, list those that you need")),
            Some(below) => (below, true),
            None => (path, false),
        };
        let is_plain = exact.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#*".contains(&byte));
        if !exact.starts_with('/') || exact == "/" || !is_plain || is_crooked(exact) {
            return Err(FORM.to_owned());
        }
        if let Some(call) = engine_call(exact) {
            return Err(format!(
                "no path by which operators steer an engine, as {call} is one: it is never passed on for \
                 clients. Operators send it to workers by POST {call} at the operators' listener"
            ));
        }
        Ok(if below { Self::Below(format!("{exact}/")) } else { Self::Exact(exact.to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &[&str]) -> (ForwardPaths, Vec<String>) {
        let list: Vec<String> = list.iter().map(|path| (*path).to_owned()).collect();
        let mut faults = Vec::new();
        let paths = ForwardPaths::checked(&list, "calls.forward_paths", &mut faults);
        (paths, faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn listed_paths_and_those_below_are_admitted_and_nothing_else_is() {
        let (paths, faults) = read(&["/inference/v1/generate", "/v1/realtime/*"]);
        assert_eq!(faults, Vec::<String>::new());
        for (path, admitted) in [
            ("/inference/v1/generate", true),
            ("/inference/v1/generate/", false),
            ("/v1/realtime", false),
            ("/v1/realtime/", false),
            ("/v1/realtime/a/b", true),
            ("/v1/realtime/../../flush_cache", false),
            ("/v1/realtime/flush_cache", false),
            ("/v1/realtime/%66lush_cache", false),
            ("/v1/realtime/sleep%0a", false),
            ("/v1/realtime/a%0a", false),
            ("/v1/realtime/models/load", false),
            ("/x", false),
        ] {
            assert_eq!(paths.admit(path), admitted, "{path}");
        }
        assert!(!ForwardPaths::default().admit("/x"));
    }

    #[test]
    fn paths_that_steer_engines_and_those_that_are_none_are_refused_with_a_sentence() {
        let list = ["/flush_cache", "/sleep/*", "/*", "/", "x", "/a b", "/a/../b", "/a?b", "/a/*/b"];
        let (paths, faults) = read(&list);
        assert_eq!(faults.len(), list.len(), "{faults:#?}");
        assert!(faults[0].starts_with("calls.forward_paths[0]: found \"/flush_cache\""), "{}", faults[0]);
        assert!(faults[0].contains("POST /flush_cache at the operators' listener"), "{}", faults[0]);
        assert_eq!(paths, ForwardPaths::default());
    }
}
