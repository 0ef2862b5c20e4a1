//! Makes a component with the interface of `component.wit` of a core module.
//!
//! usage: encode MODULE COMPONENT

use std::path::Path;

use anyhow::Context;
use wasi_preview1_component_adapter_provider as adapter;
use wit_component::ComponentEncoder;
use wit_component::StringEncoding;
use wit_component::embed_component_metadata;
use wit_parser::Resolve;

fn encode(module: &Path) -> anyhow::Result<Vec<u8>> {
    let mut module = std::fs::read(module).with_context(|| module.display().to_string())?;
    let mut resolve = Resolve::default();
    let package = resolve.push_str("component.wit", include_str!("component.wit"))?;
    let world = resolve.select_world(&[package], None)?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    ComponentEncoder::default()
        .module(&module)?
        .adapter(
            adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
            adapter::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
        )?
        .validate(true)
        .encode()
}

fn main() -> anyhow::Result<()> {
    let mut paths = std::env::args_os().skip(1);
    let (Some(module), Some(component), None) = (paths.next(), paths.next(), paths.next()) else {
        anyhow::bail!("usage: encode MODULE COMPONENT");
    };
    std::fs::write(component, encode(module.as_ref())?)?;
    Ok(())
}
