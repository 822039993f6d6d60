//! Hosts' own keys, and the codes with which hosts get one.
//!
//! The store knows the SHA-256 of each key and of each code. A key that was revoked stays
//! as such: the record of its host is closed until a code enrols the host again. A host
//! that somebody has removed is refused by its `agent_id`, whether it had a key or not,
//! until a code enrols it or somebody readmits it.

use std::net::IpAddr;

use fleetbeat_protocol::{AgentId, FlagsPatch, Json, KeyHash, Timestamp};
use ipnet::IpNet;
use serde_json::Value;

use super::column::FLAGS;
use super::error::StoreError;
use super::event::{Act, EventKind, Facts, NewEvent, facts};

/// So many of a host's former keys are remembered.
pub(super) const MAX_ENDED: usize = 32;

/// A host's own key, or the mark that the host was removed. A host has one at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AgentKey {
    /// The host.
    pub(crate) agent_id: AgentId,
    /// The host's name when it was enrolled.
    pub(crate) hostname: String,
    /// The key; `None` for a host that has none, and was removed.
    pub(crate) hash: Option<KeyHash>,
    /// The key that follows as soon as it is used.
    pub(crate) next: Option<KeyHash>,
    /// The host's keys before, the last [`MAX_ENDED`] of them: none is taken again.
    pub(crate) ended: Vec<KeyHash>,
    /// Whether the host is asked to replace the key.
    pub(crate) rotate: bool,
    /// When the key was revoked.
    pub(crate) revoked_at: Option<Timestamp>,
    /// When somebody has removed the host, which is refused since then.
    pub(crate) removed_at: Option<Timestamp>,
    /// The id of the code that has enrolled the host; empty for a host without a key.
    pub(crate) code: String,
    /// What the flags of a new record of the host begin with.
    pub(crate) flags: FlagsPatch,
    /// Whether the host may take the place of a silent host with a key, at the address
    /// that it speaks from.
    pub(crate) reinstall: bool,
    /// When the key was enrolled, or the host removed that had none.
    pub(crate) enrolled_at: Timestamp,
    /// Grows with each change of a key, over all keys.
    pub(crate) rev: i64,
}

impl AgentKey {
    /// The key of `request`, which `code` enrols.
    pub(super) fn enrolled_by(
        request: &EnrollRequest,
        code: &Code,
        rev: i64,
    ) -> AgentKey {
        AgentKey {
            agent_id: request.agent_id,
            hostname: request.hostname.clone(),
            hash: Some(request.hash),
            next: None,
            ended: Vec::new(),
            rotate: false,
            revoked_at: None,
            removed_at: None,
            code: code.id.clone(),
            flags: code.flags,
            reinstall: code.reinstall,
            enrolled_at: request.at,
            rev,
        }
    }

    /// The mark of a host without a key that was removed.
    pub(super) fn mark_of_removed(
        agent_id: AgentId,
        hostname: &str,
        at: Timestamp,
        rev: i64,
    ) -> AgentKey {
        AgentKey {
            agent_id,
            hostname: hostname.to_owned(),
            hash: None,
            next: None,
            ended: Vec::new(),
            rotate: false,
            revoked_at: None,
            removed_at: Some(at),
            code: String::new(),
            flags: FlagsPatch::default(),
            reinstall: false,
            enrolled_at: at,
            rev,
        }
    }

    /// Whether there is a key, and it counts.
    pub(crate) fn is_active(&self) -> bool {
        self.hash.is_some() && self.revoked_at.is_none() && self.removed_at.is_none()
    }

    /// What the key says of a host that has no record.
    pub(super) fn mark(&self) -> Option<Mark> {
        match (self.removed_at, self.hash) {
            (Some(_), _) => Some(Mark::Removed),
            (None, None) => Some(Mark::Readmitted),
            (None, Some(_)) => None,
        }
    }

    /// Whether `hash` is that of the key, or of the key that follows.
    pub(crate) fn knows(&self, hash: KeyHash) -> bool {
        [self.hash, self.next].contains(&Some(hash))
    }

    /// Whether `hash` is that of a key that has ended.
    pub(super) fn has_ended(&self, hash: KeyHash) -> bool {
        self.ended.contains(&hash) || (!self.is_active() && self.knows(hash))
    }

    /// The keys that have ended once another one takes the place of this.
    pub(super) fn ended_with_this(&self) -> Vec<KeyHash> {
        let mut ended = self.ended.clone();
        ended.extend(self.hash);
        let surplus = ended.len().saturating_sub(MAX_ENDED);
        ended.drain(..surplus);
        ended
    }

    /// The event of the end of the key with the removal of its host.
    pub(super) fn ended_by_removal(&self, act: &Act) -> NewEvent {
        self.event(
            EventKind::KeyRevoked,
            act,
            facts([("removed", true.into())]),
        )
    }

