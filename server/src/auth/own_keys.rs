//! Hosts' own keys, as they are kept in memory: a heartbeat costs one hash, and no question
//! to the store.
//!
//! Every second the keys are asked for that have changed, so that another instance's
//! change counts here within two seconds. A key that is not known here may have been
//! enrolled a moment ago on another instance: then the store is asked, though not more
//! often than [`MAX_LOOKUPS`] times a second, whoever sends keys that nobody has made.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use fleetbeat_daemon::clock;
use fleetbeat_daemon::condition::Condition;
use fleetbeat_daemon::lock::lock;
use fleetbeat_protocol::{AgentId, FlagsPatch, KeyHash, owner_of_key};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::http::Failure;
use crate::jobs::Jobs;
use crate::store::{AgentKey, Denial, KeyStore, StoreError};

/// The time between two questions for changes.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// A change whose number is taken gets into the store within this, or not at all.
const SETTLED_AFTER: Duration = Duration::from_secs(10);
/// All keys are read again after this: a database may have been put back.
const RELOAD_EVERY: Duration = Duration::from_secs(10 * 60);
/// Keys that are not known here and are looked up in the store, in a second.
const MAX_LOOKUPS: u32 = 50;

/// A host's own key that a request has borne.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnKey {
    /// The host.
    pub(crate) agent_id: AgentId,
    /// Whether the host is asked to replace the key.
    pub(crate) rotate: bool,
    /// Whether the host may take the place of a silent host with a key.
    pub(crate) reinstall: bool,
    /// What the flags of a new record of the host begin with.
    pub(crate) flags: FlagsPatch,
}

/// What is remembered of a key.
struct Entry {
    hash: Option<KeyHash>,
    next: Option<Box<KeyHash>>,
    is_revoked: bool,
    is_removed: bool,
    rotate: bool,
    reinstall: bool,
    flags: FlagsPatch,
    rev: i64,
}

impl From<AgentKey> for Entry {
    fn from(key: AgentKey) -> Entry {
        Entry {
            hash: key.hash,
            next: key.next.map(Box::new),
            is_revoked: key.revoked_at.is_some(),
            is_removed: key.removed_at.is_some(),
            rotate: key.rotate,
            reinstall: key.reinstall,
            flags: key.flags,
            rev: key.rev,
        }
    }
}

/// What an entry says of a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// It is the host's key.
    Right,
    /// It is the key that follows.
    Next,
    /// It is neither.
    Wrong,
    /// It was the host's key.
    Revoked,
    /// It was the key of a host that was removed.
    Removed,
}

impl Entry {
    /// Compares in constant time.
    fn judge(&self, hash: KeyHash) -> Word {
        let is = |known: &KeyHash| bool::from(known.0.ct_eq(&hash.0));
        let is_present = self.hash.as_ref().is_some_and(is);
        let is_next = self.next.as_deref().is_some_and(is);
        match (is_present, is_next) {
            (false, false) => Word::Wrong,
            _ if self.is_revoked => Word::Revoked,
            _ if self.is_removed => Word::Removed,
            (true, _) => Word::Right,
            (false, true) => Word::Next,
        }
    }

    fn own_key(&self, agent_id: AgentId) -> OwnKey {
        OwnKey {
            agent_id,
            rotate: self.rotate,
            reinstall: self.reinstall,
            flags: self.flags,
        }
    }
}

/// What the keys say of a host that speaks with another key than its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has no key of its own.
    Free,
    /// It has a key of its own, or had one that was revoked.
    HasKey,
    /// Somebody has removed it.
    Removed,
}

/// Hosts' own keys.
pub(crate) struct OwnKeys {
    store: Arc<dyn KeyStore>,
    known: RwLock<HashMap<AgentId, Entry>>,
    progress: Mutex<Progress>,
    lookups: Mutex<Lookups>,
}

/// Up to where the store was read.
#[derive(Default)]
struct Progress {
    /// The highest revision that was seen at these times, the oldest first.
    seen: VecDeque<(Instant, i64)>,
    loaded_at: Option<Instant>,
}

/// The lookups of the present second.
#[derive(Default)]
struct Lookups {
    since: Option<Instant>,
    count: u32,
}

impl Lookups {
    /// Whether the store may be asked once more.
    fn take(&mut self, now: Instant) -> bool {
        let is_over = |since: Instant| now.duration_since(since) >= REFRESH_EVERY;
        if self.since.is_none_or(is_over) {
            *self = Lookups {
                since: Some(now),
                count: 0,
            };
        }
        self.count += 1;
        self.count <= MAX_LOOKUPS
    }
}

impl OwnKeys {
    /// The keys in `store`, of which none is known yet.
    pub(crate) fn new(store: Arc<dyn KeyStore>) -> OwnKeys {
        OwnKeys {
            store,
            known: RwLock::default(),
            progress: Mutex::default(),
            lookups: Mutex::default(),
        }
    }

    /// Reads the keys, and starts following their changes.
    ///
    /// # Errors
    /// The system gives no further thread.
    pub(crate) fn start(self: &Arc<OwnKeys>, jobs: &mut Jobs) -> io::Result<()> {
        let keys = self.clone();
        let mut trouble = Condition::default();
        keys.follow(&mut trouble);
        jobs.start("keys", move |stop, pulse| {
            while stop.wait(REFRESH_EVERY) {
                pulse.round(|| keys.follow(&mut trouble));
            }
        })
    }

