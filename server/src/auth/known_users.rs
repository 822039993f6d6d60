//! The users of the last minutes, so that not each request reads the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fleetbeat_daemon::lock::lock;

use crate::recurring::{Recurring, Tally};
use crate::store::{StoreError, User, UserStore};

/// What is known is read from the store again after this: a removed user, or a revoked
/// token, is out within two seconds.
pub(super) const FRESH_FOR: Duration = Duration::from_secs(1);
/// What seems to be wrong is read again after this: on another instance, the user may have
/// another token version, or there may be a new token.
pub(super) const DOUBTED_AFTER: Duration = Duration::from_millis(100);
/// With the store away, what was seen this recently may still be used to read.
pub(super) const REMEMBERED_FOR: Duration = Duration::from_secs(10 * 60);

/// How a user or a token is found while the store is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhileAway {
    /// Take what was seen in the last minutes.
    Remember,
    /// Fail.
    Fail,
}

/// The users, as read from the store.
pub(super) struct KnownUsers {
    store: Arc<dyn UserStore>,
    /// By name.
    seen: Mutex<HashMap<String, Seen>>,
    /// The store cannot be read, and users are taken from memory.
    trouble: Mutex<Recurring>,
}

/// A user as read from the store at `at`.
#[derive(Clone)]
struct Seen {
    at: Instant,
    /// `None` if the store had no such user.
    user: Option<User>,
}

impl KnownUsers {
    /// Nobody has been seen yet.
    pub(super) fn new(store: Arc<dyn UserStore>) -> KnownUsers {
        KnownUsers {
            store,
            seen: Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    /// The user, if `is_it` says so of what is known: from the store, or from memory if
    /// the store was read just now.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) fn find(
        &self,
        username: &str,
        while_away: WhileAway,
        is_it: impl Fn(&User) -> bool,
    ) -> Result<Option<User>, StoreError> {
        let now = Instant::now();
        let seen = lock(&self.seen).get(username).cloned();
        let age = seen.as_ref().map(|seen| now.duration_since(seen.at));
        let known = seen.and_then(|seen| seen.user).filter(|user| is_it(user));
        let fresh_for = known.as_ref().map_or(DOUBTED_AFTER, |_| FRESH_FOR);
        if age.is_some_and(|age| age < fresh_for) {
            return Ok(known);
        }

        match self.store.user(username) {
            Ok(user) => {
                self.remember(username, user.clone(), now);
                if lock(&self.trouble).well(now).is_some() {
                    log::info!("users are read from the store again");
                }
                Ok(user.filter(|user| is_it(user)))
            }
            Err(error)
                if while_away == WhileAway::Remember
                    && age.is_some_and(|age| age < REMEMBERED_FOR) =>
            {
                let reason = error.to_string();
                let due = lock(&self.trouble).again(&reason, now);
                if let Some(Tally { times, .. }) = due {
                    log::warn!("users are taken from memory ({times} times): {reason}");
                }
                Ok(known)
            }
            Err(error) => Err(error),
        }
    }

    /// The user as changed by this instance.
    pub(super) fn changed(&self, user: &User) {
        let (name, user) = (user.username.clone(), user.clone());
        self.remember(&name, Some(user), Instant::now());
    }

    /// The user has been removed by this instance.
    pub(super) fn removed(&self, username: &str) {
        lock(&self.seen).remove(username);
    }

    /// Keeps the store's word, and forgets users that are too old to be of use.
    fn remember(&self, username: &str, user: Option<User>, now: Instant) {
        let mut seen = lock(&self.seen);
        seen.retain(|_, seen| now.duration_since(seen.at) < REMEMBERED_FOR);
        seen.insert(username.to_owned(), Seen { at: now, user });
    }
}
