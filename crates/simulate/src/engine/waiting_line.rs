//! Requests that an engine has not begun, and who of them is next.

use std::collections::VecDeque;

use crate::engine::engine_model::QueueOrder;

/// A request that waits for its prompt to be processed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueuedRequest {
    /// Its number in the workload.
    pub(crate) request: u32,
    /// When it came to the engine.
    pub(crate) since: f64,
    /// Prompt tokens that the cache did not hold then.
    pub(crate) uncached: u32,
    /// What these take.
    pub(crate) work: f64,
    /// Tokens that it had generated before it was preempted.
    pub(crate) generated: u32,
}

/// Requests that wait, those that were preempted before all others.
#[derive(Debug)]
pub(crate) struct WaitingLine {
    order: QueueOrder,
    requests: VecDeque<QueuedRequest>,
    uncached: u64,
}

impl WaitingLine {
    /// Nobody waits.
    pub(crate) fn new(order: QueueOrder) -> Self {
        Self { order, requests: VecDeque::new(), uncached: 0 }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Prompt tokens that wait and were not cached when they came.
    pub(crate) fn uncached(&self) -> u64 {
        self.uncached
    }

    pub(crate) fn push(&mut self, request: QueuedRequest) {
        self.uncached += u64::from(request.uncached);
        self.requests.push_back(request);
    }

    /// One that had begun waits again, before all others.
    pub(crate) fn push_front(&mut self, request: QueuedRequest) {
        self.uncached += u64::from(request.uncached);
        self.requests.push_front(request);
    }

    /// Where the next one stands.
    pub(crate) fn next(&self, now: f64) -> Option<usize> {
        let preempted = self.requests.front().is_some_and(|first| first.generated > 0);
        if preempted || self.order == QueueOrder::Fcfs {
            return (!self.requests.is_empty()).then_some(0);
        }
        let key = |request: &QueuedRequest| match self.order {
            QueueOrder::Fcfs | QueueOrder::ShortestFirst => f64::from(request.uncached),
            QueueOrder::Hrrn => -(now - request.since) / request.work.max(f64::MIN_POSITIVE),
        };
        let keys = self.requests.iter().map(key).enumerate();
        keys.min_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(at, _)| at)
    }

    pub(crate) fn get(&self, at: usize) -> Option<&QueuedRequest> {
        self.requests.get(at)
    }

    /// All of them, the next one of the same kind first.
    pub(crate) fn requests(&self) -> impl Iterator<Item = &QueuedRequest> {
        self.requests.iter()
    }

    /// Removes a request, by its number in the workload; false if it does not wait.
    pub(crate) fn remove_request(&mut self, request: u32) -> bool {
        let at = self.requests.iter().position(|queued| queued.request == request);
        at.is_some_and(|at| self.remove(at).is_some())
    }

    pub(crate) fn remove(&mut self, at: usize) -> Option<QueuedRequest> {
        let request = self.requests.remove(at)?;
        self.uncached -= u64::from(request.uncached);
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(request: u32, since: f64, uncached: u32) -> QueuedRequest {
        QueuedRequest { request, since, uncached, work: uncached.into(), generated: 0 }
    }

    fn served(order: QueueOrder) -> Vec<u32> {
        let mut line = WaitingLine::new(order);
        [request(0, 0.0, 50), request(1, 1.0, 2), request(2, 2.0, 10), request(3, 9.0, 1)]
            .into_iter()
            .for_each(|request| line.push(request));
        line.push_front(QueuedRequest { generated: 1, ..request(4, 0.0, 99) });
        assert_eq!((line.len(), line.uncached()), (5, 162));
        let served = (0..5).map(|_| line.remove(line.next(10.0).unwrap()).unwrap().request).collect();
        assert_eq!((line.len(), line.uncached(), line.next(10.0)), (0, 0, None));
        served
    }

    #[test]
    fn each_order_serves_as_it_says_and_who_was_preempted_first() {
        assert_eq!(served(QueueOrder::Fcfs), [4, 0, 1, 2, 3]);
        assert_eq!(served(QueueOrder::ShortestFirst), [4, 3, 1, 2, 0]);
        // 10 s for 50 tokens, 9 for 2, 8 for 10, 1 for 1.
        assert_eq!(served(QueueOrder::Hrrn), [4, 1, 3, 2, 0]);
    }
}
