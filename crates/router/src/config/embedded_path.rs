//! How a module that the router brings along is named where a file could be named: `embedded:NAME`.

const SCHEME: &str = "embedded:";

/// Names a module.
pub(crate) fn embedded_path(name: &str) -> String {
    format!("{SCHEME}{name}")
}

/// The module that is named, unless it is a file. A file of such a name is meant by `./embedded:NAME`.
pub(crate) fn embedded_name(path: &str) -> Option<&str> {
    path.strip_prefix(SCHEME)
}
