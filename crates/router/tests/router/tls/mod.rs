//! TLS and HTTP/2, to clients and to workers, with certificates that are made for each test.

pub(crate) mod authority;
mod rig;
mod certificate_reload;
mod http2_clients;
mod http2_deadlines;
mod http2_workers;
mod to_clients;
mod to_workers;
mod simulated_workers;
