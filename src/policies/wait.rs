//! What a policy says of a request that is to wait.

use std::cmp::Ordering;
use std::time::Duration;

/// A place in the order in which requests that wait are asked again: the smallest first.
#[derive(Clone, Copy, Debug)]
pub struct WaitKey(f64);

impl WaitKey {
    /// The place of this number. NaN comes after all others.
    pub fn new(key: f64) -> Self {
        // So that both zeros are one place.
        Self(if key == 0.0 { 0.0 } else { key })
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Ord for WaitKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for WaitKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for WaitKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for WaitKey {}

/// A request that is to wait: it is to be decided again when something has changed. Only a caller that
/// offered it ([`WaitOffer`](crate::policies::WaitOffer)) is told so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Its place in the order in which requests that wait are asked again.
    pub key: WaitKey,
    /// How long it is to wait at the most, counted from its first such answer.
    pub at_most: Duration,
    /// The generation that said so.
    pub generation: u64,
    /// After how many such answers in a row others need not be asked now: the plugin's option `reasks`.
    pub reasks: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_their_numbers_and_both_zeros_are_one() {
        let mut keys = [3.0, f64::INFINITY, -1.5, 0.0, f64::NEG_INFINITY].map(WaitKey::new);
        keys.sort();
        assert_eq!(keys.map(WaitKey::get), [f64::NEG_INFINITY, -1.5, 0.0, 3.0, f64::INFINITY]);
        assert_eq!(WaitKey::new(-0.0), WaitKey::new(0.0));
    }
}
