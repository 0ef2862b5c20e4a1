//! Says over a plain subject what a router has in flight, and hears what the others have. What is lost is said
//! again a moment later.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use tokio::time::MissedTickBehavior;

use crate::connection::FleetConnection;
use crate::exchange_counts::{ExchangeCounts, MessageOutcome};
use crate::fleet_state_error::FleetStateError;
use crate::key_part::KeyPart;
use crate::loads::{LOAD_INTERVAL, LoadMessage, LoadsElsewhere};

/// What the subjects begin with; the fleet and the router follow.
const SUBJECT: &str = "sgl.load";

/// Largest message, in bytes: some ten thousand workers.
const MAX_MESSAGE_BYTES: usize = 512 << 10;

/// Says and hears loads.
#[derive(Clone, Debug)]
pub struct LoadExchange {
    /// The connection.
    pub connection: FleetConnection,
    /// The fleet.
    pub fleet: KeyPart,
    /// This router.
    pub router: KeyPart,
    /// A random name of this process.
    pub life: u64,
    /// What became of messages.
    pub counts: Arc<ExchangeCounts>,
}

impl LoadExchange {
    /// Says five times a second what `own` gives, and tells at each of these times what the others have
    /// together; `None` while none of them is heard.
    ///
    /// # Errors
    ///
    /// [`FleetStateError`] if the connection has ended for good.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn run(
        &self,
        own: impl Fn() -> BTreeMap<String, u32>,
        mut told: impl FnMut(Option<&HashMap<&str, u32>>),
    ) -> Result<(), FleetStateError> {
        let prefix = format!("{SUBJECT}.{}.", self.fleet);
        let mut others = self.subscribed(&prefix).await?;
        let (began, mut loads, mut number) = (Instant::now(), LoadsElsewhere::default(), 0);
        let mut tick = tokio::time::interval(LOAD_INTERVAL);
        // What was missed is old by now.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = others.next() => {
                    let Some(message) = message else { return Err(FleetStateError::Away) };
                    self.hear(&mut loads, &prefix, &message, began);
                }
                _ = tick.tick() => {
                    let message = LoadMessage { life: self.life, number: number + 1, in_flight: own() };
                    let is_said = self.say(&prefix, message).await;
                    number += u64::from(is_said);
                    let outcome = if is_said { MessageOutcome::Sent } else { MessageOutcome::Unsent };
                    self.counts.add(outcome, 1);
                    told(loads.sums(began.elapsed()).as_ref());
                }
            }
        }
    }

    async fn subscribed(&self, prefix: &str) -> Result<Subscriber, FleetStateError> {
        let subscribed = self.connection.client().subscribe(format!("{prefix}*")).await;
        subscribed.map_err(|error| FleetStateError::server("hearing loads")(error.into()))
    }

    fn hear(&self, loads: &mut LoadsElsewhere, prefix: &str, message: &Message, began: Instant) {
        let router = message.subject.strip_prefix(prefix).filter(|router| *router != self.router.as_str());
        let Some(router) = router else { return };
        match serde_json::from_slice(&message.payload) {
            Ok(said) => loads.hear(router, said, began.elapsed(), &self.counts),
            Err(error) => {
                self.counts.add(MessageOutcome::Malformed, 1);
                tracing::debug!(router, %error, "a load of another router cannot be understood");
            }
        }
    }

    /// True if it was said.
    async fn say(&self, prefix: &str, message: LoadMessage) -> bool {
        // What is said while the connection is away would be sent much later.
        if self.connection.check().is_err() {
            return false;
        }
        // A map of numbers has a text.
        let text = serde_json::to_vec(&message).unwrap_or_default();
        if text.len() > MAX_MESSAGE_BYTES {
            tracing::debug!(bytes = text.len(), "the loads are too many to be said");
            return false;
        }
        let said = self.connection.client().publish(format!("{prefix}{}", self.router), text.into()).await;
        if let Err(error) = &said {
            tracing::debug!(%error, "loads could not be said");
        }
        said.is_ok()
    }
}
