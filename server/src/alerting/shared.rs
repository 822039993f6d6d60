//! What the look, the senders and the API have in common.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fleetbeat_alerts::Engine;
use fleetbeat_channels::{
    Guard, Keys, Links, Message, Sender, SenderOptions, Smtp, SmtpLogin, SmtpTls,
};
use fleetbeat_daemon::lock::lock;
use fleetbeat_protocol::Timestamp;

use super::ack_link::AckLinks;
use super::setup::Setup;
use super::text;
use crate::alert_settings::{AlertSettings, SmtpEncryption, SmtpSettings};
use crate::fleet::snapshot::Snapshots;
use crate::store::{Store, StoreError};

/// What the look, the senders and the API have in common.
pub(crate) struct Alerting {
    pub(super) store: Arc<dyn Store>,
    pub(super) snapshots: Snapshots,
    pub(super) settings: AlertSettings,
    pub(super) down_after: Duration,
    pub(super) keys: Keys,
    pub(super) guard: Guard,
    pub(super) sender: Sender,
    pub(super) links: AckLinks,
    /// The engine; `None` until it is loaded, and while another instance has one.
    pub(super) engine: Mutex<Option<Engine>>,
    pub(super) setup: Mutex<Arc<Setup>>,
    /// When the last look was written.
    pub(super) looked: Mutex<Option<Instant>>,
}

impl Alerting {
    /// Nothing has been looked at yet.
    ///
    /// # Errors
    /// `[smtp]` cannot be used.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        snapshots: Snapshots,
        settings: &AlertSettings,
        down_after: Duration,
        secret_key: &str,
    ) -> io::Result<Arc<Alerting>> {
        let guard = Guard::new(settings.allow_private.clone());
        let sender = Sender::new(SenderOptions {
            guard: guard.clone(),
            authorities: None,
            smtp: settings.smtp.as_ref().map(smtp),
        });
        Ok(Arc::new(Alerting {
            store,
            snapshots,
            settings: settings.clone(),
            down_after,
            keys: Keys::derive(secret_key, &[]),
            guard,
            sender: sender
                .map_err(|error| io::Error::other(format!("[smtp]: {error}")))?,
            links: AckLinks::new(secret_key.as_bytes()),
            engine: Mutex::default(),
            setup: Mutex::default(),
            looked: Mutex::default(),
        }))
    }

    /// The key that seals channels' secrets.
    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Which addresses channels may use.
    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// What sends for channels.
    pub(crate) fn sender(&self) -> &Sender {
        &self.sender
    }

    /// What acknowledges without a login.
    pub(crate) fn ack_links(&self) -> &AckLinks {
        &self.links
    }

    /// The links of a message, if people can reach the dashboard.
    pub(crate) fn links(&self, delivery: Option<&str>, now: Timestamp) -> Links {
        let Some(url) = &self.settings.external_url else {
            return Links::default();
        };
        let ack = delivery.map(|id| format!("{url}/ack/{}", self.links.make(id, now)));
        Links {
            alerts: Some(format!("{url}/")),
            ack,
        }
    }

    /// A message by which somebody tries a channel.
    pub(crate) fn test_message(&self, id: String, now: Timestamp) -> Message {
        text::test(id, self.links(None, now), now)
    }

    /// The names of channels whose secrets nobody can open, as far as it is known.
    pub(crate) fn closed_channels(&self) -> Vec<String> {
        self.setup().closed()
    }

    pub(super) fn setup(&self) -> Arc<Setup> {
        lock(&self.setup).clone()
    }

    /// Drops the engine: what it has said may not be written.
    pub(super) fn drop_engine(&self, error: &StoreError) {
        *lock(&self.engine) = None;
        log::warn!("alerts are loaded again, because they could not be written: {error}");
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
