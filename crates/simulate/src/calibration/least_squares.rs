//! A line through measurements of which some are off: least squares of relative errors, in which what is far
//! off counts less (Huber's weights, Robust Estimation of a Location Parameter, 1964).

#![expect(clippy::indexing_slicing, reason = "terms are counted up to their number")]

use crate::calibration::measurements::median;

/// The most terms of a fit.
pub(crate) const TERMS: usize = 3;
/// Beyond so many usual deviations a measurement counts less.
const HUBER: f64 = 1.345;
/// From the median of absolute deviations to the standard deviation of normal errors.
const NORMAL: f64 = 1.4826;
/// How often the weights are worked out anew.
const ROUNDS: usize = 12;
/// Errors below this share are those of the clock.
const LEAST_ERROR: f64 = 1e-4;
/// A coefficient that is not larger than so many of its errors cannot be told apart from 0.
const LEAST_STRENGTH: f64 = 2.0;
/// A pivot below this is 0 but for rounding.
const LEAST_PIVOT: f64 = 1e-9;

/// What was measured at one point: the sum of each term times its coefficient should be `value`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FitPoint {
    pub(crate) terms: [f64; TERMS],
    pub(crate) value: f64,
}

/// Coefficients, in the order of the terms; those that could not be told apart from 0 are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct LineFit {
    pub(crate) coefficients: [f64; TERMS],
    /// The standard error of each; infinite if the points say nothing of it.
    pub(crate) errors: [f64; TERMS],
    /// How far off the points are: the median of relative errors.
    pub(crate) off: f64,
}

/// The fit of these points. The first term stays in any case; of the others none has a coefficient that is
/// not larger than twice its error. `None` if the points do not say anything.
pub(crate) fn fit(points: &[FitPoint]) -> Option<LineFit> {
    let mut used: [bool; TERMS] =
        std::array::from_fn(|term| points.iter().any(|point| point.terms[term] != 0.0));
    let mut errors = used.map(|used| if used { 0.0 } else { f64::INFINITY });
    loop {
        let Some(fit) = robust(points, used) else {
            // Not so many terms, then.
            let last = (1..TERMS).rev().find(|term| used[*term])?;
            (used[last], errors[last]) = (false, f64::INFINITY);
            continue;
        };
        let strength = |term: &usize| fit.coefficients[*term] / fit.errors[*term];
        let kept = (1..TERMS).filter(|term| used[*term]);
        let weakest = kept.min_by(|one, other| strength(one).total_cmp(&strength(other)));
        match weakest.filter(|term| strength(term) < LEAST_STRENGTH) {
            Some(term) => (used[term], errors[term]) = (false, fit.errors[term]),
            None => {
                let errors =
                    std::array::from_fn(|term| if used[term] { fit.errors[term] } else { errors[term] });
                return Some(LineFit { errors, ..fit });
            }
        }
    }
}

fn robust(points: &[FitPoint], used: [bool; TERMS]) -> Option<LineFit> {
    let mut weights = vec![1.0; points.len()];
    let mut found = LineFit::default();
    for _ in 0..ROUNDS {
        found = weighted(points, used, &weights)?;
        let off: Vec<f64> = points.iter().map(|point| found.off_at(point)).collect();
        found.off = median(off.iter().copied())?;
        let scale = (NORMAL * found.off).max(LEAST_ERROR);
        weights = off.iter().map(|off| (HUBER * scale / off).min(1.0)).collect();
    }
    Some(found)
}

fn weighted(points: &[FitPoint], used: [bool; TERMS], weights: &[f64]) -> Option<LineFit> {
    // Each column has a length near 1 then: terms may be 1 and 10 million.
    let most = |term: usize| points.iter().map(|point| point.terms[term] / point.value).fold(0.0, f64::max);
    let scales: [f64; TERMS] = std::array::from_fn(|term| if used[term] { most(term) } else { 1.0 });
    let mut normal = [[0.0; TERMS]; TERMS];
    let mut right = [0.0; TERMS];
    for (point, weight) in points.iter().zip(weights) {
        let row: [f64; TERMS] = std::array::from_fn(|term| {
            if used[term] { point.terms[term] / point.value / scales[term] } else { 0.0 }
        });
        for (i, own) in row.iter().enumerate() {
            right[i] += weight * own;
            for (j, other) in row.iter().enumerate() {
                normal[i][j] += weight * own * other;
            }
        }
    }
    for i in (0..TERMS).filter(|term| !used[*term]) {
        normal[i][i] = 1.0;
    }
    let inverse = inverse(normal)?;
    let coefficient = |i: usize| (0..TERMS).map(|j| inverse[i][j] * right[j]).sum::<f64>() / scales[i];
    let mut found = LineFit { coefficients: std::array::from_fn(coefficient), ..LineFit::default() };
    let squares = points.iter().zip(weights).map(|(point, weight)| weight * found.off_at(point).powi(2));
    let free = points.len().checked_sub(used.iter().filter(|used| **used).count())?;
    let variance = (squares.sum::<f64>() / as_f64(free.max(1))).max(LEAST_ERROR.powi(2));
    found.errors = std::array::from_fn(|i| (variance * inverse[i][i]).sqrt() / scales[i]);
    Some(found)
}

