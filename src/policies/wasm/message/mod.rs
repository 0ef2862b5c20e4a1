//! What is said to a guest, and what it answers.
//!
//! It owns the bytes of both wire forms and alone names their encoding. It refuses to know who asks,
//! on which instance, and what becomes of the answer. The self-test, the shadow and the decisions
//! call it.

pub(crate) mod config_headers;
mod cut;
mod request_facts;
pub(crate) mod owned;
pub(crate) mod draw;
pub(crate) mod init;
mod message_part;
pub(crate) mod table;
pub(crate) mod wire_plan;
pub(crate) mod reply;
