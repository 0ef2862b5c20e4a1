//! A whole decision of this router: from the table to a counted request, and its end.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use sglang_router_rs::config::LaneOption;
use sglang_router_rs::core::Fleet;
use sglang_router_rs::core::WorkerSpec;
use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::policies::Load;
use sglang_router_rs::policies::PluginOptions;
use sglang_router_rs::policies::PolicyHandle;
use sglang_router_rs::policies::PolicyFactory;
use sglang_router_rs::policies::SelectWorkerInfo;
use sglang_router_rs::policies::WasmPolicyConfig;
use tokio::runtime::Runtime;

use crate::rounds::Shape;

/// The plugin under the name of each lane.
pub(crate) async fn factory(module: &Path) -> anyhow::Result<PolicyFactory> {
    let factory = PolicyFactory::new();
    for (name, lane) in [("fiber", LaneOption::Fiber), ("adaptive", LaneOption::Adaptive)] {
        let config = WasmPolicyConfig::new(name, module.to_string_lossy());
        let options = PluginOptions { lane, ..PluginOptions::default() };
        factory.load(Load::file(config).with(options)).await.context("least_connections does not load")?;
    }
    Ok(factory)
}

/// Idle, healthy workers.
pub(crate) fn fleet(count: usize) -> anyhow::Result<Fleet> {
    let fleet = Fleet::new();
    for i in 0..count {
        let url = format!("http://10.0.{}.{}:30000", i / 250, i % 250);
        fleet.add(WorkerSpec::new(url), true)?;
    }
    Ok(fleet)
}

/// `decide`.
pub(crate) struct Sync {
    pub(crate) policy: PolicyHandle,
    pub(crate) table: Arc<WorkerTable>,
}

impl Shape for Sync {
    fn run(&mut self, calls: u32) -> anyhow::Result<()> {
        let info = SelectWorkerInfo::default();
        for _ in 0..calls {
            black_box(self.policy.decide(&self.table, &info)?.index());
        }
        Ok(())
    }
}

/// `decide_async`.
pub(crate) struct Async<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) policy: PolicyHandle,
    pub(crate) table: Arc<WorkerTable>,
}

impl Shape for Async<'_> {
    fn run(&mut self, calls: u32) -> anyhow::Result<()> {
        let info = SelectWorkerInfo::default();
        self.runtime.block_on(async {
            for _ in 0..calls {
                black_box(self.policy.decide_async(&self.table, &info).await?.index());
            }
            Ok(())
        })
    }
}
