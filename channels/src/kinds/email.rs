//! Mail: plain text, which every program and every phone shows.

use lettre::Address;

use crate::error::{SendError, Sent};
use crate::fields::Fields;
use crate::kind::Peer;
use crate::message::Message;
use crate::sender::{Mail, Sender};
use crate::text::{PLAIN, Style, Text, count_chars};

/// Longest subject, in characters.
const MAX_SUBJECT: usize = 150;
/// Longest text, in characters: hundreds of hosts.
const MAX_TEXT: usize = 50_000;
/// Most recipients of a channel.
const MAX_TO: usize = 10;

/// Recipients of mail.
struct Email {
    to: Vec<Address>,
}

pub(super) fn build(fields: &mut Fields<'_>) -> Option<Box<dyn Peer>> {
    let texts = fields.texts("to", MAX_TO)?;
    let mut to = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        match text.parse::<Address>() {
            Ok(address) if text.is_ascii() => to.push(address),
            _ => fields.fault(
                &format!("to[{index}]"),
                "must be an address such as ops@example.com",
            ),
        }
    }
    Some(Box::new(Email { to }))
}

impl Peer for Email {
    fn send(&self, message: &Message, sender: &Sender) -> Result<Sent, SendError> {
        let text = Text::of(message);
        let style = Style {
            max: MAX_TEXT,
            ..PLAIN
        };
        sender.mail(&Mail {
            to: self.to.clone(),
            subject: text.title_within(MAX_SUBJECT, count_chars),
            text: format!("{}\n\n{}\n", text.title, text.body(&style)),
            id: message.id.clone(),
            reply_to: message.reply_to.clone(),
        })
    }
}
