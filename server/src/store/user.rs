//! The users in the store: who may log in, and with which role.

use fleetbeat_protocol::{Account, Role};

use super::error::StoreError;
use super::event::{Act, EventKind, Facts, NewEvent, facts};
use crate::fleet::scope::HostScope;

/// The users of dashboard and API. Each change is told by an event, with who did it.
///
/// A user is found by any spelling of the name: see [`crate::usernames`]. Of two users
/// whom an earlier version has let have spellings of one name, each is found by the own
/// one.
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
    /// Somebody has a spelling of the name, or the database cannot be written.
    fn add_user(&self, user: &User, act: &Act) -> Result<(), StoreError>;

    /// Changes a user, and gives the user as changed; `None` if the change does not fit
    /// the user any more, such as a code that has been used meanwhile.
    ///
    /// # Errors
    /// The user is not known, or is the last superadmin without a scope and would not be
    /// one any more; or the database cannot be written.
    fn change_user(
        &self,
        username: &str,
        change: &UserChange,
        act: &Act,
    ) -> Result<Option<User>, StoreError>;

    /// Removes a user with the user's API tokens.
    ///
    /// # Errors
    /// The user is not known, is the last superadmin without a scope, or the database
    /// cannot be written.
    fn remove_user(&self, username: &str, act: &Act) -> Result<(), StoreError>;
}

/// A user with what must not leave the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// Tells the user from a later one of the same name.
    pub(crate) id: String,
    /// The name; unique in all spellings.
    pub(crate) username: String,
    /// What the user may do.
    pub(crate) role: Role,
    /// The hash of the password, with its salt; empty for a user who has none.
    pub(crate) hashed_password: String,
    /// Differs after each change of password, role or scope. A token carries the version
    /// that it was made under, and is not valid under another.
    pub(crate) token_version: String,
    /// The hosts that the user sees and changes; `None` for every host.
    pub(crate) scope: Option<HostScope>,
    /// The second factor.
    pub(crate) totp: Totp,
}

/// A user's second factor: what codes by time are made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Totp {
    /// The secret that counts, in base32; `None` without a second factor.
    pub(crate) secret: Option<String>,
    /// A secret that waits for its first code.
    pub(crate) pending: Option<String>,
    /// The last step whose code was used.
    pub(crate) last_step: i64,
    /// The hashes of the recovery codes that have not been used.
    pub(crate) recovery_codes: Vec<String>,
}

/// What becomes of a user. A token version, where there is one, ends the user's logins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UserChange {
    /// Another role, another password, another scope, or several of these.
    Account {
        role: Option<Role>,
        hashed_password: Option<String>,
        scope: ScopeChange,
        token_version: String,
    },
    /// Another password, by whoever has proven the one before, which counted as long as the
    /// token version was `proven`.
    OwnPassword {
        hashed_password: String,
        proven: String,
        token_version: String,
    },
    /// The user logs out everywhere.
    LoggedOut { token_version: String },
    /// A secret waits for its first code.
    TotpBegun { secret: String },
    /// The first code of `secret`, which waited, is that of `step`: the secret counts from
    /// now on.
    TotpEnabled {
        secret: String,
        step: i64,
        recovery_codes: Vec<String>,
        token_version: String,
    },
    /// The code of this step is used: no earlier one counts any more.
    TotpStepUsed { step: i64 },
    /// The recovery code of this hash is used.
    RecoveryCodeUsed { hash: String },
    /// The second factor is gone.
    TotpReset { token_version: String },
}

/// What becomes of a user's scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ScopeChange {
    /// It stays.
    Keep,
    /// The user sees and changes every host.
    AllHosts,
    /// The user sees and changes these hosts.
    Hosts(HostScope),
}

impl User {
    /// A user without a scope and without a second factor, who has never been.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub(crate) fn new(
        username: String,
        role: Role,
        hashed_password: String,
    ) -> Result<User, getrandom::Error> {
        Ok(User {
            id: new_version()?,
            username,
            role,
            hashed_password,
            token_version: new_version()?,
            scope: None,
            totp: Totp::default(),
        })
    }

    /// Whether the user may do everything: a superadmin without a scope. There is always
    /// one.
    pub(crate) fn may_do_all(&self) -> bool {
        self.role == Role::Superadmin && self.scope.is_none()
    }

    /// What the user may know of the own account.
    pub(crate) fn account(&self) -> Account {
        Account {
            username: self.username.clone(),
            role: self.role,
            totp: self.totp.secret.is_some(),
            scope: self.scope.as_ref().map(HostScope::to_string),
        }
    }

    /// The event that the user was added.
    pub(super) fn created(&self, act: &Act) -> NewEvent {
        let mut facts = facts([("role", self.role.as_str().into())]);
        if let Some(scope) = &self.scope {
            facts.insert("scope".to_owned(), scope.as_str().into());
        }
        self.event(EventKind::UserCreated, facts, act)
    }

    /// The event that the user was removed.
    pub(super) fn deleted(&self, act: &Act) -> NewEvent {
        self.event(EventKind::UserDeleted, facts([]), act)
    }

    fn event(&self, kind: EventKind, facts: Facts, act: &Act) -> NewEvent {
        act.event(kind, facts).about(&self.username)
    }

    /// The event that the second factor has changed.
    fn totp_event(&self, change: &str, act: &Act) -> NewEvent {
        let left = self.totp.recovery_codes.len();
        let members = [("change", change.into()), ("recovery_codes", left.into())];
        self.event(EventKind::UserTotp, facts(members), act)
    }
}

