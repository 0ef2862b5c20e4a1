//! SGLang's pushed load: what changed at once, what did not once a second.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::sim::dialects::sglang::load_stat;
use crate::sim::kv_feed::number_bytes;
use crate::sim::kv_wire::WireLoad;
use crate::sim::ranks::Ranks;

/// How often loads are looked at. (SGLang does after every few steps of its engine.)
const STEP: Duration = Duration::from_millis(20);
/// An unchanged load is told this often.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Pushes the loads of all ranks, for ever.
pub(crate) async fn push_loads(ranks: Arc<Ranks>) {
    let Some(sockets) = ranks.sockets.as_ref().filter(|sockets| !sockets.loads.is_empty()) else { return };
    // What was told last, when, and the number of the next message.
    let mut told: Vec<Option<(WireLoad, Instant, u64)>> = vec![None; sockets.loads.len()];
    loop {
        for (rank, ((accelerator, socket), last)) in
            (0..).zip(ranks.iter().zip(&sockets.loads).zip(&mut told))
        {
            let stat = load_stat(rank, accelerator);
            if last.is_some_and(|(told, at, _)| told == stat && at.elapsed() < HEARTBEAT) {
                continue;
            }
            let number = last.map_or(0, |(_, _, next)| next);
            *last = Some((stat, Instant::now(), number + 1));
            socket.send([Bytes::from_static(b"load"), number_bytes(number), Bytes::from(stat.bytes())]);
        }
        sleep(STEP).await;
    }
}
