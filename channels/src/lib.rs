//! Channels: what brings messages to people.
//!
//! A channel knows neither alerts nor the store: it takes a [`Message`] and says whether
//! the peer has taken it.

mod error;
mod message;

pub use error::{ErrorClass, Remark, SendError, Sent};
pub use message::{
    Group, Item, Links, Message, MessageKind, News, RuleRef, Severity, Subject,
};
