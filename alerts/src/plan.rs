//! What a look changes: to be written before the next one.

use fleetbeat_protocol::Timestamp;

use crate::alert::Alert;
use crate::delivery::{Delivery, DeliveryState};
use crate::saved::EngineState;

/// What a look has changed. It is written in the order of its fields: alerts in slices,
/// each with its events; then the state, if there is one; then each delivery, which is
/// what makes it count that an alert is told; then what changes in the outbox. If
/// anything cannot be written, the engine is dropped and loaded anew.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// New and changed alerts, whole.
    pub alerts: Vec<Alert>,
    /// What has happened to them.
    pub events: Vec<AlertEvent>,
    /// The engine's own state, if it has changed.
    pub state: Option<EngineState>,
    /// New deliveries.
    pub deliveries: Vec<Delivery>,
    /// Deliveries that nobody has tried and that have changed.
    pub changed_waiting: Vec<WaitingChange>,
}

/// Something that happened to an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertEvent {
    /// The place of the alert in [`Plan::alerts`].
    pub alert: usize,
    /// What.
    pub kind: AlertEventKind,
    /// When.
    pub at: Timestamp,
}

/// What happened to an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertEventKind {
    /// It has begun to fire.
    Fired,
    /// It is over.
    Resolved,
    /// It has begun to flap.
    Flapping,
    /// It has ceased to flap, and fires.
    Settled,
}

impl AlertEventKind {
    /// The kind's name: what comes behind `alert.` in the event's.
    pub fn as_str(self) -> &'static str {
        match self {
            AlertEventKind::Fired => "fired",
            AlertEventKind::Resolved => "resolved",
            AlertEventKind::Flapping => "flapping",
            AlertEventKind::Settled => "settled",
        }
    }
}

/// A delivery that nobody has tried, as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct WaitingChange {
    /// The delivery.
    pub delivery: Delivery,
    /// `Waiting`, `Folded` if nothing is left of it, or `Dead` if its channel is gone.
    pub state: DeliveryState,
}
