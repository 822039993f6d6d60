//! Alerts on the wire: which conditions are watched (rules), and when nobody is to be
//! told (mutes).

mod ack;
mod channel;
mod condition;
mod limit;
mod mute;
mod rule;
mod severity;
mod span;
mod vocabulary;
mod window;

pub use ack::AckNote;
pub use channel::ChannelForm;
pub use condition::{Condition, LoadKind};
pub use limit::{Limit, Side};
pub use mute::{MAX_MUTE_LIFE, MAX_WEEKLY_LIFE, Mute};
pub use rule::{Escalation, GroupLabel, Rule};
pub use severity::Severity;
pub use span::show_span;
pub use vocabulary::Vocabulary;
pub use window::{ClockTime, Day, Quiet, Weekly};
