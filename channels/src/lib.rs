//! Channels: what brings messages to people.
//!
//! A channel knows neither alerts nor the store: it takes a [`Message`] and says whether
//! the peer has taken it. `kinds/mod.rs` is the table of kinds, `guard.rs` says which
//! addresses channels may use, and `text.rs` is what people read.
//!
//! # To add a kind
//! A file in `kinds/` with a `build`, which reads the settings, and a type with the trait
//! `Peer`; then an entry in [`KINDS`]. The tests in `tests/` walk the table.

mod channel;
mod error;
mod fields;
mod guard;
mod kind;
mod kinds;
mod message;
mod sealed;
mod sender;
mod text;
mod url;

pub use channel::{Channel, Settings};
pub use error::{ErrorClass, Remark, SendError, Sent};
pub use fleetbeat_protocol::Severity;
pub use guard::Guard;
pub use kind::Kind;
pub use kinds::KINDS;
pub use message::{Group, Item, Links, Message, MessageKind, News, RuleRef, Subject};
pub use sealed::{Closed, Keys};
pub use sender::{Sender, SenderError, SenderOptions, Smtp, SmtpLogin, SmtpTls};
