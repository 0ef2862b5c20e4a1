//! Faults of names that are none, told with the nearest name first.

use strsim::damerau_levenshtein;

/// What stands between the name that was found and those that there are, in serde's words.
const BETWEEN: &str = "`, expected ";

/// What serde says of an unknown field or variant, with the names that there are in the order of how near they
/// are to the one that was found, so that the one that was meant comes first; anything else as it is.
pub(crate) fn nearest_first(message: &str) -> String {
    let sorted = || {
        let (before, names) = message.split_once(BETWEEN)?;
        let (_, found) = before.split_once('`')?;
        let list = names.strip_prefix("one of ").unwrap_or(names);
        // Names and what is between them, by turns.
        let parts: Vec<&str> = list.split('`').collect();
        let mut names: Vec<&str> = parts.iter().skip(1).step_by(2).copied().collect();
        let last = parts.last().filter(|_| parts.len() % 2 == 1 && parts.first() == Some(&""))?;
        names.sort_by_key(|name| damerau_levenshtein(found, name));
        let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
        let head = if names.len() > 2 { "one of " } else { "" };
        let between = if names.len() > 2 { ", " } else { " or " };
        Some(format!("{before}{BETWEEN}{head}{}{last}", names.join(between)))
    };
    sorted().unwrap_or_else(|| message.to_owned())
}

/// The names that this one may be a slip of, the nearest first: at most a third of it is otherwise.
pub(crate) fn nearest<'a>(found: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let most = (found.chars().count() / 3).max(1);
    let mut near: Vec<(usize, &str)> =
        names.map(|name| (damerau_levenshtein(found, name), name)).filter(|(far, _)| *far <= most).collect();
    near.sort();
    near.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slip_of_a_name_is_told_from_another_name() {
        let names = || ["http://a:8001", "http://a:8002", "http://elsewhere:1"].into_iter();
        assert_eq!(nearest("http://a:8003", names()), ["http://a:8001", "http://a:8002"]);
        assert_eq!(nearest("http://quite.another:9", names()), [""; 0]);
    }

    #[test]
    fn name_that_was_meant_comes_first_and_other_faults_stay_as_they_are() {
        for (message, expected) in [
            (
                "unknown field `wieght`, expected one of `url`, `role`, `weight` at line 3",
                "unknown field `wieght`, expected one of `weight`, `url`, `role` at line 3",
            ),
            (
                "unknown field `hots`, expected `port` or `host`",
                "unknown field `hots`, expected `host` or `port`",
            ),
            ("unknown variant `x`, expected `y`", "unknown variant `x`, expected `y`"),
            ("unknown field `x`, there are no fields", "unknown field `x`, there are no fields"),
            ("invalid type: string \"a\", expected u16", "invalid type: string \"a\", expected u16"),
            ("odd `a`, expected b `c`", "odd `a`, expected b `c`"),
        ] {
            assert_eq!(nearest_first(message), expected);
        }
    }
}
