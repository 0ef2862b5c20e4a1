//! A question to the policy: what is counted and recorded of it.

use std::time::Instant;

use crate::manage::placing::RequestPolicy;
use crate::proxy::form::Form;
use crate::records::Draft;
use crate::records::asked::Asked;
use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::policies::{DecideError, Explanation, PolicySide, SelectWorkerInfo};

/// A question that is being answered.
#[derive(Debug)]
pub(crate) struct Asking<'a> {
    asked: Option<Box<Asked>>,
    trial: Option<(&'a PolicySide, Option<Instant>)>,
}

impl<'a> Asking<'a> {
    /// The policy is asked now.
    pub(crate) fn begin(
        policy: &'a RequestPolicy,
        record: Option<&Draft>,
        table: &WorkerTable,
        given: &SelectWorkerInfo<'_>,
    ) -> Self {
        let asked = record.map(|record| {
            let names = policy.handle().wanted_names();
            record.ask(table, given, names.as_deref())
        });
        Self { asked, trial: policy.side().map(|side| (&**side, side.begin())) }
    }

    /// Where the policy explains its choice, if anybody wants to know.
    pub(crate) fn explanation(&self) -> Option<&Explanation> {
        self.asked.as_ref().map(|asked| asked.explanation())
    }

    /// It has answered.
    pub(crate) fn end<F: Form>(
        self,
        record: Option<&mut Draft>,
        table: &WorkerTable,
        decided: &Result<F::Decision, DecideError>,
    ) {
        if let Some((side, timer)) = self.trial {
            side.decided(timer, decided.as_ref().map(F::chooser));
        }
        if let Some((record, asked)) = record.zip(self.asked) {
            F::record(record, *asked, table, decided);
        }
    }
}