/// A token version, or an id, that was never used before.
///
/// # Errors
/// The system gives no random numbers.
pub(crate) fn new_version() -> Result<String, getrandom::Error> {
    Ok(format!("{:016x}", getrandom::u64()?))
}

impl UserChange {
    /// Another password.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub(crate) fn password(
        hashed_password: String,
    ) -> Result<UserChange, getrandom::Error> {
        Ok(UserChange::Account {
            role: None,
            hashed_password: Some(hashed_password),
            scope: ScopeChange::Keep,
            token_version: new_version()?,
        })
    }

    /// Another scope.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub(crate) fn scope(scope: ScopeChange) -> Result<UserChange, getrandom::Error> {
        Ok(UserChange::Account {
            role: None,
            hashed_password: None,
            scope,
            token_version: new_version()?,
        })
    }

    /// Another password, for whoever has proven the one that counted under the token
    /// version of `proven`.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub(crate) fn own_password(
        hashed_password: String,
        proven: &User,
    ) -> Result<UserChange, getrandom::Error> {
        Ok(UserChange::OwnPassword {
            hashed_password,
            proven: proven.token_version.clone(),
            token_version: new_version()?,
        })
    }

    /// The user after the change, with the events that tell it; `None` if it does not fit
    /// the user.
    pub(super) fn apply(&self, user: &User, act: &Act) -> Option<(User, Vec<NewEvent>)> {
        let after = self.change(user)?;
        let events = self.events(user, &after, act);
        Some((after, events))
    }

    fn change(&self, user: &User) -> Option<User> {
        let mut after = user.clone();
        match self {
            UserChange::Account {
                role,
                hashed_password,
                scope,
                token_version,
            } => {
                after.role = role.unwrap_or(user.role);
                match scope {
                    ScopeChange::Keep => {}
                    ScopeChange::AllHosts => after.scope = None,
                    ScopeChange::Hosts(scope) => after.scope = Some(scope.clone()),
                }
                if let Some(hash) = hashed_password {
                    after.hashed_password.clone_from(hash);
                    // Whoever knew the old password may have begun it.
                    after.totp.pending = None;
                }
                if after != *user {
                    after.token_version.clone_from(token_version);
                }
            }
            UserChange::OwnPassword { proven, .. } if *proven != user.token_version => {
                return None;
            }
            UserChange::OwnPassword {
                hashed_password,
                token_version,
                ..
            } => {
                after.hashed_password.clone_from(hashed_password);
                after.totp.pending = None;
                after.token_version.clone_from(token_version);
            }
            UserChange::LoggedOut { token_version } => {
                after.token_version.clone_from(token_version);
            }
            UserChange::TotpBegun { secret } => after.totp.pending = Some(secret.clone()),
            UserChange::TotpEnabled {
                secret,
                step,
                recovery_codes,
                token_version,
            } => {
                if user.totp.pending.as_ref() != Some(secret) {
                    return None;
                }
                after.totp = Totp {
                    secret: Some(secret.clone()),
                    pending: None,
                    last_step: *step,
                    recovery_codes: recovery_codes.clone(),
                };
                after.token_version.clone_from(token_version);
            }
            UserChange::TotpStepUsed { step } if *step <= user.totp.last_step => {
                return None;
            }
            UserChange::TotpStepUsed { step } => after.totp.last_step = *step,
            UserChange::RecoveryCodeUsed { hash } => {
                after.totp.recovery_codes.retain(|known| known != hash);
                if after == *user {
                    return None;
                }
            }
            UserChange::TotpReset { token_version } => {
                after.totp = Totp::default();
                after.token_version.clone_from(token_version);
            }
        }
        Some(after)
    }

    fn events(&self, before: &User, after: &User, act: &Act) -> Vec<NewEvent> {
        let totp = |change| vec![after.totp_event(change, act)];
        match self {
            UserChange::Account { .. } | UserChange::OwnPassword { .. } => {
                account_events(before, after, act)
            }
            UserChange::LoggedOut { .. } => {
                vec![after.event(EventKind::UserLoggedOut, facts([]), act)]
            }
            UserChange::TotpBegun { .. } => totp("begun"),
            UserChange::TotpEnabled { .. } => totp("enabled"),
            UserChange::RecoveryCodeUsed { .. } => totp("recovery code used"),
            UserChange::TotpReset { .. } => totp("reset"),
            // The login is told.
            UserChange::TotpStepUsed { .. } => Vec::new(),
        }
    }
}

/// The events that role, scope or password are others.
fn account_events(before: &User, after: &User, act: &Act) -> Vec<NewEvent> {
    let role = (before.role != after.role).then(|| {
        let [from, to] = [before.role, after.role].map(|role| role.as_str().into());
        after.event(
            EventKind::UserChanged,
            facts([("from", from), ("to", to)]),
            act,
        )
    });
    let scope = (before.scope != after.scope).then(|| {
        let [from, to] =
            [before, after].map(|user| user.scope.as_ref().map(HostScope::as_str).into());
        after.event(
            EventKind::UserScope,
            facts([("from", from), ("to", to)]),
            act,
        )
    });
    let password = (before.hashed_password != after.hashed_password)
        .then(|| after.event(EventKind::UserPassword, facts([]), act));
    role.into_iter().chain(scope).chain(password).collect()
}
