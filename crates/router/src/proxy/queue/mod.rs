//! Requests that wait in the router: for their turn where only so many are served at a time, for a
//! worker, or because the policy has them wait.
//!
//! ```text
//!                 room?  no ► 429
//!  a request ──► ticket ──► waits: its turn, workers, the policy ──► goes on
//!                   │         │ too long ► 503, stop ► 503
//!                   └── dropped: its client has hung up
//! ```
//!
//! A ticket is in the register from its making to its end, whatever ends it. Who waits is woken by what
//! it waits for, by its deadline or by the end of the router, and otherwise not. Those whom the policy has
//! wait are asked again, one at a time, when something has changed ([`AskOrder`](sglang_router_rs::policies::AskOrder)).

mod wait_end;
mod wait_counts;
pub(crate) mod register;
pub(crate) mod limit;
pub(crate) mod request_queue;
mod ticket;
pub(crate) mod hold;

pub(crate) use crate::proxy::queue::limit::GivenTurn;
pub(crate) use crate::proxy::queue::register::WaitingRequest;
pub(crate) use crate::proxy::queue::request_queue::RequestQueue;
pub(crate) use crate::proxy::queue::ticket::{NoMore, WaitTicket};
pub(crate) use crate::proxy::queue::wait_end::WaitEnd;
