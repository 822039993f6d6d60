//! Agents: whose key a request bears.

use std::fmt;
use std::sync::Arc;

use super::agent_keys::{AgentKeys, KeyId};
use super::own_keys::{OwnKey, OwnKeys, Standing};
use crate::http::Failure;
use fleetbeat_protocol::{AgentId, owner_of_key};

/// Which keys agents may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeysTaken {
    /// The keys that hosts share, and hosts' own keys.
    All,
    /// Hosts' own keys alone.
    OwnOnly,
}

/// An agent: its request bore a valid key.
#[derive(Debug)]
pub(crate) struct Agent(Key);

/// The key of a request.
#[derive(Debug)]
enum Key {
    Shared(KeyId),
    Own(OwnKey),
}

impl Agent {
    /// The host's own key; `None` for a key that hosts share.
    pub(crate) fn own_key(&self) -> Option<&OwnKey> {
        match &self.0 {
            Key::Shared(_) => None,
            Key::Own(key) => Some(key),
        }
    }

    /// The name of the key, for the access log: as in [`KeyId`], or `fbk_` and the first
    /// digits of the host's `agent_id`.
    pub(crate) fn key_name(&self) -> String {
        match &self.0 {
            Key::Shared(id) => id.to_string(),
            Key::Own(key) => format!("fbk_{}", key.agent_id),
        }
    }
}

/// Which key the agent has used, for a log.
impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Key::Shared(id) => write!(f, "the key {id}"),
            Key::Own(key) => write!(f, "the own key of {}…", key.agent_id),
        }
    }
}

/// All keys of agents.
pub(crate) struct AgentAuth {
    shared: AgentKeys,
    own: Arc<OwnKeys>,
    taken: KeysTaken,
}

impl AgentAuth {
    /// The keys that hosts share, and hosts' own keys.
    pub(crate) fn new(
        shared: AgentKeys,
        own: Arc<OwnKeys>,
        taken: KeysTaken,
    ) -> AgentAuth {
        AgentAuth { shared, own, taken }
    }

    /// The agent with this key; `None` for a key that is not known.
    ///
    /// # Errors
    /// 401 for a key that is right and not taken here; 403 for that of a host that was
    /// removed; 500 or 503 if nobody can tell.
    pub(super) fn find(&self, key: &str) -> Result<Option<Agent>, Failure> {
        if owner_of_key(key).is_some() {
            let own = self.own.find(key)?;
            return Ok(own.map(|own| Agent(Key::Own(own))));
        }
        match (self.shared.find(key), self.taken) {
            (Some(_), KeysTaken::OwnOnly) => Err(Failure::own_key_needed()),
            (found, _) => Ok(found.map(|id| Agent(Key::Shared(id)))),
        }
    }

    /// What the keys say of a host that speaks with a key that hosts share.
    pub(crate) fn standing(&self, id: AgentId) -> Standing {
        self.own.standing(id)
    }

    /// Hosts' own keys.
    pub(crate) fn own_keys(&self) -> &OwnKeys {
        &self.own
    }
}
