//! A router with workers of its own: they implement [`Worker`], a decision is an index into them, and
//! the policy is told what came of each request. README.md speaks of it.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use sglang_router_rs::core::Worker;
use sglang_router_rs::policies::{LoadBalancingPolicy, PolicyFactory, RequestCompletion};
use sglang_router_rs::policies::{SelectWorkerInfo, WasmPolicyConfig};

/// What the router knows of an inference server.
#[derive(Debug)]
struct Server {
    url: String,
    in_flight: AtomicUsize,
}

impl Worker for Server {
    fn url(&self) -> &str {
        &self.url
    }

    fn is_healthy(&self) -> bool {
        true // What the router's own health checks say.
    }

    fn load(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn increment_load(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    fn decrement_load(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = |url: &str| {
        Arc::new(Server { url: url.to_owned(), in_flight: AtomicUsize::new(0) }) as Arc<dyn Worker>
    };
    let servers = [server("http://10.0.0.1:30000"), server("http://10.0.0.2:30000")];
    let mut factory = PolicyFactory::new();
    let config = WasmPolicyConfig::new("my_policy", "dist/plugins/least_connections.wasm");
    factory.load_wasm_plugin(config).await?;
    let policy = factory.create_by_name("my_policy").ok_or("it is loaded")?;

    let began = Instant::now();
    let info = SelectWorkerInfo { request_text: Some("Hello"), ..SelectWorkerInfo::default() };
    let decision = policy.select_worker_async(&servers, &info).await?;
    let chosen = servers.get(decision.index()).ok_or("it is one of them")?;
    println!("{} by {:?}, {} in flight", chosen.url(), decision.chooser(), chosen.load());

    // The request is sent here. Without this call a plugin hears of no finished request, and a canary
    // is not judged by requests that fail.
    policy.on_request_complete(&RequestCompletion {
        success: true,
        judged: true,
        status: Some(200),
        first_byte: Some(began.elapsed()),
        total: began.elapsed(),
        prompt_tokens: Some(1),
        completion_tokens: Some(8),
        ..RequestCompletion::new(chosen.url(), decision.chooser())
    });
    drop(decision); // Until here it counts as in flight.
    println!("{} in flight", chosen.load());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_runs_to_its_end() {
        main().unwrap();
    }
}
