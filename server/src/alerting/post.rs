//! What it takes to send to a channel: the keys of secrets, the addresses that channels may
//! use, the mail server, and the links in messages. A command has these as well as the
//! server.

use std::io;

use fleetbeat_channels::{
    Channel, Guard, Keys, Links, Message, Sender, SenderOptions, Settings, Smtp,
    SmtpLogin, SmtpTls,
};
use fleetbeat_protocol::Timestamp;

use super::ack_link::AckLinks;
use super::kept::KeptChannel;
use super::text;
use crate::alert_settings::{AlertSettings, SmtpEncryption, SmtpSettings};
use crate::secret_keys::SecretKeys;

/// What it takes to send to a channel.
pub(crate) struct Post {
    /// The keys that seal channels' secrets.
    pub(crate) keys: Keys,
    /// Which addresses channels may use.
    pub(crate) guard: Guard,
    /// What sends.
    pub(crate) sender: Sender,
    /// What acknowledges without a login.
    pub(crate) ack_links: AckLinks,
    /// Whether a former key is good as well.
    pub(super) has_older_keys: bool,
    external_url: Option<String>,
}

impl Post {
    /// What these settings say.
    ///
    /// # Errors
    /// `[smtp]` cannot be used.
    pub(crate) fn new(settings: &AlertSettings, secret: &SecretKeys) -> io::Result<Post> {
        let guard = Guard::new(settings.allow_private.clone());
        let sender = Sender::new(SenderOptions {
            guard: guard.clone(),
            authorities: None,
            smtp: settings.smtp.as_ref().map(smtp),
        });
        let unusable = |error| io::Error::other(format!("[smtp]: {error}"));
        Ok(Post {
            keys: Keys::derive(secret.current(), &secret.older()),
            guard,
            sender: sender.map_err(unusable)?,
            ack_links: AckLinks::new(&secret.bytes()),
            has_older_keys: !secret.older().is_empty(),
            external_url: settings.external_url.clone(),
        })
    }

    /// What sends to the channel of this id.
    ///
    /// # Errors
    /// Says why nothing can.
    pub(crate) fn open(
        &self,
        id: &str,
        channel: &KeptChannel,
    ) -> Result<Channel, String> {
        let opened = Settings::open(&channel.settings, &self.keys, id);
        let (settings, _) = opened.map_err(|closed| closed.to_string())?;
        Channel::new(&settings).map_err(|broken| {
            let fields: Vec<String> =
                broken.into_iter().map(|error| error.field).collect();
            format!(
                "this version does not understand its settings: {}",
                fields.join(", ")
            )
        })
    }

    /// The links of a message, if people can reach the dashboard.
    pub(crate) fn links(&self, delivery: Option<&str>, now: Timestamp) -> Links {
        let Some(url) = &self.external_url else {
            return Links::default();
        };
        let ack =
            delivery.map(|id| format!("{url}/ack/{}", self.ack_links.make(id, now)));
        Links {
            alerts: Some(format!("{url}/#/alerts")),
            ack,
        }
    }

    /// A message by which somebody tries a channel.
    pub(crate) fn test_message(&self, id: String, now: Timestamp) -> Message {
        text::test(id, self.links(None, now), now)
    }
}

fn smtp(settings: &SmtpSettings) -> Smtp {
    let password = settings
        .password
        .as_ref()
        .map(|secret| secret.expose().to_owned());
    Smtp {
        host: settings.host.clone(),
        port: settings.port,
        tls: match settings.encryption {
            SmtpEncryption::Implicit => SmtpTls::Implicit,
            SmtpEncryption::StartTls => SmtpTls::Starttls,
            SmtpEncryption::None => SmtpTls::None,
        },
        login: settings.user.clone().map(|user| SmtpLogin {
            user,
            password: password.unwrap_or_default(),
        }),
        from: settings.from.clone(),
    }
}
