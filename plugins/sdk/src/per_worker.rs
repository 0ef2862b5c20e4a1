//! What a policy keeps of each worker.

use alloc::vec::Vec;

use crate::hash::hash;
use crate::table::Table;

/// A value of each worker, which stays with its URL when the table changes.
///
/// ```
/// use sgl_policy_sdk::PerWorker;
/// let mut errors: PerWorker<u32> = PerWorker::default();
/// // In `on_workers`: `errors.follow(table);`. Before that it has nobody.
/// assert_eq!(errors.get(0), None);
/// ```
#[derive(Clone, Debug)]
pub struct PerWorker<T> {
    /// Hash of each worker's URL, in table order; behind them what was [`PerWorker::restore`]d too early.
    urls: Vec<u64>,
    values: Vec<T>,
}

impl<T> Default for PerWorker<T> {
    fn default() -> Self {
        Self { urls: Vec::new(), values: Vec::new() }
    }
}

impl<T: Default> PerWorker<T> {
    /// Follows a change of the table: values move with their workers, and new workers have the default.
    pub fn follow(&mut self, table: &Table) {
        let mut old: Vec<(u64, Option<T>)> =
            self.urls.drain(..).zip(self.values.drain(..).map(Some)).collect();
        old.sort_unstable_by_key(|(url, _)| *url);
        self.urls = table.iter().map(|worker| hash(worker.url.as_bytes())).collect();
        let kept = self.urls.iter().map(|url| {
            let at = old.binary_search_by_key(url, |(url, _)| *url).ok()?;
            old.get_mut(at)?.1.take()
        });
        self.values = kept.map(Option::unwrap_or_default).collect();
    }

    /// Gives the worker whose URL has this [`hash`] a value that was saved, now or when the table tells of it.
    pub fn restore(&mut self, url: u64, value: T) {
        match self.urls.iter().position(|known| *known == url).and_then(|at| self.values.get_mut(at)) {
            Some(known) => *known = value,
            None => {
                self.urls.push(url);
                self.values.push(value);
            }
        }
    }
}

impl<T> PerWorker<T> {
    /// That of worker `index`.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.values.get(index)
    }

    /// That of worker `index`, to change it.
    #[inline]
    #[must_use]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.values.get_mut(index)
    }

    /// The worker whose URL has this [`hash`].
    #[must_use]
    pub fn index_of(&self, url: u64) -> Option<usize> {
        self.urls.iter().position(|known| *known == url)
    }

    /// The [`hash`] of the URL of worker `index`.
    #[inline]
    #[must_use]
    pub fn url(&self, index: usize) -> Option<u64> {
        self.urls.get(index).copied()
    }

    /// All of them with the hashes of their URLs, in table order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.urls.iter().copied().zip(&self.values)
    }

    /// All of them in table order, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.values.iter_mut()
    }
}
