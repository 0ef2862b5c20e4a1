//! From the text of a TOML file to a value, with every fault of syntax and type.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use crate::config::near_names::nearest_first;
use sgl_upstream::without_user;
use sglang_router_rs::config::Fault;

/// Faults of syntax that are told of a file: with more, it is no TOML at all, such as a certificate.
const MOST_SYNTAX_FAULTS: usize = 3;

/// One step on the way to a value.
#[derive(Clone, Debug, PartialEq)]
enum PathStep {
    Key(String),
    Item(usize),
}

/// Reads `text`. With faults, the value holds defaults in the places of what could not be read,
/// so that its other parts can still be checked; with faults of syntax it is all defaults.
///
/// The deserializer stops at the first fault. So what it points at is taken out of the document,
/// and it starts again, until nothing is left to complain of.
pub(crate) fn read<T: for<'de> Deserialize<'de> + Default>(text: &str) -> (T, Vec<Fault>) {
    let (mut document, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        let fault = |error: &toml::de::Error| {
            Fault::text(String::new(), line(text, error.span().as_ref()), without_user(error.message()))
        };
        let mut faults: Vec<Fault> = syntax.iter().take(MOST_SYNTAX_FAULTS).map(fault).collect();
        if let Some(more @ 1..) = syntax.len().checked_sub(MOST_SYNTAX_FAULTS) {
            faults.push(Fault::text(
                String::new(),
                None,
                format!("{more} more such faults: is this a TOML file?"),
            ));
        }
        return (T::default(), faults);
    }
    let mut faults = Vec::new();
    loop {
        let error = match T::deserialize(Deserializer::from(document.clone())) {
            Ok(value) => return (value, faults),
            Err(error) => error,
        };
        let way = error.span().and_then(|span| find(document.get_ref(), &span));
        let path = way.as_deref().map(shown).unwrap_or_default();
        let told = nearest_first(&without_user(error.message()));
        faults.push(Fault::text(path, line(text, error.span().as_ref()), told));
        let removed = way.is_some_and(|way| remove(document.get_mut(), &way));
        if !removed {
            return (T::default(), faults);
        }
    }
}

/// The line, from 1, on which a span starts.
fn line(text: &str, span: Option<&Range<usize>>) -> Option<usize> {
    let before = text.get(..span?.start)?;
    Some(before.bytes().filter(|byte| *byte == b'\n').count() + 1)
}

fn shown(way: &[PathStep]) -> String {
    let mut path = String::new();
    for step in way {
        match step {
            PathStep::Key(key) if path.is_empty() => path.push_str(key),
            PathStep::Key(key) => path.extend([".", key]),
            PathStep::Item(item) => path.push_str(&format!("[{item}]")),
        }
    }
    path
}

/// The way to the deepest key or value that has exactly this span.
fn find(table: &DeTable<'_>, span: &Range<usize>) -> Option<Vec<PathStep>> {
    table.iter().find_map(|(key, value)| {
        let step = PathStep::Key(key.get_ref().to_string());
        let inner = find_in_value(value, span);
        let here = key.span() == *span || value.span() == *span;
        inner.or_else(|| here.then(Vec::new)).map(|rest| std::iter::once(step).chain(rest).collect())
    })
}

fn find_in_value(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> Option<Vec<PathStep>> {
    match value.get_ref() {
        DeValue::Table(table) => find(table, span),
        DeValue::Array(items) => items.iter().enumerate().find_map(|(item, value)| {
            let inner = find_in_value(value, span);
            let here = value.span() == *span;
            let rest = inner.or_else(|| here.then(Vec::new))?;
            Some(std::iter::once(PathStep::Item(item)).chain(rest).collect())
        }),
        _ => None,
    }
}

/// Removes the value at the end of the way. Without an item of an array the others would have other
/// numbers, so the whole array is removed then.
fn remove(table: &mut DeTable<'_>, way: &[PathStep]) -> bool {
    let Some((PathStep::Key(name), rest)) = way.split_first() else { return false };
    let Some(key) = table.keys().find(|key| key.get_ref() == name).cloned() else { return false };
    let inside = match table.get_mut(&key).map(Spanned::get_mut) {
        Some(DeValue::Table(inner)) if !rest.is_empty() => remove(inner, rest),
        Some(DeValue::Array(items)) if rest.len() > 1 => remove_in_array(items, rest),
        _ => false,
    };
    inside || table.remove(&key).is_some()
}

fn remove_in_array(items: &mut DeArray<'_>, way: &[PathStep]) -> bool {
    let Some((PathStep::Item(item), rest)) = way.split_first() else { return false };
    match items.get_mut(*item).map(Spanned::get_mut) {
        Some(DeValue::Table(table)) => remove(table, rest),
        Some(DeValue::Array(inner)) if rest.len() > 1 => remove_in_array(inner, rest),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::router::RouterConfig;

    fn faults(text: &str) -> Vec<String> {
        read::<RouterConfig>(text).1.iter().map(Fault::to_string).collect()
    }

    #[test]
    fn every_unknown_key_and_wrong_type_is_reported_with_its_path_and_line() {
        let text = r#"
policy = 5
polcy = "x"
[server]
port = "many"
hots = "a"
[[workers]]
url = "http://a"
[[workers]]
url = "http://b"
weight = "heavy"
role = "boss"
[[plugins]]
name = "p"
options = { min_warm = -1, breaker = { failures = "few" } }
allowed_syscalls = ["a", 7]
"#;
        let found = faults(text);
        let expected = [
            ("policy (line 2)", "integer `5`"),
            ("polcy (line 3)", "unknown field `polcy`, expected one of `policy`, "),
            ("server.port (line 5)", "string \"many\""),
            ("server.hots (line 6)", "unknown field `hots`"),
            ("workers[1].weight (line 11)", "string \"heavy\""),
            ("workers[1].role (line 12)", "unknown variant `boss`"),
            ("plugins[0].options.min_warm (line 15)", "-1"),
            ("plugins[0].options.breaker.failures (line 15)", "string \"few\""),
            ("plugins[0].allowed_syscalls[1] (line 16)", "integer `7`"),
        ];
        for (path, problem) in expected {
            assert!(
                found.iter().any(|fault| fault.starts_with(path) && fault.contains(problem)),
                "{path}: {problem} is missing in {found:#?}"
            );
        }
        assert_eq!(found.len(), expected.len(), "{found:#?}");
    }

    #[test]
    fn what_is_right_is_kept_beside_what_is_wrong() {
        let (config, faults) =
            read::<RouterConfig>("policy = \"random\"\n[server]\nport = true\nhost = \"::1\"");
        assert_eq!(faults.len(), 1);
        assert_eq!((config.policy.as_str(), config.server.host.as_str()), ("random", "::1"));
        assert_eq!(config.server.port, 30_000, "the default stands in for what could not be read");
    }

    #[test]
    fn file_that_is_no_toml_is_told_in_a_few_lines() {
        let found = faults(&"MIIB+/= not a key\n".repeat(40));
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(found[3].contains(" more such faults"), "{found:#?}");
        assert!(faults("no key\n").iter().all(|fault| !fault.contains("more such")));
    }

    #[test]
    fn syntax_faults_are_all_reported_with_their_lines() {
        let found = faults("policy = \n[server\nport = 1\n");
        assert!(found.iter().any(|fault| fault.starts_with("line 1:")), "{found:#?}");
        assert!(found.iter().any(|fault| fault.starts_with("line 2:")), "{found:#?}");
    }
}
