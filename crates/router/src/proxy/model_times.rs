//! How long answers take to their first token, and for each token more, by model.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use crate::metrics::{DurationHistogram, Families, catalogue};
use crate::proxy::token_tally::OTHER_MODELS;

/// Models that have numbers of their own. The others share one's.
const MAX_MODELS: usize = 100;

/// Bounds for the time per token: 1 ms to 2 s.
const TOKEN_BOUNDS: &[Duration] = &[
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(15),
    Duration::from_millis(20),
    Duration::from_millis(30),
    Duration::from_millis(40),
    Duration::from_millis(50),
    Duration::from_millis(75),
    Duration::from_millis(100),
    Duration::from_millis(150),
    Duration::from_millis(200),
    Duration::from_millis(300),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// The times of one model.
#[derive(Debug)]
pub(crate) struct ModelTimes {
    /// The model.
    pub(crate) model: Arc<str>,
    /// To the first token, from the request's head on.
    pub(crate) first_token: DurationHistogram,
    /// From one token to the next, on average over an answer.
    pub(crate) per_token: DurationHistogram,
}

/// The times of all models that requests came for.
///
/// # Concurrency
///
/// A stream takes the lock for reading when it begins; for writing only the first one of a model does.
#[derive(Debug, Default)]
pub(crate) struct TimesByModel {
    models: RwLock<BTreeMap<Arc<str>, Arc<ModelTimes>>>,
}

impl TimesByModel {
    /// Those of this model, which must be one that the fleet knows: names that clients make up are not to
    /// grow the metrics. `None` is a model that is not known.
    pub(crate) fn of(&self, model: Option<&str>) -> Arc<ModelTimes> {
        let model = model.unwrap_or(OTHER_MODELS);
        if let Some(times) = self.models.read().get(model) {
            return Arc::clone(times);
        }
        let mut models = self.models.write();
        let model = if models.len() < MAX_MODELS { model } else { OTHER_MODELS };
        let name: Arc<str> = Arc::from(model);
        let times = || {
            Arc::new(ModelTimes {
                model: Arc::clone(&name),
                first_token: DurationHistogram::new(DurationHistogram::REQUEST_BOUNDS),
                per_token: DurationHistogram::new(TOKEN_BOUNDS),
            })
        };
        Arc::clone(models.entry(Arc::clone(&name)).or_insert_with(times))
    }

    /// Tells all of them.
    pub(crate) fn tell(&self, families: &mut Families) {
        let models = self.models.read();
        let mut family = |metric, histogram: &dyn Fn(&ModelTimes) -> &DurationHistogram| {
            let family = families.family(metric);
            for (model, times) in &*models {
                let snapshot = histogram(times).snapshot();
                if snapshot.count > 0 {
                    family.histogram(&[model], snapshot);
                }
            }
        };
        family(&catalogue::FIRST_TOKEN, &|times| &times.first_token);
        family(&catalogue::TIME_PER_TOKEN, &|times| &times.per_token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_beyond_the_limit_share_their_times() {
        let times = TimesByModel::default();
        let own = times.of(Some("m0"));
        for number in 0..MAX_MODELS + 5 {
            times.of(Some(&format!("m{number}"))).first_token.observe(Duration::from_millis(1));
        }
        assert_eq!(times.models.read().len(), MAX_MODELS + 1);
        assert_eq!(own.first_token.snapshot().count, 1);
        assert_eq!(times.of(None).first_token.snapshot().count, 5);
    }
}
