//! The running agent replaces its own key when the server asks for it.
//!
//! The server takes the old key until the new one is used for the first time, and the
//! agent has one call under way at a time. So no heartbeat meets a key that has ended.

use fleetbeat_daemon::condition::Condition;
use fleetbeat_protocol::AgentId;
use fleetbeat_settings::Secret;

use super::call::{Verdict, ask};
use super::key_file::KeyFile;
use crate::config::ServerSettings;
use crate::http::Client;

/// What the agent's loop knows of the replacement of its key.
#[derive(Default)]
pub(crate) struct Rotation {
    is_under_way: bool,
    trouble: Condition,
    /// The last key that was replaced, and its successor: a configuration that was read
    /// before may still have the old one.
    last: Option<(Secret, Secret)>,
}

impl Rotation {
    /// The server asks for another key. Gives the file of the present one, if a
    /// replacement is to begin.
    pub(crate) fn begin(&mut self, server: &KeyInUse) -> Option<(AgentId, KeyFile)> {
        if self.is_under_way {
            return None;
        }
        let (Some(id), Some(file)) = (server.owner, &server.file) else {
            self.fails(&format!(
                "the key of {} has no file that the agent could write",
                server.source
            ));
            return None;
        };
        self.is_under_way = true;
        Some((id, file.clone()))
    }

    /// The replacement of `old` has ended. Gives the new key.
    pub(crate) fn end(
        &mut self,
        old: Option<Secret>,
        result: Result<Secret, String>,
    ) -> Option<Secret> {
        self.is_under_way = false;
        match result {
            Ok(new) => {
                self.trouble.ends();
                log::info!("this host has a new key, as the server has asked for");
                self.last = old.map(|old| (old, new.clone()));
                Some(new)
            }
            Err(reason) => {
                self.fails(&reason);
                None
            }
        }
    }

    /// The settings as they are now: they may have been read while the key was replaced.
    pub(crate) fn update(&self, server: &mut ServerSettings) {
        if let Some((old, new)) = &self.last
            && server.key.as_ref() == Some(old)
        {
            server.key = Some(new.clone());
        }
    }

    fn fails(&mut self, reason: &str) {
        if self.trouble.begins(reason) {
            log::warn!(
                "the server asks for a new key of this host, and the old one stays: \
                 {reason}"
            );
        }
    }
}

/// The key that the agent uses, as far as its replacement goes.
pub(crate) struct KeyInUse {
    pub(crate) owner: Option<AgentId>,
    pub(crate) file: Option<KeyFile>,
    /// Where the key is, for people.
    pub(crate) source: String,
}

impl KeyInUse {
    pub(crate) fn of(server: &ServerSettings) -> KeyInUse {
        KeyInUse {
            owner: server.key_owner(),
            file: server.key_file.clone().map(KeyFile::at),
            source: server.key_source.clone().unwrap_or_default(),
        }
    }
}

/// Replaces the key of the host `id` in `file` by a new one. `client` has the old key.
/// Takes as long as a call does.
///
/// # Errors
/// Why the old key stays.
pub(crate) fn replace_key(
    client: &Client,
    id: AgentId,
    file: &KeyFile,
    hostname: &str,
) -> Result<Secret, String> {
    let shown = file.path().display();
    let failed = |error: std::io::Error| format!("{shown}: {error}");
    let _lock = file.lock()?;
    if file.current(id).as_ref() != client.key() {
        return Err(format!(
            "{shown} has another key already, which counts from the \
             next reload on"
        ));
    }
    // What a kill has left behind, unless that has become the present key already.
    let left = file.staged(id).filter(|key| client.key() != Some(key));
    let key = left.map_or_else(|| file.stage(id), Ok).map_err(failed)?;
    match ask(client, id, &key, hostname, None) {
        Verdict::Taken => {}
        Verdict::Conflict(reason) | Verdict::Refused(reason) => {
            file.clear_staged();
            return Err(reason);
        }
        Verdict::Unknown(reason) => return Err(reason),
    }
    file.install(&key).map_err(failed)?;
    file.clear_staged();
    Ok(key)
}
