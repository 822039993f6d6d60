//! The kinds of channels: one kind, one file, one entry in [`KINDS`].

mod alertmanager;
mod email;
mod ntfy;
mod telegram;
mod webhook;

use std::time::Duration;

use crate::kind::Kind;

/// Every kind of channel there is.
pub static KINDS: &[Kind] = &[
    Kind {
        name: "telegram",
        says: "A chat, a group or a channel of Telegram, by a bot",
        // Twenty messages a minute is what Telegram allows for a group.
        gap: Duration::from_secs(3),
        keeps_alive: None,
        build: telegram::build,
    },
    Kind {
        name: "email",
        says: "Mail to up to ten addresses, by the server's own mail server",
        gap: Duration::from_secs(1),
        keeps_alive: None,
        build: email::build,
    },
    Kind {
        name: "webhook",
        says: "A URL, in one of many formats: Slack, Discord, Matrix, PagerDuty, …",
        gap: Duration::from_secs(1),
        keeps_alive: None,
        build: webhook::build,
    },
    Kind {
        name: "ntfy",
        says: "A topic of ntfy, with a button that acknowledges",
        gap: Duration::from_secs(1),
        keeps_alive: None,
        build: ntfy::build,
    },
    Kind {
        name: "alertmanager",
        says: "An Alertmanager of Prometheus, which groups and routes by itself",
        gap: Duration::ZERO,
        keeps_alive: Some(Duration::from_mins(1)),
        build: alertmanager::build,
    },
];

/// The entry of the name.
pub(crate) fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}
