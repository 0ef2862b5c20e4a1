//! Comparisons that criterion is no form for: kinds of rounds that alternate in one run, quantiles,
//! processor time, resident memory. Shown are medians over the rounds, and their ratios.
//!
//! `cargo bench --bench runs [-- PART...]`, parts: swap, threads, neighbour, isolation, footprint, trace.
//! Under `cargo test` one short round of each.
#![expect(clippy::print_stdout, reason = "a benchmark reports on standard output")]

use crate::stage::Length;

mod by_hand;
mod footprint;
mod isolation;
mod neighbour;
mod stage;
mod swap;
mod threads;
mod trace;

/// A part and its name.
type Part = (&'static str, fn(Length));

const PARTS: [Part; 6] = [
    ("swap", swap::run),
    ("threads", threads::run),
    ("neighbour", neighbour::run),
    ("isolation", isolation::run),
    ("footprint", footprint::run),
    ("trace", trace::run),
];

fn main() {
    let mut length = Length::Short;
    let mut wanted = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--bench" => length = Length::Full,
            name if PARTS.iter().any(|(part, _)| *part == name) => wanted.push(argument),
            // Flags of cargo's test harness.
            _ => {}
        }
    }
    for (name, run) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            println!("== {name}");
            run(length);
        }
    }
}
