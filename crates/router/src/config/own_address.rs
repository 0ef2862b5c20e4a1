//! A worker that is the router itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use crate::config::worker_entry::WorkerEntry;
use sgl_upstream::WorkerUrl;
use sglang_router_rs::config::Fault;

/// Adds a fault for each worker at the address where the router listens for clients: every request would come
/// back to it. Names are not looked up; what goes round in another way is refused by the requests themselves.
pub(crate) fn check_own_address(workers: &[WorkerEntry], listener: SocketAddr, faults: &mut Vec<Fault>) {
    for (position, worker) in workers.iter().enumerate() {
        let Ok(url) = WorkerUrl::parse(&worker.url) else { continue };
        if leads_to(&url, listener) {
            let found = format!("{:?}, where this router itself listens for clients", url.to_string());
            let allowed = "the address of an engine; or give the router another port (--port)";
            faults.push(Fault::value(format!("workers[{position}].url"), found, allowed));
        }
    }
}

fn leads_to(url: &WorkerUrl, listener: SocketAddr) -> bool {
    let address = match url.bare_host() {
        "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        host => host.parse().ok(),
    };
    listener.port() != 0
        && url.port() == listener.port()
        && address.is_some_and(|address| {
            address == listener.ip() || (listener.ip().is_unspecified() && is_of_this_machine(address))
        })
}

/// True for an address of this machine: others cannot be bound to.
fn is_of_this_machine(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_at_the_routers_own_port_and_address_is_told_from_all_others() {
        for (url, listener, expected) in [
            ("http://127.0.0.1:30000", "127.0.0.1:30000", true),
            ("http://localhost:30000", "127.0.0.1:30000", true),
            ("http://127.0.0.1:30000", "0.0.0.0:30000", true),
            ("http://127.0.0.2:30000", "127.0.0.1:30000", false),
            ("http://127.0.0.1:30001", "127.0.0.1:30000", false),
            ("http://127.0.0.1:30000", "127.0.0.1:0", false),
            // That is for documentation: no machine has it.
            ("http://192.0.2.7:30000", "0.0.0.0:30000", false),
            ("http://engine:30000", "0.0.0.0:30000", false),
        ] {
            let url = WorkerUrl::parse(url).unwrap();
            assert_eq!(leads_to(&url, listener.parse().unwrap()), expected, "{url} {listener}");
        }
    }
}
