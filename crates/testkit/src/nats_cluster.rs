//! Servers of NATS that are a cluster.

use std::net::SocketAddr;

use crate::nats_server::{NatsServer, free_address};

/// Servers that are a cluster, named `n0`, `n1` …
#[derive(Debug)]
pub struct NatsCluster {
    /// By their numbers.
    pub servers: Vec<NatsServer>,
}

impl NatsCluster {
    /// So many servers; `None` where the program cannot be had. They may not have found each other yet.
    pub fn start(count: usize) -> Option<Self> {
        let routes: Vec<SocketAddr> = (0..count).map(|_| free_address()).collect();
        let servers = (0..count).map(|number| NatsServer::start_with(&config(number, &routes)));
        Some(Self { servers: servers.collect::<Option<_>>()? })
    }

    /// What clients are told: all of them.
    pub fn url(&self) -> String {
        self.servers.iter().map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    /// The server of this name.
    pub fn named(&mut self, name: &str) -> &mut NatsServer {
        let number = name.strip_prefix('n').and_then(|number| number.parse::<usize>().ok());
        number.and_then(|number| self.servers.get_mut(number)).expect("a name of the cluster")
    }
}

fn config(number: usize, routes: &[SocketAddr]) -> String {
    let own = routes.get(number).expect("as many as servers");
    let all: Vec<String> = routes.iter().map(|address| format!("\"nats-route://{address}\"")).collect();
    format!(
        "server_name: n{number}\ncluster {{ name: tests, listen: \"{own}\", routes: [{}] }}",
        all.join(", ")
    )
}
