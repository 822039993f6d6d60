//! Identities: who is asking, as a proof of the check.
//!
//! A handler that needs a right takes the identity that carries the right as an argument.
//! The identities' fields are private to this file, so the only way to an identity is
//! through the checks of [`Auth`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fleetbeat_daemon::lock::lock;
use fleetbeat_protocol::{Account, Timestamp};

use super::agents::{Agent, AgentAuth};
use super::networks::KnownNetworks;
use super::passwords;
use super::policy::{self, Asker, Right};
use super::refusals::{Refusal, Refusals};
use super::tokens::Tokens;
use crate::http::{Failure, Request};
use crate::recurring::{Recurring, Tally};
use crate::store::{StoreError, User, UserStore};

/// A user is read from the store again after this: a removed user is out within two
/// seconds.
const USER_FRESH_FOR: Duration = Duration::from_secs(1);
/// With the store away, a user seen this recently may still read.
const USER_REMEMBERED_FOR: Duration = Duration::from_secs(10 * 60);

/// A user who may use the route that was asked for.
#[derive(Debug)]
pub(crate) struct Caller(Account);

/// Who may watch over the server: a user, or a program of the server's own machine.
#[derive(Debug)]
pub(crate) struct Watcher(Option<Account>);

impl Caller {
    /// The user's name and role.
    pub(crate) fn account(&self) -> &Account {
        &self.0
    }
}

impl Watcher {
    /// The user's name and role; `None` for a program of the server's own machine.
    pub(crate) fn account(&self) -> Option<&Account> {
        self.0.as_ref()
    }
}

/// Authentication with all that it needs: keys, tokens, and users.
pub(crate) struct Auth {
    agents: AgentAuth,
    tokens: Tokens,
    store: Arc<dyn UserStore>,
    /// The users of the last minutes, by name.
    seen: Mutex<HashMap<String, Seen>>,
    /// Where users have been: a token tells as well as a login.
    known_networks: Arc<KnownNetworks>,
    /// What was refused, for the log.
    refusals: Refusals,
    /// The store cannot be read, and users are taken from memory.
    store_trouble: Mutex<Recurring>,
}

/// What became of a login.
#[derive(Debug)]
pub(crate) enum LoginOutcome {
    /// The password is right, and this is the user's token.
    Token(String),
    /// The password is wrong.
    WrongPassword,
    /// There is no such user.
    UnknownUser,
}

/// A user as read from the store at `at`.
#[derive(Clone)]
struct Seen {
    at: Instant,
    /// `None` if the store had no such user.
    user: Option<User>,
}

/// How a user is found while the store is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WhileAway {
    /// Take the user as seen in the last minutes.
    Remember,
    /// Fail.
    Fail,
}

impl Auth {
    /// Nobody has been seen yet.
    pub(crate) fn new(
        agents: AgentAuth,
        secret_key: &[u8],
        token_life: Duration,
        store: Arc<dyn UserStore>,
    ) -> Auth {
        Auth {
            agents,
            tokens: Tokens::new(secret_key, token_life),
            store,
            seen: Mutex::default(),
            known_networks: Arc::default(),
            refusals: Refusals::default(),
            store_trouble: Mutex::default(),
        }
    }

    /// The networks where users have been.
    pub(crate) fn known_networks(&self) -> Arc<KnownNetworks> {
        self.known_networks.clone()
    }

    /// What was refused, for the log.
    pub(crate) fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// The keys of agents.
    pub(crate) fn agents(&self) -> &AgentAuth {
        &self.agents
    }

    /// The agent behind the request's `X-API-Key`.
    ///
    /// # Errors
    /// 401 if the key is missing, unknown or not taken; 500 or 503 if nobody can tell.
    pub(crate) fn agent(&self, request: &Request) -> Result<Agent, Failure> {
        let sent = request.header("X-API-Key");
        let found = sent.map_or(Ok(None), |key| self.agents.find(key));
        if let Ok(Some(agent)) = found {
            return Ok(agent);
        }
        let refusal = match sent {
            Some(_) => Refusal::WrongKey,
            None => Refusal::NoKey,
        };
        self.refusals.note(refusal, request.peer().ip(), "");
        Err(found.err().unwrap_or_else(Failure::unknown_agent))
    }

    /// The user behind the request's bearer token, who has this right.
    ///
    /// # Errors
    /// 401 without a valid token; 403 without the right; 500 if the store cannot be read.
    pub(crate) fn caller(
        &self,
        request: &Request,
        right: Right,
    ) -> Result<Caller, Failure> {
        match self.admit(request, right)? {
            Asker::User(account) => Ok(Caller(account)),
            Asker::LocalPeer | Asker::Stranger => Err(Failure::internal(
                "the policy admits a caller who is no user",
            )),
        }
    }

