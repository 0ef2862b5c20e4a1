//! `sgl-router --version`.

use std::sync::LazyLock;

use sglang_router_rs::policies::ABI_VERSION;

/// What was built, from which commit, and by whose rules plugins run.
pub(crate) fn long() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let lines = sgl_shipped::MODULES.iter();
        let lines: Vec<String> =
            lines.map(|module| format!("\n  {} sha256:{}", module.name, module.digest)).collect();
        let none = if lines.is_empty() { " none" } else { "" };
        format!(
            "{}\ncommit: {}\nplugin ABI: {ABI_VERSION}\nwasmtime: {}\nembedded policies:{none}{}",
            env!("CARGO_PKG_VERSION"),
            env!("SGL_ROUTER_COMMIT"),
            env!("SGL_ROUTER_WASMTIME"),
            lines.concat()
        )
    });
    &TEXT
}
