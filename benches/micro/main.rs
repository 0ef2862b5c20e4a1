//! What the parts of a decision cost: one criterion group an operation, one id a variant and size.
//!
//! `cargo bench --bench micro -- decision/` runs one group.

use criterion::{criterion_group, criterion_main};

mod by_hand;
mod columns;
mod decision;
mod floor;
mod instantiate;
mod pool;
mod settings;
mod stage;
mod wire;

criterion_group!(
    benches,
    decision::decision,
    columns::columns,
    wire::wire,
    pool::pool,
    instantiate::instantiate,
    settings::settings
);
criterion_main!(benches);
