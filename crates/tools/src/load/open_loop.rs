//! Open loop: requests are sent when they are due, whatever became of those before them. A target
//! that stalls has all its latencies counted (no coordinated omission): a request that has to
//! wait for a free place here is still counted from when it was due.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::load::arrivals::{Arrival, Arrivals};
use crate::load::client_connection::ClientConnection;
use crate::load::pacer::{Due, Pacer};
use crate::load::round::{OpenRequest, Round, perform};

/// Connections that wait for a request; the one used last is taken first.
type IdleLines = Arc<Mutex<Vec<ClientConnection>>>;

/// Runs a round of these arrivals, until all are answered, it has run out, or the run is aborted.
///
/// # Errors
///
/// If the system has no thread for the pace.
///
/// # Cancel safety
///
/// Dropping the future cuts off all requests; they may be recorded after it is gone.
pub(crate) async fn run(round: &Arc<Round>, arrivals: Arrivals) -> io::Result<()> {
    let mut pacer = Pacer::start(within_limits(round, arrivals), round.begin)?;
    let mut requests = JoinSet::new();
    let mut waiting: Option<Due> = None;
    let sending = async {
        send_all(round, &mut pacer, &mut requests, &mut waiting).await;
        while requests.join_next().await.is_some() {}
    };
    tokio::select! {
        () = sending => {}
        () = round.run_out() => {}
        () = round.control.aborting().cancelled() => {}
    }
    requests.shutdown().await;
    // Due and never sent: exactly what a generator must not pass over.
    for due in waiting.into_iter().chain(pacer.stop()) {
        round.recorder.cut(due.number, due.at, round.control.is_stopped());
    }
    Ok(())
}

/// The arrivals that the limits of the round leave.
fn within_limits(round: &Arc<Round>, arrivals: Arrivals) -> impl Iterator<Item = Arrival> + Send + use<> {
    let round = Arc::clone(round);
    let limits = round.limits;
    let end = limits.duration.map(|duration| limits.warmup.saturating_add(duration));
    let mut left = limits.requests.unwrap_or(u64::MAX);
    arrivals.take_while(move |arrival| {
        if arrival.at < limits.warmup {
            return true;
        }
        if end.is_some_and(|end| arrival.at >= end) {
            // Release: pairs with the load in `Round::measured`.
            round.filled.store(true, Ordering::Release);
            return false;
        }
        let is_left = left > 0;
        left = left.saturating_sub(1);
        is_left
    })
}

/// Sends what is due until the round's time or the arrivals are over. `waiting` holds the request
/// that waits for a place.
async fn send_all(
    round: &Arc<Round>,
    pacer: &mut Pacer,
    requests: &mut JoinSet<()>,
    waiting: &mut Option<Due>,
) {
    let places = Arc::new(Semaphore::new(round.limits.max_in_flight));
    let idle = IdleLines::default();
    loop {
        let due = tokio::select! {
            biased;
            () = round.control.stopping().cancelled() => return,
            due = pacer.next() => due,
        };
        *waiting = due;
        let Some(due) = due else {
            round.exhausted.cancel();
            return;
        };
        let place = tokio::select! {
            biased;
            () = round.control.stopping().cancelled() => return,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        // The semaphore is never closed.
        let Ok(place) = place else { return };
        *waiting = None;
        // Taken up here: a task that is cut off before it ran would tell nobody.
        let open = OpenRequest::new(round, due.number, due.at);
        requests.spawn(send(open, Arc::clone(&idle), place));
        // What has ended is taken away as it goes, or a long run would keep all of it.
        while requests.try_join_next().is_some() {}
    }
}

async fn send(open: OpenRequest, idle: IdleLines, place: OwnedSemaphorePermit) {
    let line = idle.lock().pop();
    let mut line = line.unwrap_or_default();
    // Recorded there.
    let _ = perform(open, &mut line).await;
    idle.lock().push(line);
    drop(place);
}
