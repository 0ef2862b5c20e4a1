//! What is due next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What is due. The order of the list is that in which things happen that are due at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DueWork {
    /// A worker ends what it does.
    Step(u32),
    /// A worker reports its load.
    Report(u32),
    /// A request that follows another comes.
    Arrive(u32),
    /// The time of a request that the policy has wait may be over.
    Deadline,
    /// Those whom the policy has wait may be asked again, though nothing happened.
    Stir,
    /// What was computed of a prompt is where its answer is generated: for which attempt.
    Transferred(u32, u32),
    /// What changed in a cache becomes known.
    News,
    /// A worker's health is checked.
    Check(u32),
    /// A circuit that is open lets a request through.
    Probe(u32),
    /// Something befalls workers: the number of the event.
    Upset(u32),
    /// It is over.
    Relief(u32),
}

/// A moment, ordered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Moment(pub(crate) f64);

impl Eq for Moment {}

impl Ord for Moment {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// What is due when. What a worker does may end earlier than it was to: the entry that it had stays, and
/// is passed over once it is due.
#[derive(Debug)]
pub(crate) struct Agenda {
    due: BinaryHeap<Reverse<(Moment, DueWork)>>,
    /// When each worker really ends what it does.
    steps: Vec<f64>,
}

impl Agenda {
    /// Nothing is due; all workers are idle.
    pub(crate) fn new(workers: usize) -> Self {
        Self { due: BinaryHeap::new(), steps: vec![f64::INFINITY; workers] }
    }

    /// A worker ends what it does then; never if that is infinite.
    #[inline]
    pub(crate) fn set_step(&mut self, worker: u32, at: f64) {
        let Some(step) = self.steps.get_mut(worker as usize) else { return };
        if at.total_cmp(step).is_ne() {
            *step = at;
            if at.is_finite() {
                self.due.push(Reverse((Moment(at), DueWork::Step(worker))));
            }
        }
    }

    /// Something else is due then.
    pub(crate) fn add(&mut self, work: DueWork, at: f64) {
        self.due.push(Reverse((Moment(at), work)));
    }

    /// When something is due next.
    #[inline]
    pub(crate) fn next(&mut self) -> f64 {
        while let Some(Reverse((at, work))) = self.due.peek() {
            if self.is_current(*at, *work) {
                return at.0;
            }
            self.due.pop();
        }
        f64::INFINITY
    }

    /// Takes what is due next, after [`next`](Self::next) said when.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<DueWork> {
        let Reverse((_, work)) = self.due.pop()?;
        if let DueWork::Step(worker) = work
            && let Some(step) = self.steps.get_mut(worker as usize)
        {
            *step = f64::INFINITY;
        }
        Some(work)
    }

    fn is_current(&self, at: Moment, work: DueWork) -> bool {
        match work {
            DueWork::Step(worker) => self.steps.get(worker as usize).is_some_and(|step| Moment(*step) == at),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_first_comes_first_and_outdated_ends_are_passed_over() {
        let mut agenda = Agenda::new(2);
        agenda.set_step(0, 9.0);
        agenda.set_step(1, 3.0);
        agenda.add(DueWork::Report(0), 3.0);
        agenda.set_step(0, 2.0);
        let mut seen = Vec::new();
        while agenda.next().is_finite() {
            seen.push((agenda.next(), agenda.take().unwrap()));
        }
        assert_eq!(seen, [(2.0, DueWork::Step(0)), (3.0, DueWork::Step(1)), (3.0, DueWork::Report(0))]);
        agenda.set_step(1, f64::INFINITY);
        assert_eq!((agenda.next(), agenda.take()), (f64::INFINITY, None));
    }

    #[test]
    fn end_that_is_set_back_to_where_it_was_comes_once() {
        let mut agenda = Agenda::new(1);
        agenda.set_step(0, 5.0);
        agenda.set_step(0, 4.0);
        agenda.set_step(0, 5.0);
        assert_eq!((agenda.next(), agenda.take()), (5.0, Some(DueWork::Step(0))));
        assert_eq!(agenda.next(), f64::INFINITY);
    }
}
