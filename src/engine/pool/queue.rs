//! Who waits, in which order, and who gets the next thing handed over.

use std::task::Waker;

use slab::Slab;

use crate::engine::pool::line::{Line, Links, Member};

/// After this many lost tries a caller is handed the next thing that comes back, whoever runs.
pub(crate) const LOSSES: u32 = 8;

#[derive(Debug)]
pub(crate) struct Queue<T> {
    pub(crate) callers: Slab<Caller<T>>,
    /// Those that nobody has woken.
    pub(crate) waiting: Line,
    /// Those that lost [`LOSSES`] times.
    pub(crate) owed: Line,
    /// True while something handed over was not yet taken. One at a time, so that little lies idle for
    /// the sake of fairness.
    pub(crate) handed: bool,
    /// Changes when everybody is turned away.
    pub(crate) era: u64,
}

#[derive(Debug)]
pub(crate) struct Caller<T> {
    pub(crate) links: Links,
    pub(crate) standing: CallerStanding,
    pub(crate) waker: Option<Waker>,
    pub(crate) lost: u32,
    pub(crate) gift: Option<T>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallerStanding {
    Waiting,
    Owed,
    /// In no line: it was woken, or handed something.
    Woken,
}

impl<T> Member for Caller<T> {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }
}

impl<T> Queue<T> {
    pub(crate) fn new(era: u64) -> Self {
        let (waiting, owed) = (Line::default(), Line::default());
        Self { callers: Slab::new(), waiting, owed, handed: false, era }
    }

    /// Takes the caller that comes next out of its line.
    pub(crate) fn wake_next(&mut self) -> Option<Waker> {
        let line = if self.owed.first().is_some() { &mut self.owed } else { &mut self.waiting };
        let key = line.first()?;
        line.leave(&mut self.callers, key);
        let caller = self.callers.get_mut(key)?;
        caller.standing = CallerStanding::Woken;
        caller.waker.take()
    }

    /// Hands what `take` finds to the first caller that is owed something.
    pub(crate) fn hand_over(&mut self, take: impl FnOnce() -> Option<T>) -> Option<Waker> {
        let key = self.owed.first().filter(|_| !self.handed)?;
        let gift = take()?;
        self.owed.leave(&mut self.callers, key);
        let caller = self.callers.get_mut(key)?;
        caller.standing = CallerStanding::Woken;
        caller.gift = Some(gift);
        self.handed = true;
        caller.waker.take()
    }

    /// A caller that tried in vain waits again.
    pub(crate) fn lie_down(&mut self, key: usize, waker: &Waker) {
        let Some(caller) = self.callers.get_mut(key) else { return };
        match &mut caller.waker {
            Some(known) => known.clone_from(waker),
            unset => *unset = Some(waker.clone()),
        }
        if caller.standing != CallerStanding::Woken {
            return;
        }
        caller.lost += 1;
        if caller.lost < LOSSES {
            caller.standing = CallerStanding::Waiting;
            self.waiting.enter_first(&mut self.callers, key);
        } else {
            caller.standing = CallerStanding::Owed;
            self.owed.enter_last(&mut self.callers, key);
        }
    }

    /// Takes a caller out, wherever it is.
    pub(crate) fn remove(&mut self, key: usize) -> Option<Caller<T>> {
        match self.callers.get(key)?.standing {
            CallerStanding::Waiting => self.waiting.leave(&mut self.callers, key),
            CallerStanding::Owed => self.owed.leave(&mut self.callers, key),
            CallerStanding::Woken => {}
        }
        self.callers.try_remove(key)
    }
}
