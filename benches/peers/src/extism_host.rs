//! Extism with one plugin that is kept and called again and again: its fastest form.

use std::hint::black_box;
use std::path::Path;

use extism::Manifest;
use extism::Plugin;
use extism::Wasm;

use crate::message::Message;
use crate::message::index;
use crate::rounds::Shape;

pub(crate) struct Extism {
    plugin: Plugin,
    message: Message,
}

impl Extism {
    pub(crate) fn new(module: &Path, workers: usize) -> anyhow::Result<Self> {
        let manifest = Manifest::new([Wasm::file(module)]);
        let plugin = Plugin::new(manifest, [], false)?;
        Ok(Self { plugin, message: Message::new(workers) })
    }
}

impl Shape for Extism {
    fn run(&mut self, calls: u32) -> anyhow::Result<()> {
        for _ in 0..calls {
            let answer = self.plugin.call::<&[u8], &[u8]>("decide", self.message.next())?;
            black_box(index(answer)?);
        }
        Ok(())
    }
}
