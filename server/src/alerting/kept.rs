//! What people set up for alerts, as it is kept: its own members, and who has made it so.

use data_encoding::HEXLOWER;
use fleetbeat_protocol::{ChannelForm, Timestamp};
use log::Level;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::recurring::log_if_due;
use crate::store::Object;

/// In a rule, the word for every channel there is.
pub(crate) const ALL_CHANNELS: &str = "all";
/// How many rules there may be.
pub(crate) const MAX_RULES: usize = 200;

/// A rule, mute or channel in the store. Whoever reads it for itself alone leaves out the
/// rest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept<T> {
    /// What it is.
    #[serde(flatten)]
    pub(crate) what: T,
    created_at: Timestamp,
    created_by: String,
    /// When it was made so.
    pub(crate) changed_at: Timestamp,
    changed_by: String,
}

/// A channel as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeptChannel {
    /// Its name and when it is told.
    #[serde(flatten)]
    pub(crate) form: ChannelForm,
    /// Its settings, with secrets that are sealed.
    pub(crate) settings: String,
}

impl<T> Kept<T> {
    /// What the user or program of this name makes now.
    pub(crate) fn new(what: T, by: &str, now: Timestamp) -> Kept<T> {
        Kept {
            what,
            created_at: now,
            created_by: by.to_owned(),
            changed_at: now,
            changed_by: by.to_owned(),
        }
    }

    /// What the user or program of this name makes of it now.
    pub(crate) fn changed(self, what: T, by: &str, now: Timestamp) -> Kept<T> {
        Kept {
            what,
            changed_at: now,
            changed_by: by.to_owned(),
            ..self
        }
    }
}

impl<T: Serialize> Kept<T> {
    /// The text for the store.
    pub(crate) fn body(&self) -> String {
        serde_json::to_string(self).expect("what is kept is plain JSON")
    }
}

/// What the object is; `None`, and a line in the log, for one that cannot be read.
pub(crate) fn read_kept<T: DeserializeOwned>(object: &Object) -> Option<T> {
    let read = serde_json::from_str(&object.body);
    let explain = |error: &serde_json::Error| {
        let line = || format!("{} in the database cannot be read: {error}", object.id);
        log_if_due(Level::Warn, "damaged rules", &object.id, line);
    };
    read.inspect_err(explain).ok()
}

/// A new id that begins so.
///
/// # Errors
/// The system gives no random numbers.
pub(crate) fn new_id(prefix: &str) -> Result<String, getrandom::Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{prefix}-{}", HEXLOWER.encode(&bytes)))
}
