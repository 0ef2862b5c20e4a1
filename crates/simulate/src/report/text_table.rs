//! Tables as text.

use std::fmt::Write;

use crate::report::seed_spread::SeedSpread;

/// Rows with columns as wide as what is in them: the first one to the left, numbers to the right.
pub(crate) fn text_table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max())
        .map(Option::unwrap_or_default)
        .collect();
    let mut out = String::new();
    for row in rows {
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // A string takes what is written.
            let _ = if at == 0 { write!(out, "{cell:width$}") } else { write!(out, "  {cell:>width$}") };
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

/// A figure over so many seeds: the mean, and how far from it the furthest is. `-` where there is none.
pub(crate) fn spread_cell(spread: Option<SeedSpread>, seeds: usize, is_share: bool) -> String {
    let Some(spread) = spread else { return "-".to_owned() };
    let digits = |value: f64| {
        let digits = if is_share || value < 10.0 { 3 } else { 1 };
        format!("{value:.digits$}")
    };
    let off = (spread.max - spread.mean).max(spread.mean - spread.min);
    match seeds {
        1 => digits(spread.mean),
        _ => format!("{} ±{}", digits(spread.mean), digits(off)),
    }
}
