//! The search for the highest load that is still fine.

/// Loads between which it is looked for, as powers of two.
const FURTHEST: i32 = 10;
/// How far from each other the last load that is fine and the first that is not may be, as a ratio.
const NEAR: f64 = 1.01;

/// The highest load, to one percent, at which `is_fine`, if at higher ones it is not any more: by doubling or
/// halving from `from` on, then by bisection. `None` if it is fine at none; the highest of all that were
/// tried if it is fine at all of them.
pub(crate) fn highest_load(from: f64, mut is_fine: impl FnMut(f64) -> bool) -> Option<f64> {
    let (mut low, mut high) = (None, None);
    let mut at = from;
    for _ in 0..=FURTHEST {
        if is_fine(at) {
            low = Some(at);
            at *= 2.0;
        } else {
            high = Some(at);
            at /= 2.0;
        }
        if low.is_some() && high.is_some() {
            break;
        }
    }
    let (mut low, Some(mut high)) = (low?, high) else { return low };
    while high > low * NEAR {
        let middle = (low * high).sqrt();
        if is_fine(middle) { low = middle } else { high = middle }
    }
    Some(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn highest_load_is_found_from_either_side() {
        for edge in [0.013, 0.4, 1.0, 3.7, 700.0] {
            let found = highest_load(1.0, |load| load <= edge).unwrap();
            assert!(found <= edge && found * NEAR >= edge, "{edge} {found}");
        }
        assert_eq!(highest_load(1.0, |_| false), None);
        assert_eq!(highest_load(2.0, |_| true), Some(2048.0));
    }
}
