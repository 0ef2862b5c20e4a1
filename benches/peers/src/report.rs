//! What was measured, as a table for people and as JSON.

use std::fmt::Write;

use serde_json::Value;
use serde_json::json;

use crate::rounds::Measured;

/// The shapes of one number of workers; the first is what the others are compared with, the second
/// the same on a fiber.
pub(crate) struct Size {
    pub(crate) workers: usize,
    pub(crate) bytes: usize,
    pub(crate) measured: Vec<Measured>,
}

impl Size {
    fn rows(&self) -> impl Iterator<Item = (&Measured, f64, f64)> {
        let base = self.measured.first();
        let fiber = self.measured.get(1);
        let ratio = |row: &Measured, base: Option<&Measured>| base.map_or(f64::NAN, |base| row.ratio(base));
        self.measured.iter().map(move |row| (row, ratio(row, base), ratio(row, fiber)))
    }
}

pub(crate) fn table(sizes: &[Size]) -> String {
    let mut text = String::new();
    for size in sizes {
        let _ = writeln!(text, "{} workers, {} bytes\n", size.workers, size.bytes);
        let _ = writeln!(text, "{:<58}{:>12}{:>11}{:>11}", "", "a decision", "to sync", "to fiber");
        for (row, sync, fiber) in size.rows() {
            let time = time(row.median());
            let _ = writeln!(text, "{:<58}{time:>12}{sync:>10.1}x{fiber:>10.1}x", row.name);
        }
        text.push('\n');
    }
    text
}

fn time(nanoseconds: f64) -> String {
    if nanoseconds < 1000.0 {
        format!("{nanoseconds:.0} ns")
    } else {
        format!("{:.2} µs", nanoseconds / 1000.0)
    }
}

pub(crate) fn json(extism: &str, sizes: &[Size]) -> Value {
    let row = |(row, sync, fiber): (&Measured, f64, f64)| {
        json!({
            "name": row.name,
            "median_ns": row.median(),
            "to_sync": sync,
            "to_fiber": fiber,
            "rounds_ns": row.rounds,
        })
    };
    let size = |size: &Size| {
        json!({
            "workers": size.workers,
            "message_bytes": size.bytes,
            "shapes": size.rows().map(row).collect::<Vec<_>>(),
        })
    };
    json!({ "extism": extism, "sizes": sizes.iter().map(size).collect::<Vec<_>>() })
}
