//! Extism with one plugin that is kept and called again and again: its fastest form. Reads numbers
//! of calls, a line each, makes as many, and answers with a line. So the calls take turns with those
//! of the other hosts, and a batch of them pays for one exchange over a pipe.
//!
//! usage: extism_host MODULE WORKERS

use std::hint::black_box;
use std::io::BufRead;
use std::io::Write;

use anyhow::Context;
use extism::Manifest;
use extism::Plugin;
use extism::Wasm;
use peer_message::Message;
use peer_message::index;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let module = arguments.next().context("usage: extism_host MODULE WORKERS")?;
    let workers = arguments.next().context("usage: extism_host MODULE WORKERS")?.parse()?;
    let mut plugin = Plugin::new(Manifest::new([Wasm::file(module)]), [], false)?;
    let mut message = Message::new(workers);
    let mut stdout = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let calls: u32 = line?.parse()?;
        for _ in 0..calls {
            let answer = plugin.call::<&[u8], &[u8]>("decide", message.next())?;
            anyhow::ensure!(black_box(index(answer)?) < workers, "Extism's guest chose nobody");
        }
        writeln!(stdout, "{calls}")?;
        stdout.flush()?;
    }
    Ok(())
}
