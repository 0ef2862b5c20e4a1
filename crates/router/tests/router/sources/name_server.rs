//! A server of names that says what a test wants, written by hand from RFC 1035 and RFC 2782.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::UdpSocket;

pub(crate) const A: u16 = 1;
pub(crate) const AAAA: u16 = 28;
pub(crate) const SRV: u16 = 33;

/// What is said of a name and a type.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Records, by their content, and for how many seconds they may be kept.
    Records(Vec<Vec<u8>>, u32),
    /// The name has none of this type.
    NoData,
    /// There is no such name.
    NoName,
    /// The server cannot tell.
    Failure,
    /// Nothing at all.
    Silence,
}

/// The server; it ends with the value.
#[derive(Debug)]
pub(crate) struct NameServer {
    /// Where it is asked.
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    replies: HashMap<(String, u16), Reply>,
    asked: HashMap<(String, u16), usize>,
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = socket.local_addr().expect("an address");
        let state: Arc<Mutex<State>> = Arc::default();
        let of_task = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut packet = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                if let Some(answer) = answer(&packet[..length], &of_task) {
                    socket.send_to(&answer, from).await.expect("a packet is sent");
                }
            }
        });
        Self { address, state, task }
    }

    /// Says this from now on.
    pub(crate) fn say(&self, name: &str, kind: u16, reply: Reply) {
        let mut state = self.state.lock();
        state.replies.insert((name.to_owned(), kind), reply);
    }

    /// How often it was asked.
    pub(crate) fn asked(&self, name: &str, kind: u16) -> usize {
        let state = self.state.lock();
        state.asked.get(&(name.to_owned(), kind)).copied().unwrap_or_default()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Records of addresses.
pub(crate) fn addresses(texts: &[&str], ttl: u32) -> Reply {
    let bytes = |text: &&str| match text.parse().expect("an address") {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    Reply::Records(texts.iter().map(bytes).collect(), ttl)
}

/// Records of services: priority, weight, port, target.
pub(crate) fn services(targets: &[(u16, u16, u16, &str)], ttl: u32) -> Reply {
    let bytes = |(priority, weight, port, target): &(u16, u16, u16, &str)| {
        let mut bytes: Vec<u8> =
            [*priority, *weight, *port].iter().flat_map(|part| part.to_be_bytes()).collect();
        for label in target.split('.').filter(|label| !label.is_empty()) {
            bytes.push(u8::try_from(label.len()).expect("a short label"));
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        bytes
    };
    Reply::Records(targets.iter().map(bytes).collect(), ttl)
}

fn answer(question: &[u8], state: &Mutex<State>) -> Option<Vec<u8>> {
    let (name, end) = name_at(question, 12)?;
    let kind = u16::from_be_bytes([*question.get(end)?, *question.get(end + 1)?]);
    let reply = {
        let mut state = state.lock();
        *state.asked.entry((name.clone(), kind)).or_default() += 1;
        state.replies.get(&(name, kind)).cloned().unwrap_or(Reply::NoData)
    };
    let (code, records, ttl) = match reply {
        Reply::Records(records, ttl) => (0, records, ttl),
        Reply::NoData => (0, Vec::new(), 0),
        Reply::NoName => (3, Vec::new(), 0),
        Reply::Failure => (2, Vec::new(), 0),
        Reply::Silence => return None,
    };
    let count = u16::try_from(records.len()).ok()?;
    let mut packet = question.get(..2)?.to_vec();
    // An answer, with recursion; one question, so many answers.
    packet.extend([0x81, 0x80 | code, 0, 1]);
    packet.extend(count.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(question.get(12..end + 4)?);
    for record in records {
        packet.extend([0xc0, 12]);
        packet.extend(kind.to_be_bytes());
        packet.extend([0, 1]);
        packet.extend(ttl.to_be_bytes());
        packet.extend(u16::try_from(record.len()).ok()?.to_be_bytes());
        packet.extend(record);
    }
    Some(packet)
}

/// The name that begins here, and where it ends.
fn name_at(packet: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join(".").to_ascii_lowercase(), at));
        }
        labels.push(String::from_utf8(packet.get(at..at + length)?.to_vec()).ok()?);
        at += length;
    }
}
