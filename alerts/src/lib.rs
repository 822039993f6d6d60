//! Alerts: what is wrong with which hosts, and who is told of it.
//!
//! A state machine without I/O and without a clock. Whoever owns an engine shows it the
//! fleet every few seconds (`Look`), writes what it says (`Plan`), and sends what it
//! hands out. Whatever was written is enough to go on after a kill.

mod advice;
mod alert;
mod audience;
mod book;
mod deaf;
mod delivery;
mod dry_run;
mod engine;
mod episode;
mod fleet;
mod holds;
mod ids;
mod judge;
mod load;
mod look;
mod many_down;
mod measure;
mod news;
mod outbox;
mod pairing;
mod plan;
mod saved;
mod telling;
mod time;
mod window;
mod words;

pub use advice::advise;
pub use alert::{
    Acknowledgement, Alert, AlertHost, AlertState, Counted, Course, DEAF_RULE,
    DeliveryRef, EndReason, HeldBy, Mark, Reminder, Subject, Told,
};
pub use delivery::{
    Claim, Delivery, DeliveryItem, DeliveryKind, DeliveryState, Draft, DraftItem,
    Outcome, Settlement,
};
pub use dry_run::{DryRun, Found, dry_run};
pub use engine::Engine;
pub use ids::Random;
pub use look::{
    ChannelPolicy, FleetHost, Hearing, HostEvent, HostEventKind, Look, StoredMute,
    StoredRule,
};
pub use news::News;
pub use plan::{AlertEvent, AlertEventKind, Plan, WaitingChange};
pub use saved::{EngineState, Failing, Saved, SavedDelivery};
pub use words::Words;
