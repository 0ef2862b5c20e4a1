//! Sends requests through a running router, replaces the module of its plugin while they flow,
//! and shows what came of it. `scripts/demo.sh` starts what it needs.

mod client;
mod page;
mod report;
mod traffic;

use std::io;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;

use crate::client::{Client, Worker};
use crate::page::Page;
use crate::report::{Report, Swap};
use crate::traffic::Traffic;

/// How long all workers may take to become healthy.
const READY: Duration = Duration::from_secs(60);

#[derive(Debug, Parser)]
struct Args {
    /// Where the router listens for clients, as 127.0.0.1:30000
    #[arg(long)]
    router: String,
    /// Where it listens for operators
    #[arg(long)]
    admin: String,
    /// Where it listens for Prometheus
    #[arg(long)]
    metrics: String,
    /// The plugin that is its policy
    #[arg(long)]
    plugin: String,
    /// The module that replaces that plugin's
    #[arg(long)]
    replacement: PathBuf,
    /// Requests to send
    #[arg(long, default_value_t = 600)]
    requests: usize,
    /// How many of them are under way at a time
    #[arg(long, default_value_t = 16)]
    at_a_time: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut out = io::stdout();
    let client = Client::new(&args.router, &args.admin, &args.metrics);
    let workers = all_healthy(&client).await?;
    let module = std::fs::read(&args.replacement)
        .with_context(|| format!("{} cannot be read", args.replacement.display()))?;
    let replacement = stem(&args.replacement);

    writeln!(
        out,
        "{} requests, every other one streamed, {} at a time; half-way, the module of {} is replaced by {}",
        args.requests, args.at_a_time, args.plugin, replacement
    )?;
    let before = client.plugin(&args.plugin).await?;
    let traffic = Arc::new(Traffic::new(client.clone(), args.requests));
    let flowing = traffic.start(args.at_a_time);
    traffic.half_way().await;
    let swap = replace(&client, &traffic, &args.plugin, module).await?;
    let tally = flowing.await?;

    let after = client.plugin(&args.plugin).await?;
    let page = Page::parse(&client.metrics().await?);
    let report = Report {
        plugin: &args.plugin,
        replacement: &replacement,
        tally: &tally,
        workers: &workers,
        before: &before,
        after: &after,
        page: &page,
        swap,
    };
    report.write(&mut out)?;
    anyhow::ensure!(tally.failures.is_empty(), "{} requests failed", tally.failures.len());
    Ok(())
}

/// The workers, once the router has found all of them healthy.
async fn all_healthy(client: &Client) -> anyhow::Result<Vec<Worker>> {
    let began = Instant::now();
    loop {
        let workers = client.workers().await?;
        if !workers.is_empty() && workers.iter().all(|worker| worker.healthy) {
            return Ok(workers);
        }
        anyhow::ensure!(began.elapsed() < READY, "not all workers became healthy: {workers:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Replaces the module, and tells the traffic so.
async fn replace(client: &Client, traffic: &Traffic, plugin: &str, module: Vec<u8>) -> anyhow::Result<Swap> {
    let in_flight = traffic.begin_swap();
    let began = Instant::now();
    client.replace(plugin, module).await?;
    let took = began.elapsed();
    traffic.end_swap();
    Ok(Swap { took, in_flight })
}

/// A file's name without its ending.
fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}
