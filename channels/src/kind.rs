//! What a kind of channel is.

use std::time::Duration;

use crate::error::{SendError, Sent};
use crate::fields::Fields;
use crate::message::Message;
use crate::sender::Sender;

/// A kind of channel, as an entry of [`KINDS`](crate::KINDS).
pub struct Kind {
    /// The word in a channel's `kind`.
    pub name: &'static str,
    /// A line for operators: where messages go.
    pub says: &'static str,
    /// The least time between two messages that peers of this kind take well.
    pub gap: Duration,
    /// For peers that forget an alert: how often they want to be told what fires.
    pub keeps_alive: Option<Duration>,
    /// Reads the settings; `None` if one is wrong, which is then among the faults.
    pub(crate) build: fn(&mut Fields<'_>) -> Option<Box<dyn Peer>>,
}

/// The other end of a channel.
pub(crate) trait Peer: Send + Sync {
    /// # Errors
    /// The peer has not taken the message.
    fn send(&self, message: &Message, sender: &Sender) -> Result<Sent, SendError>;
}
