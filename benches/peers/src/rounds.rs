//! Shapes take turns, so that what disturbs the machine disturbs all of them.

use std::time::Duration;
use std::time::Instant;

/// A way to make a decision.
pub(crate) trait Shape {
    /// Makes as many decisions, and checks that each is one.
    fn run(&mut self, calls: u32) -> anyhow::Result<()>;
}

/// Nanoseconds per decision of one shape, a number a round.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) rounds: Vec<f64>,
}

impl Measured {
    pub(crate) fn median(&self) -> f64 {
        median(self.rounds.clone())
    }

    /// The median of the ratios to another shape, each taken within a round.
    pub(crate) fn ratio(&self, other: &Self) -> f64 {
        median(self.rounds.iter().zip(&other.rounds).map(|(this, that)| this / that).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    if values.len().is_multiple_of(2) { (at(middle.wrapping_sub(1)) + at(middle)) / 2.0 } else { at(middle) }
}

/// Runs all shapes in turn, each for about `slice` a round.
pub(crate) fn measure(
    shapes: &mut [(&'static str, Box<dyn Shape + '_>)],
    rounds: u32,
    slice: Duration,
) -> anyhow::Result<Vec<Measured>> {
    let mut calls = Vec::new();
    for (_, shape) in shapes.iter_mut() {
        calls.push(calibrated(shape.as_mut(), slice)?);
    }
    let mut measured: Vec<Measured> =
        shapes.iter().map(|(name, _)| Measured { name, rounds: Vec::new() }).collect();
    for _ in 0..rounds {
        for (((_, shape), calls), measured) in shapes.iter_mut().zip(&calls).zip(&mut measured) {
            // What the other shapes left in the caches is theirs.
            shape.run(calls.div_ceil(20))?;
            let start = Instant::now();
            shape.run(*calls)?;
            measured.rounds.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(*calls));
        }
    }
    Ok(measured)
}

/// How many calls fill a slice of time. Warms up as well.
fn calibrated(shape: &mut dyn Shape, slice: Duration) -> anyhow::Result<u32> {
    let mut calls = 1;
    loop {
        let start = Instant::now();
        shape.run(calls)?;
        let took = start.elapsed();
        if took >= slice || calls >= 1 << 24 {
            return Ok(calls);
        }
        calls *= 2;
    }
}
