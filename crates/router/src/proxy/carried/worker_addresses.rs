//! Where the workers of a snapshot are, as another proxy knows them: `ip:port`.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::proxy::snapshot::Snapshot;
use crate::proxy::target::Target;
use sgl_upstream::WorkerUrl;

/// The addresses of a snapshot's workers.
#[derive(Debug)]
pub(crate) struct WorkerAddresses {
    snapshot: Arc<Snapshot>,
    /// At the places of the workers; `None` of one that has a name instead, which nobody could be told.
    texts: Box<[Option<Box<str>>]>,
    /// The places of those at an address: several where ranks of one engine are workers of their own.
    places: HashMap<Box<str>, Vec<usize>>,
}

impl WorkerAddresses {
    /// Those of this snapshot.
    pub(crate) fn of(snapshot: Arc<Snapshot>) -> Self {
        let text = |target: &Arc<Target>| address_of(target.endpoint().url()).map(String::into_boxed_str);
        let texts: Box<[_]> = snapshot.targets().iter().map(text).collect();
        let mut places: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        for (index, text) in texts.iter().enumerate() {
            match text {
                Some(text) => places.entry(text.clone()).or_default().push(index),
                None => tell_of_name(&snapshot, index),
            }
        }
        Self { snapshot, texts, places }
    }

    /// The snapshot.
    pub(crate) fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// True if all workers have one.
    pub(crate) fn are_complete(&self) -> bool {
        self.texts.iter().all(Option::is_some)
    }

    /// The address of the worker at this place.
    pub(crate) fn text(&self, index: usize) -> Option<&str> {
        self.texts.get(index)?.as_deref()
    }

    /// Who is at an address.
    pub(crate) fn places(&self, address: &str) -> &[usize] {
        self.places.get(address).map_or(&[], Vec::as_slice)
    }
}

/// The address in a URL, in brackets if it is one of IPv6; `None` if the URL has a name.
pub(crate) fn address_of(url: &WorkerUrl) -> Option<String> {
    let ip: IpAddr = url.bare_host().parse().ok()?;
    Some(SocketAddr::new(ip, url.port()).to_string())
}

fn tell_of_name(snapshot: &Snapshot, index: usize) {
    let url = snapshot.target(index).map(|target| target.endpoint().url().to_string());
    tracing::warn!(
        worker = url.unwrap_or_default(),
        "is never picked: its URL has a name, and Envoy is told addresses; give it as http://IP:PORT"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_has_a_port_and_brackets_and_a_name_is_none() {
        for (url, address) in [
            ("http://10.0.0.7:30000", Some("10.0.0.7:30000")),
            ("http://10.0.0.7", Some("10.0.0.7:80")),
            ("https://10.0.0.7", Some("10.0.0.7:443")),
            ("http://[fd00::7]:30000", Some("[fd00::7]:30000")),
            ("http://[FD00:0::7]:30000", Some("[fd00::7]:30000")),
            ("http://worker:30000", None),
        ] {
            let url = WorkerUrl::parse(url).unwrap();
            assert_eq!(address_of(&url).as_deref(), address);
        }
    }
}
