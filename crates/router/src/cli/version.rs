//! `sgl-router --version`.

use std::sync::LazyLock;

use crate::metrics::{Families, catalogue};
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

/// The same for Prometheus.
pub(crate) fn tell_build(families: &mut Families) {
    let abi = ABI_VERSION.to_string();
    let labels = [env!("CARGO_PKG_VERSION"), env!("SGL_ROUTER_COMMIT"), &abi, env!("SGL_ROUTER_WASMTIME")];
    families.family(&catalogue::BUILD_INFO).gauge(&labels, 1.0);
}
