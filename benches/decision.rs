//! A whole decision: plugin, native policy, and the bare floor under the plugin.

use criterion::criterion_group;
use criterion::criterion_main;

mod support;

criterion_group!(benches, support::decision::decision);
criterion_main!(benches);
