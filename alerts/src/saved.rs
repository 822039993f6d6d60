//! What the engine finds in the store when it is loaded.

use std::collections::BTreeMap;

use fleetbeat_protocol::Timestamp;
use serde::{Deserialize, Serialize};

use crate::alert::Alert;
use crate::delivery::{Delivery, DeliveryState};

/// What the store has: all that [`Plan`](crate::Plan)s and settlements have written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Saved {
    /// The engine's own state; `None` before the first one was written.
    pub state: Option<EngineState>,
    /// Every open alert, and those that ended after [`Saved::ended_after`].
    pub alerts: Vec<Alert>,
    /// Every delivery that waits or is being sent, and those made after
    /// [`Saved::ended_after`], whatever their state.
    pub deliveries: Vec<SavedDelivery>,
}

impl Saved {
    /// From when on alerts that have ended and deliveries are needed, at `now`: three
    /// days before.
    pub fn ended_after(now: Timestamp) -> Timestamp {
        let three_days = std::time::Duration::from_secs(3 * 86_400);
        now.saturating_sub(three_days).unwrap_or(Timestamp::MIN)
    }
}

/// A delivery as the store has it.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedDelivery {
    /// The delivery.
    pub delivery: Delivery,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it has been tried.
    pub tries: u32,
    /// Not before.
    pub next_at: Timestamp,
    /// What was sent at its first try. May be left out for one that is neither waiting
    /// nor being sent.
    pub message: Option<String>,
}

/// What the engine remembers besides alerts and deliveries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EngineState {
    /// The number of the last event of a host that was looked at.
    pub events_after: i64,
    /// The number of the next delivery.
    pub next_number: i64,
    /// Every delivery with a smaller number is known to have been written.
    pub written_below: i64,
    /// The channels that fail, by id.
    pub failing: BTreeMap<String, Failing>,
}

/// How a channel fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// Since when.
    pub since: Timestamp,
    /// So many tries in a row.
    pub tries: u32,
    /// When another channel was told of it last.
    pub told_at: Option<Timestamp>,
}