    /// The user behind the request's bearer token, or the program of this machine that
    /// sends no token, if the right admits either.
    ///
    /// # Errors
    /// As [`Auth::caller`].
    pub(crate) fn watcher(
        &self,
        request: &Request,
        right: Right,
    ) -> Result<Watcher, Failure> {
        Ok(Watcher(match self.admit(request, right)? {
            Asker::User(account) => Some(account),
            Asker::LocalPeer | Asker::Stranger => None,
        }))
    }

    /// Who asks, and has this right.
    fn admit(&self, request: &Request, right: Right) -> Result<Asker, Failure> {
        let asker = self.asker(request)?;
        policy::decide(right, &asker)?;
        Ok(asker)
    }

    /// Who asks. Whoever sends a token is judged by the token, wherever it comes from.
    fn asker(&self, request: &Request) -> Result<Asker, Failure> {
        if let Some(token) = bearer_token(request) {
            return self.user_of(request, token).map(Asker::User);
        }
        let sends_something = request.headers("Authorization").next().is_some();
        Ok(match request.is_local() && !sends_something {
            true => Asker::LocalPeer,
            false => Asker::Stranger,
        })
    }

    /// The user behind the request's bearer token.
    fn user_of(&self, request: &Request, token: &str) -> Result<Account, Failure> {
        let claims = self
            .tokens
            .verify(token)
            .ok_or_else(|| Failure::no_valid_token("the token is invalid or expired"))?;

        let while_away = match request.method() {
            "GET" | "HEAD" => WhileAway::Remember,
            _ => WhileAway::Fail,
        };
        match self.user(&claims.sub, while_away)? {
            Some(user) if user.token_version == claims.ver => {
                let source = request.peer().ip();
                self.known_networks.note(&user.username, source);
                Ok(Account {
                    username: user.username,
                    role: user.role,
                })
            }
            _ => Err(Failure::no_valid_token("the token has ended: log in again")),
        }
    }

    /// A new token for a user's name and password. Slow on purpose: see [`super::logins`].
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) fn log_in(
        &self,
        username: &str,
        password: &str,
        now: Timestamp,
    ) -> Result<LoginOutcome, StoreError> {
        let user = self.store.user(username)?;
        let matches = passwords::verify(user.as_ref(), password);

        Ok(match user {
            None => LoginOutcome::UnknownUser,
            Some(user) if matches => LoginOutcome::Token(self.tokens.issue(
                &user.username,
                &user.token_version,
                now,
            )),
            Some(_) => LoginOutcome::WrongPassword,
        })
    }

    /// The user from the store, or from memory if the store was read within the last
    /// second.
    fn user(
        &self,
        username: &str,
        while_away: WhileAway,
    ) -> Result<Option<User>, StoreError> {
        let now = Instant::now();
        let remembered = lock(&self.seen).get(username).cloned();
        let seen_within = |time| {
            let seen = remembered.as_ref();
            seen.is_some_and(|seen| now.duration_since(seen.at) < time)
        };
        if seen_within(USER_FRESH_FOR) {
            return Ok(remembered.and_then(|seen| seen.user));
        }

        match self.store.user(username) {
            Ok(user) => {
                self.remember(username, user.clone(), now);
                if lock(&self.store_trouble).well(now).is_some() {
                    log::info!("users are read from the store again");
                }
                Ok(user)
            }
            Err(error)
                if while_away == WhileAway::Remember
                    && seen_within(USER_REMEMBERED_FOR) =>
            {
                let reason = error.to_string();
                let due = lock(&self.store_trouble).again(&reason, now);
                if let Some(Tally { times, .. }) = due {
                    log::warn!("users are taken from memory ({times} times): {reason}");
                }
                Ok(remembered.and_then(|seen| seen.user))
            }
            Err(error) => Err(error),
        }
    }

    /// Keeps the store's word, and forgets users that are too old to be of use.
    fn remember(&self, username: &str, user: Option<User>, now: Instant) {
        let mut seen = lock(&self.seen);
        seen.retain(|_, seen| now.duration_since(seen.at) < USER_REMEMBERED_FOR);
        seen.insert(username.to_owned(), Seen { at: now, user });
    }
}

/// The token in the `Authorization` header.
fn bearer_token(request: &Request) -> Option<&str> {
    let (scheme, token) = request.header("Authorization")?.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    is_bearer.then(|| token.trim())
}
