//! A decision over made-up workers, to warm an instance or to try it.

use crate::core::fleet::Fleet;
use crate::core::table::WorkerTable;
use crate::core::worker::WorkerSpec;
use crate::engine::error::CallError;
use crate::policies::select_worker_info::SelectWorkerInfo;
use crate::policies::wasm::message::draw::Draw;
use crate::policies::wasm::message::owned::owned;
use crate::policies::wasm::message::table;
use crate::policies::wasm::message::wire_plan::WirePlan;
use sgl_policy_abi::WorkerRole;

/// Workers of the made-up table.
pub(crate) const REHEARSAL_WORKERS: usize = 4;

/// What an instance is sent before it serves: a table, and a question over it.
#[derive(Debug)]
pub(crate) struct Rehearsal {
    pub(crate) workers: Vec<u8>,
    pub(crate) question: Vec<u8>,
}

impl Rehearsal {
    /// What a generation of this plan receives.
    ///
    /// # Errors
    ///
    /// [`CallError::MessageTooLarge`] if a bound of a message is wrong.
    pub(crate) fn new(plan: &WirePlan) -> Result<Self, CallError> {
        let table = fleet().table();
        Ok(Self { workers: workers(plan, &table)?, question: question(plan, &table)? })
    }
}

fn workers(plan: &WirePlan, workers: &WorkerTable) -> Result<Vec<u8>, CallError> {
    let names = plan.model_name_bytes();
    let capacity = table::workers_bound(workers, names);
    owned(capacity, |buffer| table::encode_workers(buffer, workers, names))
        .ok_or(CallError::MessageTooLarge { capacity })
}

fn question(plan: &WirePlan, table: &WorkerTable) -> Result<Vec<u8>, CallError> {
    let info = SelectWorkerInfo { request_text: Some("self-test"), ..SelectWorkerInfo::default() };
    let capacity = plan.bound(table, &info, &[]);
    owned(capacity, |buffer| plan.encode(buffer, table, &info, &[], Draw::Fresh))
        .ok_or(CallError::MessageTooLarge { capacity })
}

/// Made-up workers of every role, all healthy and idle.
fn fleet() -> Fleet {
    let fleet = Fleet::new();
    for index in 0..REHEARSAL_WORKERS {
        let role = match index {
            0 => WorkerRole::Prefill,
            1 => WorkerRole::Decode,
            _ => WorkerRole::Regular,
        };
        let spec = WorkerSpec { role, ..WorkerSpec::new(format!("http://self-test-{index}.invalid")) };
        // Each URL is added once, to a new fleet.
        let _ = fleet.add(spec, true);
    }
    fleet
}
