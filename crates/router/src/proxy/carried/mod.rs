//! Requests that another proxy carries: placed here as all others are, and sent by somebody else.
//!
//! ```text
//!  the proxy's own protocol ──► carried placer ──► policy ──► carried request ──► its worker's address
//!        (crate::picker)            │   same reading, records,      │ in flight until it is dropped
//!                                   │   circuits, index             │ hears of the answer
//!                              worker addresses                     ▼ tells the policy of its end
//! ```
//!
//! Knows nothing of the protocol in which it is asked.

mod carried_counts;
mod worker_addresses;
mod carried_request;
mod carried_placer;

pub(crate) use crate::proxy::carried::carried_placer::{CarriedPlacer, PlaceOrder};
pub(crate) use crate::proxy::carried::carried_request::CarriedRequest;
pub(crate) use crate::proxy::pressure::HeldBody;
