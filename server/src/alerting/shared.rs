//! What the look, the senders and the API have in common.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fleetbeat_alerts::Engine;
use fleetbeat_daemon::lock::lock;

use super::post::Post;
use super::setup::Setup;
use crate::alert_settings::AlertSettings;
use crate::fleet::snapshot::Snapshots;
use crate::metrics::Metrics;
use crate::secret_keys::SecretKeys;
use crate::store::{Store, StoreError};

/// What the look, the senders and the API have in common.
pub(crate) struct Alerting {
    pub(super) store: Arc<dyn Store>,
    pub(super) snapshots: Snapshots,
    pub(super) settings: AlertSettings,
    pub(super) down_after: Duration,
    pub(super) post: Post,
    pub(super) metrics: Arc<Metrics>,
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
        secret: &SecretKeys,
        metrics: Arc<Metrics>,
    ) -> io::Result<Arc<Alerting>> {
        Ok(Arc::new(Alerting {
            store,
            snapshots,
            settings: settings.clone(),
            down_after,
            post: Post::new(settings, secret)?,
            metrics,
            engine: Mutex::default(),
            setup: Mutex::default(),
            looked: Mutex::default(),
        }))
    }

    /// What it takes to send.
    pub(crate) fn post(&self) -> &Post {
        &self.post
    }

    /// The names of channels whose secrets nobody can open, as far as it is known.
    pub(crate) fn closed_channels(&self) -> Vec<String> {
        self.setup().closed()
    }

    /// Reads what people have set up.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) fn read_setup(&self) -> Result<Arc<Setup>, StoreError> {
        let read = Setup::read(&*self.store, &self.post, &self.setup())?;
        let setup = Arc::new(read);
        *lock(&self.setup) = setup.clone();
        Ok(setup)
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
