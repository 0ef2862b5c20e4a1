//! Requests that wait in the router: for their turn where only so many are served at a time, or for a
//! worker.
//!
//! ```text
//!                 room?  no ► 429
//!  a request ──► ticket ──► waits: its turn, workers ──► goes on
//!                   │         │ too long ► 503, stop ► 503
//!                   └── dropped: its client has hung up
//! ```
//!
//! A ticket is in the register from its making to its end, whatever ends it. Who waits is woken by what
//! it waits for, by its deadline or by the end of the router, and otherwise not.

mod wait_end;
mod wait_counts;
pub(crate) mod register;
pub(crate) mod limit;
pub(crate) mod request_queue;
mod ticket;

pub(crate) use crate::proxy::queue::limit::GivenTurn;
pub(crate) use crate::proxy::queue::register::WaitingRequest;
pub(crate) use crate::proxy::queue::request_queue::RequestQueue;
pub(crate) use crate::proxy::queue::ticket::{NoMore, WaitTicket};
pub(crate) use crate::proxy::queue::wait_end::WaitEnd;
