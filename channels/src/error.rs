//! Why a message was not sent. Nothing in here repeats what a peer has answered: a channel
//! would else show any admin the pages of the network that the server is in.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The cause, as a word for the API and the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The name has no address.
    Dns,
    /// There is no connection.
    Connect,
    /// The peer's certificate or its TLS is not accepted.
    Tls,
    /// The peer does not take the message: a status of 400 or more for HTTP, a code of
    /// 400 or more for SMTP.
    Refused,
    /// The peer answers with another status than one of success, such as a redirect.
    Status,
    /// The peer took too long.
    Timeout,
    /// The peer has had enough messages for now.
    Rate,
    /// The address is one that channels may not use.
    Address,
    /// The channel's own settings, or the server's, do not suffice.
    Settings,
    /// The peer speaks another protocol, or breaks off.
    Protocol,
}

impl ErrorClass {
    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            ErrorClass::Dns => "dns",
            ErrorClass::Connect => "connect",
            ErrorClass::Tls => "tls",
            ErrorClass::Refused => "refused",
            ErrorClass::Status => "status",
            ErrorClass::Timeout => "timeout",
            ErrorClass::Rate => "rate",
            ErrorClass::Address => "address",
            ErrorClass::Settings => "settings",
            ErrorClass::Protocol => "protocol",
        }
    }
}

/// Why a message was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SendError {
    /// The cause.
    pub class: ErrorClass,
    /// The status of HTTP or the code of SMTP.
    pub status: Option<u16>,
    /// How long the peer wants to be left alone. Never more than a day.
    pub retry_after: Option<Duration>,
    /// Whether another try with the same settings would fail, too.
    pub is_permanent: bool,
}

impl SendError {
    /// A failure that may be over at the next try.
    pub(crate) fn passing(class: ErrorClass) -> SendError {
        SendError {
            class,
            status: None,
            retry_after: None,
            is_permanent: false,
        }
    }

    /// A failure that no further try would change.
    pub(crate) fn permanent(class: ErrorClass) -> SendError {
        SendError {
            is_permanent: true,
            ..SendError::passing(class)
        }
    }

    /// The same failure, with the peer's status.
    pub(crate) fn with_status(self, status: u16) -> SendError {
        SendError {
            status: Some(status),
            ..self
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.class {
            ErrorClass::Dns => "the name has no address",
            ErrorClass::Connect => "no connection",
            ErrorClass::Tls => "TLS is not accepted",
            ErrorClass::Refused => "the peer refuses the message",
            ErrorClass::Status => "the peer answers with an unusable status",
            ErrorClass::Timeout => "the peer took too long",
            ErrorClass::Rate => "the peer has had enough messages for now",
            ErrorClass::Address => "the address is not one that channels may use",
            ErrorClass::Settings => "the settings do not suffice",
            ErrorClass::Protocol => "the peer speaks another protocol",
        })?;
        match self.status {
            Some(status) => write!(f, " ({status})"),
            None => Ok(()),
        }
    }
}

/// What is to be said of a message that was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// What somebody should see to, although the message was sent.
    pub remarks: Vec<Remark>,
}

/// What somebody should see to, although a message was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remark {
    /// The channel's own template is broken; the built-in text was sent. With the reason.
    Template(String),
    /// Telegram has moved the chat; the setting `chat_id` should be this one.
    ChatMoved(String),
    /// The peer did not understand the markup; plain text was sent.
    Plain,
    /// The mail server refuses some of the recipients for good; the others have the
    /// mail. With their number.
    Recipients(usize),
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remark::Template(reason) => write!(f, "the template is broken: {reason}"),
            Remark::ChatMoved(id) => write!(f, "the chat has the id {id} now"),
            Remark::Plain => f.write_str("the peer does not understand the markup"),
            Remark::Recipients(count) => {
                write!(f, "the mail server refuses {count} of the recipients")
            }
        }
    }
}