    /// The event of a change of the key.
    pub(super) fn event(&self, kind: EventKind, act: &Act, more: Facts) -> NewEvent {
        let mut told = facts([
            ("agent", self.agent_id.to_string().into()),
            ("hostname", self.hostname.as_str().into()),
        ]);
        told.extend(more);
        act.event(kind, told)
    }

    /// The event of the enrolment. `again`: the host had a key before.
    pub(super) fn enrolled(&self, act: &Act, again: bool) -> NewEvent {
        let mut more = facts([("code", self.code.as_str().into())]);
        if again {
            more.insert("again".to_owned(), true.into());
        }
        self.event(EventKind::KeyEnrolled, act, more)
    }
}

/// What is known of a host that has no record, but for its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Somebody has removed it.
    Removed,
    /// It may come back, though it has no key.
    Readmitted,
}

/// A key with the record of its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedKey {
    /// The key.
    pub(crate) key: AgentKey,
    /// The host's record; `None` while it has sent no heartbeat.
    pub(crate) host: Option<KeyHost>,
}

/// What a list of keys tells of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyHost {
    /// The record's lasting name.
    pub(crate) server_id: String,
    /// The address.
    pub(crate) ip: Option<IpAddr>,
    /// The name.
    pub(crate) hostname: String,
    /// The last heartbeat.
    pub(crate) last_heartbeat: Timestamp,
}

/// A code that enrols hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Code {
    /// The part of the code that is no secret.
    pub(crate) id: String,
    /// The SHA-256 of the whole code.
    pub(crate) hash: KeyHash,
    /// How many keys it may enrol.
    pub(crate) max_uses: u32,
    /// How many keys it has enrolled.
    pub(crate) uses: u32,
    /// When it ends.
    pub(crate) expires_at: Timestamp,
    /// What the flags of the hosts begin with.
    pub(crate) flags: FlagsPatch,
    /// The networks from which it may be used; none for all.
    pub(crate) networks: Vec<IpNet>,
    /// Whether a host that has lost its key may enrol again from its address.
    pub(crate) reinstall: bool,
    /// What it is for.
    pub(crate) note: String,
    /// Who has made it.
    pub(crate) created_by: String,
    /// When it was made.
    pub(crate) created_at: Timestamp,
}

impl Code {
    /// The event of a change of the code.
    pub(super) fn event(&self, kind: EventKind, act: &Act) -> NewEvent {
        let members = [
            ("code", Value::from(self.id.as_str())),
            ("note", self.note.as_str().into()),
            ("max_uses", self.max_uses.into()),
            ("uses", self.uses.into()),
        ];
        act.event(kind, facts(members))
    }
}

/// A host's wish to have its key taken.
#[derive(Debug, Clone)]
pub(crate) struct EnrollRequest {
    /// The host.
    pub(crate) agent_id: AgentId,
    /// The key.
    pub(crate) hash: KeyHash,
    /// The host's name.
    pub(crate) hostname: String,
    /// The code, as its id and its SHA-256.
    pub(crate) code: Option<(String, KeyHash)>,
    /// The SHA-256 of the host's own key that came with the request.
    pub(crate) presented: Option<KeyHash>,
    /// The address that the request comes from.
    pub(crate) source: Option<IpAddr>,
    /// Now.
    pub(crate) at: Timestamp,
}

impl EnrollRequest {
    /// Who enrols: the host itself, as far as an event may tell.
    pub(super) fn act(&self) -> Act {
        Act {
            address: self.source,
            ..Act::program(format!("agent {}", self.agent_id), self.at)
        }
    }
}

/// What has become of an enrolment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Enrolled {
    /// The key is taken.
    Now,
    /// The key was taken before.
    Before,
}

/// Why a key is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnrollRefusal {
    /// Neither a code nor the host's own key came with the request.
    #[error("a code is needed, or the host's own key in X-API-Key")]
    NoProof,
    /// There is no such code.
    #[error("the code is not known")]
    UnknownCode,
    /// The code has ended.
    #[error("the code has expired")]
    ExpiredCode,
    /// The code has enrolled as many keys as it may.
    #[error("the code was used as often as it may be")]
    UsedUpCode,
    /// The request comes from another network.
    #[error("the code may not be used from this network")]
    ForeignNetwork,
    /// The host has another key.
    #[error(
        "this host has another key already: a superadmin can revoke it (DELETE \
         /agent-keys/…), or make a code with reinstall, which counts for requests from \
         the address of the host's record"
    )]
    HasKey,
    /// The key was revoked.
    #[error("this key was revoked, and is never taken again: make another one")]
    Revoked,
}

impl EnrollRefusal {
    /// The word that an event has for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            EnrollRefusal::NoProof => "no_proof",
            EnrollRefusal::UnknownCode => "unknown_code",
            EnrollRefusal::ExpiredCode => "expired_code",
            EnrollRefusal::UsedUpCode => "used_up_code",
            EnrollRefusal::ForeignNetwork => "foreign_network",
            EnrollRefusal::HasKey => "has_key",
            EnrollRefusal::Revoked => "revoked_key",
        }
    }
}

