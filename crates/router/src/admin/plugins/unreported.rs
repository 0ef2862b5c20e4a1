//! Which inputs a plugin declares that workers do not report.

use std::collections::BTreeSet;

use crate::proxy::Backends;
use sgl_api::UnreportedInput;
use sglang_router_rs::core::{Column, FleetWorker, Worker, WorkerReport};
use sglang_router_rs::policies::PluginDetail;

/// The columns that some living generation declares, and that some worker does not report, by their names.
pub(crate) fn inputs(plugin: &PluginDetail, backends: &Backends) -> Vec<UnreportedInput> {
    let provenances = plugin.generations.iter().filter_map(|one| one.provenance.as_ref());
    let declared: BTreeSet<&str> = provenances.flat_map(|one| &one.inputs).map(String::as_str).collect();
    let snapshot = backends.snapshot();
    let columns = Column::ALL.into_iter().filter(|column| WorkerReport::is_said_by_worker(*column));
    let counts = columns.filter(|column| declared.contains(column.name())).map(|column| {
        let is_unknown = |worker: &FleetWorker| worker.report().bits(column) == column.unknown();
        let silent = snapshot.targets().iter().filter(|target| is_unknown(target.worker()));
        let (told, never): (Vec<_>, Vec<_>) = silent.partition(|target| target.reports().has_told(column));
        UnreportedInput {
            input: column.name().to_owned(),
            workers: snapshot.targets().len(),
            never: never.len(),
            not_now: told.len(),
        }
    });
    counts.filter(|input| input.never + input.not_now > 0).collect()
}
