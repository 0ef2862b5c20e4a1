//! A request that was placed, while another proxy carries it.

use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;

use crate::proxy::carried::carried_counts::CarriedCounts;
use crate::proxy::carried::worker_addresses::WorkerAddresses;
use crate::proxy::data_plane::DataPlane;
use crate::proxy::fullness::retry_after;
use crate::proxy::headers::tell_record;
use crate::proxy::placement::{AnswerForm, Placement};
use crate::proxy::queue::GivenTurn;
use crate::proxy::route::Route;
use crate::records::Draft;
use sgl_api::End;
use sglang_router_rs::core::Worker;

/// A request at its worker. It is in flight until this is dropped, which is when the exchange has ended.
#[derive(Debug)]
pub(crate) struct CarriedRequest {
    pub(in crate::proxy::carried) proxy: Arc<DataPlane>,
    pub(in crate::proxy::carried) counts: Arc<CarriedCounts>,
    pub(in crate::proxy::carried) placement: Placement,
    pub(in crate::proxy::carried) addresses: Arc<WorkerAddresses>,
    pub(in crate::proxy::carried) record: Option<Box<Draft>>,
    pub(in crate::proxy::carried) route: Route,
    pub(in crate::proxy::carried) started: Instant,
    /// Where it is to go: the worker's address, and those of others in the order in which to try them.
    pub(in crate::proxy::carried) destination: String,
    /// What the worker is to be told in headers.
    pub(in crate::proxy::carried) headers: HeaderMap,
    pub(in crate::proxy::carried) progress: CarriedProgress,
    /// Given back when the request ends.
    pub(in crate::proxy::carried) _turn: Option<GivenTurn>,
}

/// How far the answer has come, as far as that is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy::carried) enum CarriedProgress {
    /// There is none.
    Unanswered,
    /// It began; nobody shows its body.
    Answered,
    /// Its body is shown, and is not whole.
    Partial,
    /// It is whole.
    Whole,
}

impl CarriedRequest {
    /// Where it is to go.
    pub(crate) fn destination(&self) -> &str {
        &self.destination
    }

    /// What the worker is to be told in headers.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The head of the answer came, from the worker at this address if that is known. Gives what the client
    /// is to be told in headers.
    pub(crate) fn answered(&mut self, status: u16, headers: &HeaderMap, served: Option<&str>) -> HeaderMap {
        let mut told = HeaderMap::new();
        if self.progress != CarriedProgress::Unanswered {
            return told;
        }
        self.progress = CarriedProgress::Answered;
        if let Some(served) = served {
            self.served_by(served);
        }
        let now = Instant::now();
        self.placement.answered(status, || retry_after(headers));
        // Of a stream too: when its first event comes nobody says.
        self.placement.first_byte(now, AnswerForm::Whole);
        self.proxy.measures().answered(self.route, status);
        self.proxy.measures().first_byte(self.route, now - self.started);
        if let Some(record) = &mut self.record {
            record.answered(status, self.placement.target().worker().url());
            record.first_byte(now);
            tell_record(record, &mut told);
        }
        told
    }

    /// A piece of the answer's body came, perhaps the last one.
    pub(crate) fn body(&mut self, is_last: bool) {
        if matches!(self.progress, CarriedProgress::Answered | CarriedProgress::Partial) {
            self.progress = if is_last { CarriedProgress::Whole } else { CarriedProgress::Partial };
        }
    }

    /// Counts the request where it is served, if that is elsewhere.
    fn served_by(&mut self, address: &str) {
        let places = self.addresses.places(address);
        let own = self.placement.target().entrance();
        let targets = || places.iter().filter_map(|index| self.addresses.snapshot().target(*index));
        if targets().any(|target| Arc::ptr_eq(target.entrance(), own)) {
            return;
        }
        self.counts.moved(&self.destination, address);
        match targets().next() {
            Some(target) => self.placement.move_to(target),
            None => tracing::debug!(address, "Envoy had a request served by a worker that is not known"),
        }
    }
}

impl Drop for CarriedRequest {
    fn drop(&mut self) {
        let now = Instant::now();
        let end = match self.progress {
            CarriedProgress::Answered | CarriedProgress::Whole => {
                self.placement.complete();
                End::Complete
            }
            // The client left, or the worker broke off: nobody says which.
            CarriedProgress::Unanswered | CarriedProgress::Partial => {
                self.proxy.measures().disconnected(self.route);
                End::ClientGone
            }
        };
        self.proxy.measures().finished(self.route, now - self.started);
        if let Some(record) = self.record.take() {
            record.end(end, None);
        }
    }
}
