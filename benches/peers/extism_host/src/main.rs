//! Extism with one plugin that is kept and called again and again: its fastest form. Reads numbers
//! of calls, a line each, makes as many, and answers with a line. So the calls take turns with those
//! of the other hosts, and a batch of them pays for one exchange over a pipe.
//!
//! The first line that it writes is the version of Extism.
//!
//! usage: extism_host LIBRARY MODULE WORKERS

use std::hint::black_box;
use std::io::BufRead;
use std::io::Write;

use anyhow::Context;
use peer_message::Message;
use peer_message::index;

use crate::library::Plugin;

mod library;

const USAGE: &str = "usage: extism_host LIBRARY MODULE WORKERS";

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let library = arguments.next().context(USAGE)?;
    let module = arguments.next().context(USAGE)?;
    let workers = arguments.next().context(USAGE)?.parse()?;
    let mut plugin = Plugin::new(library.as_ref(), &std::fs::read(module)?)?;
    let mut message = Message::new(workers);
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", plugin.version())?;
    stdout.flush()?;
    for line in std::io::stdin().lock().lines() {
        let calls: u32 = line?.parse()?;
        for _ in 0..calls {
            let answer = plugin.call(c"decide", message.next())?;
            anyhow::ensure!(black_box(index(answer)?) < workers, "Extism's guest chose nobody");
        }
        writeln!(stdout, "{calls}")?;
        stdout.flush()?;
    }
    Ok(())
}
