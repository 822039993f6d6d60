//! Alerts: what is wrong with which hosts, and who is told of it.
//!
//! A state machine without I/O and without a clock. Whoever owns an engine shows it the
//! fleet every few seconds (`Look`), writes what it says (`Plan`), and sends what it hands
//! out. Whatever was written is enough to go on after a kill.

mod alert;
mod delivery;
mod look;
mod plan;
mod saved;

pub use alert::{
    Acknowledgement, Alert, AlertHost, AlertState, Counted, Course, DEAF_RULE,
    DeliveryRef, EndReason, HeldBy, Mark, Subject, Told,
};
pub use delivery::{
    Claim, Delivery, DeliveryItem, DeliveryKind, DeliveryState, Draft, DraftItem, News,
    Outcome, Settlement,
};
pub use look::{
    ChannelPolicy, FleetHost, Hearing, HostEvent, HostEventKind, Look, StoredMute,
    StoredRule,
};
pub use plan::{AlertEvent, AlertEventKind, Plan, WaitingChange};
pub use saved::{EngineState, Failing, Saved, SavedDelivery};