    fn follow(&self, trouble: &mut Condition) {
        match self.refresh(Instant::now()) {
            Ok(()) if trouble.ends() => {
                log::info!("the hosts' own keys can be read again");
            }
            Ok(()) => {}
            Err(error) if trouble.begins(error.to_string()) => {
                log::warn!("the hosts' own keys cannot be read, and stay: {error}");
            }
            Err(_) => {}
        }
    }

    /// Reads what has changed.
    fn refresh(&self, now: Instant) -> Result<(), StoreError> {
        let mut progress = lock(&self.progress);
        let is_over = |at: Instant| now.duration_since(at) >= RELOAD_EVERY;
        if progress.loaded_at.is_none_or(is_over) {
            let newest = self.load()?;
            *progress = Progress {
                seen: VecDeque::from([(now, newest)]),
                loaded_at: Some(now),
            };
            return Ok(());
        }

        let settled = |at: &Instant| now.duration_since(*at) >= SETTLED_AFTER;
        while progress.seen.get(1).is_some_and(|(at, _)| settled(at)) {
            progress.seen.pop_front();
        }
        let (first, last) = (progress.seen.front(), progress.seen.back());
        let since = first.map_or(0, |(_, rev)| *rev);
        let mut newest = last.map_or(0, |(_, rev)| *rev);
        self.store.keys_since(since, &mut |key| {
            newest = newest.max(key.rev);
            self.note(key);
        })?;
        progress.seen.push_back((now, newest));
        Ok(())
    }

    /// Reads all keys. Gives the highest revision.
    fn load(&self) -> Result<i64, StoreError> {
        let (mut all, mut newest) = (HashMap::new(), 0);
        self.store.keys_since(0, &mut |key| {
            newest = newest.max(key.rev);
            all.insert(key.agent_id, Entry::from(key));
        })?;
        all.shrink_to_fit();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        drop(mem::replace(&mut *known, all));
        Ok(newest)
    }

    /// Takes over a key as it is now in the store.
    pub(crate) fn note(&self, key: AgentKey) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let is_newer = |entry: &Entry| entry.rev <= key.rev;
        if known.get(&key.agent_id).is_none_or(is_newer) {
            known.insert(key.agent_id, Entry::from(key));
        }
    }

    /// Takes over a host's key as it is in the store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn reread(&self, id: AgentId) -> Result<(), StoreError> {
        if let Some(key) = self.store.key(id)? {
            self.note(key);
        }
        Ok(())
    }

    /// What the keys say of a host that speaks with another key.
    pub(super) fn standing(&self, id: AgentId) -> Standing {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        match known.get(&id) {
            Some(entry) if entry.is_removed => Standing::Removed,
            Some(entry) if entry.hash.is_some() => Standing::HasKey,
            _ => Standing::Free,
        }
    }

    /// The SHA-256 of `key`, if it is a host's own key, known or not.
    pub(crate) fn hash_of(key: &str) -> Option<KeyHash> {
        owner_of_key(key).map(|_| hash(key))
    }

    /// The host with the key; `None` if nobody has it.
    ///
    /// # Errors
    /// 403 if the host was removed; 500 if the store has to be asked and cannot be; 503 if
    /// it was asked too often.
    pub(super) fn find(&self, key: &str) -> Result<Option<OwnKey>, Failure> {
        let Some(id) = owner_of_key(key) else {
            return Ok(None);
        };
        let hash = hash(key);
        if matches!(self.judge(id, hash), None | Some((Word::Wrong, _))) {
            self.look_up(id)?;
        }
        if let Some((Word::Next, _)) = self.judge(id, hash) {
            self.use_next(id, hash)?;
        }
        match self.judge(id, hash) {
            Some((Word::Right, own)) => Ok(Some(own)),
            Some((Word::Removed, _)) => Err(Failure::from(Denial::Removed)),
            _ => Ok(None),
        }
    }

    fn judge(&self, id: AgentId, hash: KeyHash) -> Option<(Word, OwnKey)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let entry = known.get(&id)?;
        Some((entry.judge(hash), entry.own_key(id)))
    }

    /// The key that follows is used for the first time: the one before ends with this
    /// heartbeat.
    fn use_next(&self, id: AgentId, next: KeyHash) -> Result<(), Failure> {
        if let Some(key) = self.store.use_next_key(id, next, clock::now())? {
            self.note(key);
        }
        Ok(())
    }

    /// Asks the store for a key that is not known here.
    fn look_up(&self, id: AgentId) -> Result<(), Failure> {
        if !lock(&self.lookups).take(Instant::now()) {
            return Err(Failure::overloaded(
                "too many keys that this server does not know yet",
            ));
        }
        Ok(self.reread(id)?)
    }
}

fn hash(key: &str) -> KeyHash {
    KeyHash(Sha256::digest(key).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_asked_so_often_a_second_and_no_more() {
        let (mut lookups, start) = (Lookups::default(), Instant::now());
        assert!((0..MAX_LOOKUPS).all(|_| lookups.take(start)));
        assert!(!lookups.take(start));
        let before = start + REFRESH_EVERY - Duration::from_millis(1);
        assert!(!lookups.take(before));
        assert!(lookups.take(start + REFRESH_EVERY));
    }
}
