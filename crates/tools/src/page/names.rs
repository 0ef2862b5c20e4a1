//! Names of what is compared, in tables and beside plots.

use std::fmt::Write;

use crate::page::svg::{escaped, line_class};

/// A name in a narrow cell of a table: a line may end after a part of it, and nowhere else.
pub fn breakable(name: &str) -> String {
    let mut out = escaped(name);
    for end in ["_", ":", "/", "="] {
        out = out.replace(end, &format!("{end}<wbr>"));
    }
    out
}

/// Which line of a plot belongs to which name. A name stays beside its line.
pub fn key<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut out = "<p class=\"keys\">".to_owned();
    for (number, name) in names.enumerate() {
        // A string takes what is written.
        let _ = write!(
            out,
            "<span><svg class=\"key\" viewBox=\"0 0 24 6\"><polyline class=\"{}\" points=\"0,3 24,3\"/></svg>{}</span> ",
            line_class(number),
            escaped(name)
        );
    }
    out.push_str("</p>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_break_between_their_parts_only_and_cannot_break_out() {
        assert_eq!(breakable("smg:cache_aware"), "smg:<wbr>cache_<wbr>aware");
        assert_eq!(breakable("<b>"), "&lt;b&gt;");
    }

    #[test]
    fn no_two_of_a_dozen_names_have_the_same_line() {
        let names: Vec<String> = (0..12).map(|number| format!("<{number}>")).collect();
        let key = key(names.iter().map(String::as_str));
        let mut classes: Vec<&str> =
            key.split("polyline class=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        classes.sort_unstable();
        classes.dedup();
        assert_eq!((classes.len(), key.contains("<0>")), (12, false), "{key}");
    }
}
