//! Who is asking, and what they may do.
//!
//! A handler that needs a right takes the identity that carries it as an argument. The
//! identities' fields are private to this module, so the only way to one is through the
//! checks here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fleetbeat_protocol::{Account, Role, Timestamp};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::passwords;
use super::tokens::Tokens;
use crate::http::Call;
use crate::http::Failure;
use crate::store::{StoreError, User, UserStore};
use crate::sync::locked;

/// A user is read from the store again after this: a removed one is out within two
/// seconds.
const USER_FRESH_FOR: Duration = Duration::from_secs(1);
/// With the store away, a user seen this recently may still read.
const USER_REMEMBERED_FOR: Duration = Duration::from_secs(10 * 60);

/// An agent: its request bore a valid key.
pub(crate) struct Agent(());

/// A user of any role.
pub(crate) struct Reader(Account);

/// A user who may set flags.
pub(crate) struct Admin(());

impl Reader {
    pub(crate) fn account(&self) -> &Account {
        &self.0
    }
}

/// The keys agents may use; two while one replaces the other.
pub(crate) struct AgentKeys(Vec<[u8; 32]>);

impl AgentKeys {
    /// `keys` as configured: one, or two with a comma between.
    ///
    /// # Errors
    /// None, more than two, or an empty one.
    pub(crate) fn parse(keys: &str) -> Result<AgentKeys, String> {
        let keys: Vec<&str> = keys.split(',').map(str::trim).collect();
        if keys.len() > 2 || keys.iter().any(|key| key.is_empty()) {
            return Err(
                "must be one key, or two with a comma between while one replaces the other".to_owned()
            );
        }
        if keys
            .iter()
            .any(|key| !key.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(
                "must be visible ASCII characters: they travel in an HTTP header"
                    .to_owned(),
            );
        }
        Ok(AgentKeys(
            keys.into_iter()
                .map(|key| Sha256::digest(key).into())
                .collect(),
        ))
    }

    /// Hashes have one length, so the comparison's time tells nothing about the key.
    fn contains(&self, key: &str) -> bool {
        let hashed: [u8; 32] = Sha256::digest(key).into();
        self.0.iter().fold(false, |found, known| {
            found | bool::from(known.ct_eq(&hashed))
        })
    }
}

/// What authentication needs: keys, tokens, and the users behind them.
pub(crate) struct Auth {
    agent_keys: AgentKeys,
    tokens: Tokens,
    store: Arc<dyn UserStore>,
    seen: Mutex<HashMap<String, Seen>>,
}

/// A user as read from the store at `at`.
#[derive(Clone)]
struct Seen {
    at: Instant,
    user: Option<User>,
}

impl Auth {
    pub(crate) fn new(
        agent_keys: AgentKeys,
        secret_key: &[u8],
        token_life: Duration,
        store: Arc<dyn UserStore>,
    ) -> Auth {
        Auth {
            agent_keys,
            tokens: Tokens::new(secret_key, token_life),
            store,
            seen: Mutex::default(),
        }
    }

    /// The agent behind the request's `X-API-Key`.
    pub(crate) fn agent(&self, call: &Call) -> Result<Agent, Failure> {
        match call.header("X-API-Key") {
            Some(key) if self.agent_keys.contains(key) => Ok(Agent(())),
            _ => Err(Failure::unknown_agent()),
        }
    }

    /// The user behind the request's bearer token.
    pub(crate) fn reader(&self, call: &Call) -> Result<Reader, Failure> {
        let token = call
            .header("Authorization")
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| {
                Failure::no_valid_token("a bearer token is needed: log in by POST /token")
            })?;
        let claims = self
            .tokens
            .verify(token)
            .ok_or_else(|| Failure::no_valid_token("the token is invalid or expired"))?;
        let may_remember = matches!(call.method(), "GET" | "HEAD");
        match self.user(&claims.sub, may_remember)? {
            Some(user) if user.token_version == claims.ver => Ok(Reader(Account {
                username: user.username,
                role: user.role,
            })),
            _ => Err(Failure::no_valid_token("the token has ended: log in again")),
        }
    }

    /// The user behind the token, who must be an admin at least.
    pub(crate) fn admin(&self, call: &Call) -> Result<Admin, Failure> {
        let Reader(account) = self.reader(call)?;
        if account.role < Role::Admin {
            return Err(Failure::forbidden(format!(
                "a {} user may not do this, an admin may",
                account.role
            )));
        }
        Ok(Admin(()))
    }

    /// A new token for a user's name and password. Slow on purpose: see [`super::logins`].
    pub(crate) fn log_in(
        &self,
        username: &str,
        password: &str,
        now: Timestamp,
    ) -> Result<String, Failure> {
        let user = self.store.user(username)?;
        let matches = passwords::verify(user.as_ref(), password);
        match user.filter(|_| matches) {
            Some(user) => Ok(self.tokens.issue(&user.username, &user.token_version, now)),
            None => Err(Failure::no_valid_token(
                "the username or the password is wrong",
            )),
        }
    }

    /// The user from the store, or from memory if read within the last second; with the
    /// store away, from memory of the last minutes if `may_remember`.
    fn user(
        &self,
        username: &str,
        may_remember: bool,
    ) -> Result<Option<User>, StoreError> {
        let now = Instant::now();
        let remembered = locked(&self.seen).get(username).cloned();
        let younger = |limit| {
            remembered
                .as_ref()
                .is_some_and(|seen| now.duration_since(seen.at) < limit)
        };
        if younger(USER_FRESH_FOR) {
            return Ok(remembered.and_then(|seen| seen.user));
        }
        match self.store.user(username) {
            Ok(user) => {
                let mut seen = locked(&self.seen);
                seen.retain(|_, seen| now.duration_since(seen.at) < USER_REMEMBERED_FOR);
                seen.insert(
                    username.to_owned(),
                    Seen {
                        at: now,
                        user: user.clone(),
                    },
                );
                Ok(user)
            }
            Err(error) if may_remember && younger(USER_REMEMBERED_FOR) => {
                log::warn!("user {username:?} reads from memory: {error}");
                Ok(remembered.and_then(|seen| seen.user))
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keys_are_valid_while_one_replaces_the_other() {
        let keys = AgentKeys::parse("old, new").unwrap();
        assert!(keys.contains("old") && keys.contains("new"));
        assert!(!keys.contains("old, new") && !keys.contains("") && !keys.contains("ne"));
        for bad in ["", ",", "a,", "a,b,c", "schlüssel", "a b"] {
            assert!(AgentKeys::parse(bad).is_err(), "{bad:?}");
        }
    }
}
