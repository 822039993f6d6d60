//! The users in the store: who may log in, and with which role.

use fleetbeat_protocol::Role;

use super::error::StoreError;
use super::event::{Act, EventKind, NewEvent, facts};

/// The users of dashboard and API. Each change is told by an event, with who did it.
pub(crate) trait UserStore: Send + Sync {
    /// Every user, sorted by name.
    ///
    /// # Errors
    /// The database cannot be read.
    fn users(&self) -> Result<Vec<User>, StoreError>;

    /// One user; `None` if the name is not known.
    ///
    /// # Errors
    /// The database cannot be read.
    fn user(&self, username: &str) -> Result<Option<User>, StoreError>;

    /// Adds a user.
    ///
    /// # Errors
    /// The name is taken, or the database cannot be written.
    fn add_user(&self, user: &User, act: &Act) -> Result<(), StoreError>;

    /// Replaces the hash of the password and the token version, which ends the user's
    /// tokens.
    ///
    /// # Errors
    /// The user is not known, or the database cannot be written.
    fn set_password(
        &self,
        username: &str,
        hashed_password: &str,
        token_version: &str,
        act: &Act,
    ) -> Result<(), StoreError>;

    /// Removes a user.
    ///
    /// # Errors
    /// The user is not known, is the last superadmin, or the database cannot be written.
    fn remove_user(&self, username: &str, act: &Act) -> Result<(), StoreError>;
}

/// A user with what must not leave the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// The name; unique.
    pub(crate) username: String,
    /// What the user may do.
    pub(crate) role: Role,
    /// The hash of the password, with its salt.
    pub(crate) hashed_password: String,
    /// Differs after each change of password or role. A token carries the version that it
    /// was made under, and is not valid under another.
    pub(crate) token_version: String,
}

impl User {
    /// The event that the user was added.
    pub(super) fn created(&self, act: &Act) -> NewEvent {
        let facts = facts([("role", self.role.as_str().into())]);
        act.event(EventKind::UserCreated, facts)
            .about(&self.username)
    }
}

/// The event that the user has another password.
pub(super) fn password_changed(username: &str, act: &Act) -> NewEvent {
    act.event(EventKind::UserPassword, facts([]))
        .about(username)
}

/// The event that the user was removed.
pub(super) fn deleted(username: &str, act: &Act) -> NewEvent {
    act.event(EventKind::UserDeleted, facts([])).about(username)
}