impl LineFit {
    /// A coefficient, and its error.
    pub(crate) fn term(&self, term: usize) -> (f64, f64) {
        (self.coefficients[term], self.errors[term])
    }

    /// What it says of a point.
    pub(crate) fn at(&self, terms: [f64; TERMS]) -> f64 {
        self.coefficients.iter().zip(terms).map(|(coefficient, term)| coefficient * term).sum()
    }

    /// How far off a point is, as a share of it; more than 0.
    fn off_at(&self, point: &FitPoint) -> f64 {
        (self.at(point.terms) / point.value - 1.0).abs().max(f64::MIN_POSITIVE)
    }
}

/// By Gauss and Jordan; `None` if there is none.
fn inverse(mut matrix: [[f64; TERMS]; TERMS]) -> Option<[[f64; TERMS]; TERMS]> {
    let mut result = [[0.0; TERMS]; TERMS];
    for (i, line) in result.iter_mut().enumerate() {
        line[i] = 1.0;
    }
    for column in 0..TERMS {
        let size = |row: &usize| matrix[*row][column].abs();
        let pivot = (column..TERMS).max_by(|one, other| size(one).total_cmp(&size(other)))?;
        matrix.swap(column, pivot);
        result.swap(column, pivot);
        let size = matrix[column][column];
        if size.is_nan() || size.abs() < LEAST_PIVOT {
            return None;
        }
        matrix[column] = matrix[column].map(|entry| entry / size);
        result[column] = result[column].map(|entry| entry / size);
        for row in (0..TERMS).filter(|row| *row != column) {
            let factor = matrix[row][column];
            matrix[row] = std::array::from_fn(|j| matrix[row][j] - factor * matrix[column][j]);
            result[row] = std::array::from_fn(|j| result[row][j] - factor * result[column][j]);
        }
    }
    Some(result)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(noise: impl Fn(usize) -> f64) -> Vec<FitPoint> {
        let mut points = Vec::new();
        for x in [1.0, 2.0, 4.0, 8.0, 16.0] {
            for y in [100.0, 5000.0, 60_000.0] {
                let value = (0.003 + 0.0002 * x + 4e-8 * y) * noise(points.len());
                points.push(FitPoint { terms: [1.0, x, y], value });
            }
        }
        points
    }

    fn is_near(found: f64, expected: f64, share: f64) -> bool {
        (found - expected).abs() <= share * expected
    }

    #[test]
    fn coefficients_are_found_though_some_points_are_far_off() {
        let exact = fit(&points(|_| 1.0)).unwrap();
        let wild = fit(&points(
            |number| if number % 5 == 2 { 3.0 } else { 1.0 + 0.01 * ((number % 3) as f64 - 1.0) },
        ));
        for (found, share) in [(exact, 1e-6), (wild.unwrap(), 0.1)] {
            for (found, expected) in found.coefficients.into_iter().zip([0.003, 0.0002, 4e-8]) {
                assert!(is_near(found, expected, share), "{found} is not {expected}");
            }
        }
        assert!(exact.off < 1e-9);
    }

    #[test]
    fn term_that_is_not_there_or_cannot_be_told_apart_is_left_out() {
        let rows = |value: fn(f64) -> f64| -> Vec<FitPoint> {
            (1..20)
                .map(|x| FitPoint { terms: [1.0, f64::from(x), 0.0], value: value(f64::from(x)) })
                .collect()
        };
        let flat = fit(&rows(|x| if x % 2.0 == 0.0 { 1.01 } else { 0.99 })).unwrap();
        assert!(is_near(flat.coefficients[0], 1.0, 0.01) && flat.coefficients[1..] == [0.0, 0.0], "{flat:?}");
        let falling = fit(&rows(|x| 30.0 - x)).unwrap();
        assert_eq!(falling.coefficients[1], 0.0);
        assert_eq!(fit(&[]), None);
        let same = FitPoint { terms: [1.0, 1.0, 0.0], value: 1.0 };
        let alike = fit(&[same, same, same]).unwrap();
        assert!(
            is_near(alike.coefficients[0], 1.0, 1e-9) && alike.coefficients[1..] == [0.0, 0.0],
            "{alike:?}"
        );
        assert!(alike.errors[1..].iter().all(|error| error.is_infinite()), "{alike:?}");
    }
}
