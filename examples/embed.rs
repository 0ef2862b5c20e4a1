//! A router's own process with a plugin as its policy. README.md shows what follows.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use sglang_router_rs::core::{Fleet, WorkerSpec};
use sglang_router_rs::policies::{PolicyFactory, SelectWorkerInfo, WasmPolicyConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let fleet = Fleet::new();
    for url in ["http://10.0.0.1:30000", "http://10.0.0.2:30000"] {
        fleet.add(WorkerSpec::new(url), true)?;
    }
    let mut factory = PolicyFactory::new();
    let config = WasmPolicyConfig::new("my_policy", "dist/plugins/least_connections.wasm");
    factory.load_wasm_plugin(config.clone()).await?;
    let policy = factory.create_by_name("my_policy").ok_or("it is loaded")?;

    let table = fleet.table();
    let first = policy.decide_async(&table, &SelectWorkerInfo::default()).await?;
    // Loading the name again replaces the plugin at once; `policy` follows.
    factory.load_wasm_plugin(config).await?;
    let second = policy.decide_async(&table, &SelectWorkerInfo::default()).await?;
    for decision in [&first, &second] {
        let worker = table.get(decision.index()).ok_or("it is in the table")?;
        println!("{} by {:?}", worker.spec().url, decision.chooser());
    }
    Ok(()) // A decision counts its request as in flight until it is dropped: here.
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_runs_to_its_end() {
        main().unwrap();
    }
}
