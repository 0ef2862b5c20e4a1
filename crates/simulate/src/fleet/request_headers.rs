//! The headers of a request, as policies look them up.

use crate::workload::{HeaderMix, SESSION_HEADER, Workload};
use sglang_router_rs::policies::HeaderLookup;

/// The headers of a request: the key of its session, if it has one, and those that are mixed in.
#[derive(Debug)]
pub(crate) struct RequestHeaders<'a> {
    session: Option<String>,
    request: u32,
    workload: &'a Workload,
    seed: u64,
}

impl<'a> RequestHeaders<'a> {
    /// Those of a request, drawn with this seed.
    pub(crate) fn of(request: u32, workload: &'a Workload, seed: u64) -> Self {
        let session = workload.turn(request).map(|turn| format!("session-{}", turn.session));
        Self { session, request, workload, seed }
    }

    /// The key of its session.
    pub(crate) fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    fn mixed(&self, mix: &'a HeaderMix) -> Option<&'a str> {
        mix.value(self.workload.header_value(mix, self.seed, self.request)?)
    }
}

impl HeaderLookup for RequestHeaders<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        if name == SESSION_HEADER {
            return self.session();
        }
        let mix = self.workload.traits().headers.iter().find(|mix| mix.name == name)?;
        self.mixed(mix)
    }
}
