//! How a pool gets and loses its instances: making, refilling, growing, dropping, all off the path.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use crate::engine::instance::Instance;
use crate::engine::making::StepError;
use crate::engine::pool::instance_pool::{Pool, Pooled};
use crate::engine::trial::Trial;

/// How often a pool checks how many instances are warm and how old they are. Not one timer for the next
/// that is to be replaced: the period is also the unit of ages, which a release compares without looking
/// at a clock, and it tries again where an instance could not be made.
const MAINTENANCE_PERIOD: Duration = Duration::from_millis(250);

impl Pool {
    /// The only way out: the background drops the instance, since unmapping its memory takes
    /// microseconds, and makes another one in its place if one is wanted.
    pub(crate) fn retire(&self, pooled: Box<Pooled>) {
        let home = Arc::clone(&pooled.home);
        self.live.fetch_sub(1, Ordering::Relaxed);
        if let Err(pooled) = self.spent.push(pooled) {
            // More instances go than may live: the background is far behind.
            self.compiled.engine.background.handle().spawn(async move { drop(pooled) });
        }
        home.sweep();
        if home.waiters.count() > 0 {
            // The callers that wait for this instance need another one, even above `min_warm`.
            home.grow();
        }
    }

    /// A vacancy, if the pool may have one more instance.
    pub(crate) fn claim(self: &Arc<Self>) -> Option<Vacancy> {
        let max = self.options.max_instances;
        let claimed = self.live.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |live| {
            if live < max { Some(live + 1) } else { None }
        });
        claimed.ok()?;
        self.making.fetch_add(1, Ordering::Relaxed);
        Some(Vacancy { pool: Arc::clone(self), kept: false })
    }

    pub(crate) async fn make(self: &Arc<Self>, vacancy: Vacancy) -> Result<Box<Pooled>, StepError> {
        let message = self.recipe.init_message();
        let budget = self.options.make_budget;
        let services = self.recipe.services();
        let made = Instance::new(&self.compiled, services, budget, &message).await;
        let (instance, answer) = made?;
        let mut trial = Trial::new(instance, budget);
        let warmed = self.recipe.warm(&mut trial, answer).await;
        warmed.map_err(|error| StepError { step: "warm-up", error })?;
        let mut instance = trial.into_instance();
        instance.settle();
        {
            let mut marks = self.marks.lock();
            marks.retain(|mark| mark.strong_count() > 0);
            marks.push(Arc::downgrade(instance.mark()));
        }
        self.tally.created.fetch_add(1, Ordering::Relaxed);
        vacancy.keep();
        Ok(Box::new(Pooled {
            instance,
            home: Arc::clone(self),
            recycle_at_calls: jittered(self.options.recycle_after_calls),
            recycle_at_age: self.age.load(Ordering::Relaxed).saturating_add(jittered(self.recycle_periods())),
        }))
    }

    fn recycle_periods(&self) -> u64 {
        let periods = self.options.recycle_after.as_millis() / MAINTENANCE_PERIOD.as_millis();
        u64::try_from(periods).unwrap_or(u64::MAX)
    }

    /// Makes an instance and puts it where callers find it; false if it could not be made.
    async fn bring(self: Arc<Self>, vacancy: Vacancy) -> bool {
        let StepError { step, error } = match self.make(vacancy).await {
            Ok(made) => {
                self.put(made);
                return true;
            }
            Err(error) => error,
        };
        let count = self.unmade.fetch_add(1, Ordering::Relaxed) + 1;
        // Every request may cause one: logs the 1st, 2nd, 4th, 8th …
        if count.is_power_of_two() {
            tracing::warn!(step, %error, count, "an instance could not be made");
        }
        if self.live.load(Ordering::Relaxed) == 0 {
            // Nobody will be served: better to say so now than at the end of the budget.
            self.waiters.dismiss();
        }
        false
    }

    /// Makes one more instance if more callers wait than instances are being made.
    pub(crate) fn grow(self: &Arc<Self>) {
        let wanted = self.options.fresh || self.making.load(Ordering::Relaxed) < self.waiters.count();
        if let Some(vacancy) = wanted.then(|| self.claim()).flatten() {
            self.compiled.engine.background.handle().spawn(Arc::clone(self).bring(vacancy));
        }
    }

    /// Makes one instance if too few are warm; false if there are enough or it could not be made. If
    /// making it has to wait or takes more than a tick, that goes on as a task of its own.
    async fn refill(self: &Arc<Self>) -> bool {
        if self.is_closed() || self.live.load(Ordering::Relaxed) >= self.options.warm_target() {
            return false;
        }
        let Some(vacancy) = self.claim() else { return false };
        let mut making = Box::pin(Arc::clone(self).bring(vacancy));
        match poll_fn(|context| Poll::Ready(making.as_mut().poll(context))).await {
            Poll::Ready(made) => made,
            Poll::Pending => {
                self.compiled.engine.background.handle().spawn(making);
                true
            }
        }
    }

    /// Makes the background drop spent instances and replace them. If many go at once, only the first
    /// pays for waking it.
    fn sweep(self: &Arc<Self>) {
        // SeqCst: after the push, and before the sweeper's last check; see there.
        if self.sweeping.swap(true, Ordering::SeqCst) {
            return;
        }
        let pool = Arc::clone(self);
        self.compiled.engine.background.handle().spawn(async move {
            loop {
                let gone = pool.spent.pop().map(drop).is_some();
                if pool.refill().await || gone {
                    // Others wait for this thread too.
                    tokio::task::yield_now().await;
                    continue;
                }
                // A later push wakes another sweeper, or is seen below.
                pool.sweeping.store(false, Ordering::SeqCst);
                if pool.spent.is_empty() || pool.sweeping.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
        });
    }

    pub(crate) fn spawn_maintenance(self: &Arc<Self>) {
        let pool = Arc::downgrade(self);
        self.compiled.engine.background.handle().spawn(async move {
            let mut period = tokio::time::interval(MAINTENANCE_PERIOD);
            period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                period.tick().await;
                let Some(pool) = pool.upgrade().filter(|pool| !pool.is_closed()) else { return };
                pool.age.fetch_add(1, Ordering::Relaxed);
                pool.sweep();
            }
        });
    }
}

/// Room for an instance that is being made; given back unless it is kept.
#[derive(Debug)]
pub(crate) struct Vacancy {
    pool: Arc<Pool>,
    kept: bool,
}

impl Vacancy {
    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Vacancy {
    fn drop(&mut self) {
        self.pool.making.fetch_sub(1, Ordering::Relaxed);
        if !self.kept {
            self.pool.live.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// `value` give or take a tenth, so that instances made together are not replaced together; 0
/// means never.
fn jittered(value: u64) -> u64 {
    if value == 0 {
        return u64::MAX;
    }
    let spread = value / 10;
    (value - spread).saturating_add(fastrand::u64(..=spread.saturating_mul(2))).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_tenth() {
        assert!((0..1000).all(|_| (900..=1100).contains(&jittered(1000))));
        assert_eq!(jittered(0), u64::MAX);
        assert_eq!(jittered(1), 1);
    }
}
