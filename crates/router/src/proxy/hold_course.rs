//! What a request goes through while the policy has it wait.

use std::pin::pin;
use std::time::{Duration, Instant};

use crate::proxy::clients::Client;
use crate::proxy::inbound::Inbound;
use crate::proxy::proxy_error::ProxyError;
use crate::proxy::queue::hold::Hold;
use crate::proxy::queue::{NoMore, RequestQueue, WaitEnd};
use sglang_router_rs::policies::{Wait, WaitOffer};

/// Whether a request waits because the policy has it wait, or may.
#[derive(Debug, Default)]
pub(crate) struct HoldCourse {
    hold: Option<Hold>,
    /// True once there was no place for it: it is asked once more, and then it is the failure policy's.
    is_refused: bool,
}

impl HoldCourse {
    /// What the policy is told of waiting.
    #[inline]
    pub(crate) fn offer(&self, queue: &RequestQueue, inbound: &Inbound) -> WaitOffer {
        match &self.hold {
            Some(hold) => hold.offer(),
            None if self.is_refused => WaitOffer { held: queue.held(), ..WaitOffer::default() },
            None => {
                let now = || Instant::now();
                let left = |until: Instant| until.saturating_duration_since(now());
                let left = inbound.waits_until.map_or(queue.settings().timeout, left);
                WaitOffer { left, held: queue.held(), ..WaitOffer::default() }
            }
        }
    }

    /// The policy has the request wait: waits until it is to be asked again.
    ///
    /// # Errors
    ///
    /// What to tell the client if that is not to be.
    ///
    /// # Cancel safety
    ///
    /// The place is kept until this is dropped.
    pub(crate) async fn wait(
        &mut self,
        client: &Client,
        inbound: &Inbound,
        model: Option<&str>,
        wait: &Wait,
    ) -> Result<(), ProxyError> {
        let hold = match &mut self.hold {
            // A plugin has failed then, and its failure policy has decided; another policy may insist.
            Some(hold) if hold.is_due() => return Err(ProxyError::QueueTimeout),
            None if self.is_refused => return Err(ProxyError::QueueFull),
            Some(hold) => {
                hold.still_waits(wait);
                hold
            }
            none => {
                let queue = client.proxy().queue();
                let latest = inbound.waits_until.unwrap_or_else(|| Instant::now() + queue.settings().timeout);
                match Hold::begin(queue, inbound.newcomer(model), latest, wait) {
                    Ok(hold) => none.insert(hold),
                    Err(_) => {
                        self.is_refused = true;
                        return Ok(());
                    }
                }
            }
        };
        match client.waiting(pin!(hold.called()), || false).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(NoMore::Stopped | NoMore::TimedOut)) => Err(ProxyError::Stopping),
            Err(_) => Err(ProxyError::Timeout),
        }
    }

    /// It was placed: how long it was held, if it was.
    #[inline]
    pub(crate) fn placed(&mut self) -> Option<Duration> {
        let hold = self.hold.take()?;
        let waited = hold.waited();
        hold.end(true, WaitEnd::WentOn);
        Some(waited)
    }

    /// It is not placed, and waits no longer: how long it was held, if it was.
    pub(crate) fn give_up(&mut self, error: &ProxyError) -> Option<Duration> {
        let hold = self.hold.take()?;
        let waited = hold.waited();
        let how = match error {
            ProxyError::Stopping => WaitEnd::Stopped,
            ProxyError::Timeout | ProxyError::QueueTimeout => WaitEnd::TimedOut,
            ProxyError::Shed { .. } => WaitEnd::Shed,
            _ => WaitEnd::Failed,
        };
        hold.end(false, how);
        Some(waited)
    }
}
