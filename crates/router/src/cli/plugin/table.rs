//! Plain tables and numbers for people.

use std::fmt::Display;

use sglang_router_rs::types::printable;

/// A table: columns as wide as their widest cell, two spaces apart.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    // Whatever a router sends, a cell stays one cell.
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|cell| cell.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> =
            cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    };
    line(&mut head.iter().copied());
    rows.iter().for_each(|row| line(&mut row.iter().map(String::as_str)));
    text
}

/// A time in nanoseconds, with the unit that suits it.
pub(crate) fn nanoseconds(ns: Option<u64>) -> String {
    match ns {
        None => "-".to_owned(),
        Some(ns) if ns < 10_000 => format!("{ns} ns"),
        Some(ns) if ns < 10_000_000 => format!("{} us", ns / 1000),
        Some(ns) => format!("{} ms", ns / 1_000_000),
    }
}

/// So many of them.
pub(crate) fn count(number: impl Display, one: &str) -> String {
    let number = number.to_string();
    let plural = if number == "1" { "" } else { "s" };
    format!("{number} {one}{plural}")
}

/// The start of a digest: enough to tell modules apart.
pub(crate) fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows =
            [vec!["a".to_owned(), "long cell".to_owned()], vec!["wide name".to_owned(), "b".to_owned()]];
        assert_eq!(table(&["NAME", "X"], &rows), "NAME       X\na          long cell\nwide name  b\n");
    }

    #[test]
    fn times_have_units() {
        let shown = [None, Some(950), Some(42_500), Some(31_000_000)].map(nanoseconds);
        assert_eq!(shown, ["-", "950 ns", "42 us", "31 ms"]);
    }
}