/// The keys and codes. Each change is told by an event, with who did it.
pub(crate) trait KeyStore: Send + Sync {
    /// Every code, the newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    fn codes(&self) -> Result<Vec<Code>, StoreError>;

    /// Adds a code. Codes that have ended long ago go.
    ///
    /// # Errors
    /// The database cannot be written.
    fn add_code(&self, code: &Code, act: &Act) -> Result<(), StoreError>;

    /// Removes a code and gives it; `None` if it is not known. The keys that it has
    /// enrolled stay.
    ///
    /// # Errors
    /// The database cannot be written.
    fn remove_code(&self, id: &str, act: &Act) -> Result<Option<Code>, StoreError>;

    /// Takes a host's key, if [`super::enrollment::decide`] allows it.
    ///
    /// # Errors
    /// The database cannot be written. The same request again has the same end.
    fn enroll(
        &self,
        request: &EnrollRequest,
    ) -> Result<Result<Enrolled, EnrollRefusal>, StoreError>;

    /// Every key and every mark of a removed host, in the order of the hosts' names.
    ///
    /// # Errors
    /// The database cannot be read.
    fn keys(&self) -> Result<Vec<ListedKey>, StoreError>;

    /// One host's key; `None` if it has none.
    ///
    /// # Errors
    /// The database cannot be read.
    fn key(&self, id: AgentId) -> Result<Option<AgentKey>, StoreError>;

    /// Hands every key to `each` whose revision is higher than `rev`.
    ///
    /// # Errors
    /// The database cannot be read; some keys may have been handed over.
    fn keys_since(
        &self,
        rev: i64,
        each: &mut dyn FnMut(AgentKey),
    ) -> Result<(), StoreError>;

    /// The key that follows is used: it is the host's key from now on, and the one before
    /// has ended. Gives the key as it is then.
    ///
    /// # Errors
    /// The database cannot be written.
    fn use_next_key(
        &self,
        id: AgentId,
        next: KeyHash,
        at: Timestamp,
    ) -> Result<Option<AgentKey>, StoreError>;

    /// Ends a host's key and gives it; `None` if the host has none. The host's record is
    /// closed then.
    ///
    /// # Errors
    /// The database cannot be written.
    fn revoke_key(&self, id: AgentId, act: &Act) -> Result<Option<AgentKey>, StoreError>;

    /// Lets a host come back that was removed, with the key that it had; a key that was
    /// revoked before stays so. Gives the key; `None` if the host has none and was not
    /// removed.
    ///
    /// # Errors
    /// The database cannot be written.
    fn readmit(&self, id: AgentId, act: &Act) -> Result<Option<AgentKey>, StoreError>;

    /// Has the host replace its key with one of its next heartbeats, and gives the key;
    /// `None` if the host has none. A key that was revoked stays as it is.
    ///
    /// # Errors
    /// The database cannot be written.
    fn ask_for_rotation(
        &self,
        id: AgentId,
        act: &Act,
    ) -> Result<Option<AgentKey>, StoreError>;
}

/// The event of a key that follows and is used for the first time.
pub(super) fn rotated(key: &AgentKey, at: Timestamp) -> NewEvent {
    let act = Act::program(format!("agent {}", key.agent_id), at);
    key.event(EventKind::KeyRotated, &act, Facts::new())
}

/// The flags that a patch names, as JSON.
pub(crate) fn flags_as_json(patch: &FlagsPatch) -> Facts {
    let named = FLAGS.iter().filter_map(|flag| {
        let value = (flag.in_patch)(patch)?;
        Some((flag.name.to_owned(), value.into()))
    });
    named.collect()
}

/// The flags that JSON names; none where somebody has edited the database.
pub(super) fn flags_from_json(text: &str) -> FlagsPatch {
    let json = serde_json::from_str::<Json<'_>>(text).ok();
    let patch = json.and_then(|json| FlagsPatch::from_json(&json).ok());
    patch.unwrap_or_default()
}

/// The networks in these texts, but for what somebody has edited.
pub(super) fn networks_from(texts: &[String]) -> Vec<IpNet> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// The networks as texts.
pub(crate) fn networks_as_texts(networks: &[IpNet]) -> Vec<String> {
    networks.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_keys_of_a_host_are_remembered_and_no_more() {
        let mut key = AgentKey::mark_of_removed(
            AgentId::from_bits(7),
            "",
            Timestamp::UNIX_EPOCH,
            1,
        );
        let hash = |n: usize| KeyHash([u8::try_from(n).unwrap(); 32]);
        for n in 0..=MAX_ENDED {
            key.hash = Some(hash(n));
            key.ended = key.ended_with_this();
            assert_eq!(key.ended.len(), MAX_ENDED.min(n + 1));
        }
        assert_eq!(key.ended[0], hash(1), "the oldest goes");
        assert_eq!(key.ended.last(), Some(&hash(MAX_ENDED)));
    }
}
