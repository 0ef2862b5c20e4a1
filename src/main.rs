//! The `sgl-router` binary.

use clap::Parser;
use sglang_router_rs::cli::sim_worker;
use sglang_router_rs::cli::sim_worker::SimWorkerArgs;

#[derive(Parser)]
#[command(version, about)]
enum Command {
    SimWorker(SimWorkerArgs),
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::SimWorker(args) => sim_worker::run(args),
    }
}
