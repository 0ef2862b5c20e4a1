//! `sgl-router sim-worker`: a simulated inference server.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use sgl_tools::sim::{Dialect, SimConfig, SimWorker};
use sglang_router_rs::core::WorkerRole;

/// A simulated inference server for demos, tests and load runs: OpenAI and SGLang endpoints,
/// seeded answers at a modelled pace. Prints `listening on http://…` when it accepts connections,
/// and ends on SIGINT or SIGTERM after running requests have ended.
#[derive(Args, Clone, Debug)]
pub struct SimWorkerArgs {
    /// Address or host name to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// TCP port; 0 picks a free one.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Model that is served; requests for another get 404.
    #[arg(long, default_value = "sim-model")]
    pub model: String,
    /// Seed of output lengths, words, jitter and failures.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Name of this worker, sent as header `x-sim-worker` and as `system_fingerprint`.
    #[arg(long, default_value = "sim-worker")]
    pub worker_id: String,
    /// regular, prefill (answers end after one token) or decode (prompts take no time).
    #[arg(long, default_value_t = WorkerRole::Regular)]
    pub role: WorkerRole,
    /// Milliseconds of a prefill of no token.
    #[arg(long, default_value_t = 4.0, value_parser = milliseconds)]
    pub prefill_base_ms: f64,
    /// Prompt tokens that are prefilled in a second.
    #[arg(long, default_value_t = 16_000.0)]
    pub prefill_tokens_per_second: f64,
    /// Milliseconds of a decode step of a batch of one; a batch of 64 takes about twice that.
    #[arg(long, default_value_t = 10.0, value_parser = milliseconds)]
    pub decode_ms: f64,
    /// Requests in the batch.
    #[arg(long, default_value_t = 64)]
    pub max_running: usize,
    /// Requests that may wait for the batch; further ones get 503, or what the engine makes of it
    /// (llama.cpp: they wait too).
    #[arg(long, default_value_t = 1024)]
    pub max_queued: usize,
    /// Capacity of the prefix cache in tokens; 0 switches it off.
    #[arg(long, default_value_t = 262_144)]
    pub cache_tokens: usize,
    /// The same in blocks.
    #[arg(long, conflicts_with = "cache_tokens")]
    pub kv_blocks: Option<usize>,
    /// Tokens per block of the prefix cache.
    #[arg(long, default_value_t = 16)]
    pub block_size: usize,
    /// Mean length of an answer whose request names no `max_tokens`.
    #[arg(long, default_value_t = 64)]
    pub default_tokens: u32,
    /// Longest prompt plus answer, in tokens.
    #[arg(long, default_value_t = 131_072)]
    pub context_tokens: u32,
    /// Share by which each modelled time may be shorter or longer, 0 to 1.
    #[arg(long, default_value_t = 0.05)]
    pub jitter: f64,
    /// Factor on all modelled times; 0 answers at once, without timers.
    #[arg(long, default_value_t = 1.0)]
    pub time_scale: f64,
    /// Share of requests that fail, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    pub fail_rate: f64,
    /// HTTP status of those failures.
    #[arg(long, default_value_t = 500)]
    pub fail_status: u16,
    /// Streams send this many chunks and then nothing more.
    #[arg(long)]
    pub stall_after: Option<u64>,
    /// Milliseconds that a shutdown waits for running requests. (vLLM's --shutdown-timeout is 0 unless
    /// set: its streams fall silent then.)
    #[arg(long, default_value_t = 5000.0, value_parser = milliseconds)]
    pub shutdown_grace_ms: f64,
    /// The engine whose endpoints, metrics, refusals and end it has: sglang (0.5.23), vllm (0.32) or
    /// llamacpp. Without it: SGLang's endpoints of 2025.
    #[arg(long)]
    pub engine: Option<Dialect>,
    /// Data-parallel ranks, each with a batch and a cache as given; sglang and vllm.
    #[arg(long, default_value_t = 1)]
    pub dp_size: usize,
    /// Publishes changes of the prefix caches over ZeroMQ, for sglang and vllm: `auto`, or `tcp://HOST:PORT`
    /// with an address or `*`. Rank 0 has that port, further ranks those that follow, and after them as many
    /// take questions for missed events.
    #[arg(long, value_name = "ENDPOINT")]
    pub kv_events: Option<String>,
    /// Speaks TLS with this certificate (PEM, those of its issuers behind it) and the key of `--tls-key`.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Pushes loads too, as sglang does, at the ports after those.
    #[arg(long)]
    pub push_load: bool,
}

impl From<SimWorkerArgs> for SimConfig {
    fn from(args: SimWorkerArgs) -> Self {
        // Checked by the flag's parser to be within a day.
        let duration = |ms: f64| Duration::from_secs_f64(ms / 1000.0);
        Self {
            host: args.host,
            port: args.port,
            model: args.model,
            seed: args.seed,
            worker_id: args.worker_id,
            role: args.role,
            prefill_base: duration(args.prefill_base_ms),
            prefill_tokens_per_second: args.prefill_tokens_per_second,
            decode_step: duration(args.decode_ms),
            max_running: args.max_running,
            max_queued: args.max_queued,
            cache_tokens: args
                .kv_blocks
                .map_or(args.cache_tokens, |blocks| blocks.saturating_mul(args.block_size)),
            block_tokens: args.block_size,
            default_tokens: args.default_tokens,
            context_tokens: args.context_tokens,
            jitter: args.jitter,
            time_scale: args.time_scale,
            fail_rate: args.fail_rate,
            fail_status: args.fail_status,
            stall_after: args.stall_after,
            shutdown_grace: duration(args.shutdown_grace_ms),
            engine: args.engine,
            dp_size: args.dp_size,
            kv_events: args.kv_events,
            tls_cert: args.tls_cert,
            tls_key: args.tls_key,
            push_load: args.push_load,
        }
    }
}

fn milliseconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(ms) if (0.0..=86_400_000.0).contains(&ms) => Ok(ms),
        _ => Err("expected milliseconds from 0 to 86400000 (a day)".to_owned()),
    }
}

/// Runs a simulated worker until SIGINT or SIGTERM, on a runtime of its own with one thread: one
/// worker stands for one accelerator, and several processes can share the cores. Not to be called
/// inside another runtime.
///
/// # Errors
/// Settings out of range, an address that cannot be listened on, or a closed stdout.
pub fn run(args: SimWorkerArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime of the simulated worker did not start")?;
    runtime.block_on(serve(args.into()))
}

async fn serve(config: SimConfig) -> anyhow::Result<()> {
    // Before the line is printed: whoever reads it may send a signal at once.
    let mut interrupt = handler(SignalKind::interrupt())?;
    let mut terminate = handler(SignalKind::terminate())?;
    let worker = SimWorker::start(config).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {}", worker.url())
        .and_then(|()| stdout.flush())
        .context("stdout is closed")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    worker.shutdown().await;
    Ok(())
}

fn handler(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("a signal handler could not be installed")
}
