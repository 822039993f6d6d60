//! Identities: who is asking, as a proof of the check.
//!
//! A handler that needs a right takes the identity that carries the right as an argument.
//! The identities' fields are private to this file, so the only way to an identity is
//! through the checks of [`Auth`].

use std::net::IpAddr;
use std::sync::Arc;

use fleetbeat_daemon::clock;
use fleetbeat_protocol::{Account, Role, Timestamp};

use super::agents::{Agent, AgentAuth};
use super::api_tokens::ApiTokens;
use super::known_users::{KnownUsers, WhileAway};
use super::networks::KnownNetworks;
use super::policy::{self, Asker, Reach, Right};
use super::refusals::{Refusal, Refusals};
use super::token_text::TokenText;
use super::tokens::{Tokens, Via};
use crate::auth_settings::{AuthSettings, ProxySettings};
use crate::fleet::scope::HostScope;
use crate::http::{Failure, Request};
use crate::secret_keys::SecretKeys;
use crate::store::{Act, ApiToken, Store, StoreError, User, UserChange, Who};

/// A user, or a program with a user's API token, who may use the route that was asked for.
#[derive(Debug)]
pub(crate) struct Caller {
    account: Account,
    user_id: String,
    token_version: String,
    /// The hosts that the user sees and changes; `None` for every host.
    scope: Option<HostScope>,
    means: Means,
}

/// A login that was valid when its request came, and has to be again when its work is
/// done.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    username: String,
    user_id: String,
    token_version: String,
}

/// By what a caller has proven who it is.
#[derive(Debug)]
enum Means {
    /// A login.
    Login,
    /// A login of a user who lacks the second factor that the role needs.
    LoginWithoutTotp,
    /// An API token.
    ApiToken(Box<ApiToken>),
}

/// A request that is refused.
pub(crate) struct Denied {
    /// What the client is told.
    pub(crate) failure: Failure,
    /// What the audit is told: an API token that is valid was of no use.
    pub(crate) token: Option<DeniedToken>,
}

/// An API token that was refused.
pub(crate) struct DeniedToken {
    /// The part of the token that may be seen.
    pub(crate) id: String,
    /// The user who has made it.
    pub(crate) username: String,
    /// Why it was of no use.
    pub(crate) reason: &'static str,
}

/// Who may watch over the server: a caller, or a program of the server's own machine.
#[derive(Debug)]
pub(crate) struct Watcher(Option<Caller>);

impl Caller {
    /// The user's name and role.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// The user's id, which tells the user from a later one of the same name.
    pub(crate) fn user_id(&self) -> &str {
        &self.user_id
    }

    /// The hosts that the caller sees and changes; `None` for every host.
    pub(crate) fn scope(&self) -> Option<&HostScope> {
        self.scope.as_ref()
    }

    /// Whether the caller may see everything that the server tells: a superadmin without
    /// a scope.
    pub(crate) fn may_see_all(&self) -> bool {
        self.account.role == Role::Superadmin && self.scope.is_none()
    }

    /// The caller's login, to be looked at again later.
    pub(crate) fn session(&self) -> Session {
        Session {
            username: self.account.username.clone(),
            user_id: self.user_id.clone(),
            token_version: self.token_version.clone(),
        }
    }

    /// The caller, for the policy.
    fn asker(&self) -> Asker<'_> {
        let role = self.account.role;
        match &self.means {
            Means::Login => Asker::User(role),
            Means::LoginWithoutTotp => Asker::UserWithoutTotp(role),
            Means::ApiToken(token) => Asker::Program(role, &token.scopes),
        }
    }

    /// Which hosts the caller sees, for the policy.
    fn reach(&self) -> Reach {
        match self.scope {
            Some(_) => Reach::Scope,
            None => Reach::AllHosts,
        }
    }

    /// The API token of a program.
    pub(crate) fn api_token(&self) -> Option<&ApiToken> {
        match &self.means {
            Means::ApiToken(token) => Some(token),
            Means::Login | Means::LoginWithoutTotp => None,
        }
    }

    /// What the caller does at `at` by a request from `address`, for an event.
    pub(crate) fn act(&self, address: Option<IpAddr>, at: Timestamp) -> Act {
        let user = self.account.username.clone();
        let who = match &self.means {
            Means::ApiToken(token) => Who::ApiToken {
                user,
                id: token.id.clone(),
            },
            Means::Login | Means::LoginWithoutTotp => Who::User(user),
        };
        Act { who, address, at }
    }

    /// Who does something, for the log.
    pub(crate) fn show(&self) -> String {
        let user = &self.account.username;
        match &self.means {
            Means::ApiToken(token) => format!("user {user:?} (API token {})", token.id),
            Means::Login | Means::LoginWithoutTotp => format!("user {user:?}"),
        }
    }
}

impl From<Failure> for Box<Denied> {
    fn from(failure: Failure) -> Box<Denied> {
        Box::new(Denied {
            failure,
            token: None,
        })
    }
}

impl From<StoreError> for Box<Denied> {
    fn from(error: StoreError) -> Box<Denied> {
        Failure::from(error).into()
    }
}

impl Watcher {
    /// The caller; `None` for a program of the server's own machine without a token.
    pub(crate) fn caller(&self) -> Option<&Caller> {
        self.0.as_ref()
    }
}

/// Authentication with all that it needs: keys, tokens, and users.
pub(crate) struct Auth {
    agents: AgentAuth,
    tokens: Tokens,
    pub(super) store: Arc<dyn Store>,
    users: KnownUsers,
    api_tokens: ApiTokens,
    /// The roles whose users need a second factor.
    require_totp: Vec<Role>,
    /// The proxy that says who is logged in.
    proxy: Option<ProxySettings>,
    /// Where users have been: a token tells as well as a login.
    known_networks: Arc<KnownNetworks>,
    /// What was refused, for the log.
    refusals: Refusals,
}

impl Auth {
    /// Nobody has been seen yet.
    pub(crate) fn new(
        agents: AgentAuth,
        secret: &SecretKeys,
        settings: AuthSettings,
        store: Arc<dyn Store>,
    ) -> Auth {
        Auth {
            agents,
            tokens: Tokens::new(&secret.bytes(), settings.token_life),
            users: KnownUsers::new(store.clone()),
            api_tokens: ApiTokens::new(store.clone()),
            store,
            require_totp: settings.require_totp,
            proxy: settings.proxy,
            known_networks: Arc::default(),
            refusals: Refusals::default(),
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

    /// The proxy that says who is logged in, if there is one.
    pub(crate) fn proxy(&self) -> Option<&ProxySettings> {
        self.proxy.as_ref()
    }

    /// The agent behind the request's `X-API-Key`.
    ///
    /// # Errors
    /// 401 if the key is missing, unknown or not taken; 403 if the host was removed; 500 or
    /// 503 if nobody can tell.
    pub(crate) fn agent(&self, request: &Request) -> Result<Agent, Failure> {
        let sent = request.header("X-API-Key");
        let found = sent.map_or(Ok(None), |key| self.agents.find(key));
        if let Ok(Some(agent)) = found {
            return Ok(agent);
        }
        let refusal = match (sent, found.as_ref().map_err(Failure::status)) {
            (None, _) => Some(Refusal::NoKey),
            (Some(_), Ok(_)) => Some(Refusal::WrongKey),
            (Some(_), Err(401)) => Some(Refusal::SharedKey),
            (Some(_), Err(403)) => Some(Refusal::RemovedHost),
            // Nobody can tell.
            (Some(_), Err(_)) => None,
        };
        if let Some(refusal) = refusal {
            self.refusals.note(refusal, request.peer().ip(), "");
        }
        Err(found.err().unwrap_or_else(Failure::unknown_agent))
    }

    /// The caller behind the request's bearer token, who has this right.
    ///
    /// # Errors
    /// 401 without a valid token; 403 without the right; 500 if the store cannot be read.
    pub(crate) fn caller(
        &self,
        request: &Request,
        right: Right,
    ) -> Result<Caller, Box<Denied>> {
        self.admit(request, right)?.ok_or_else(|| {
            let detail = "the policy admits a caller who is no user";
            Failure::internal(detail).into()
        })
    }

    /// The caller behind the request's bearer token, or the program of this machine that
    /// sends no token, if the right admits either.
    ///
    /// # Errors
    /// As [`Auth::caller`].
    pub(crate) fn watcher(
        &self,
        request: &Request,
        right: Right,
    ) -> Result<Watcher, Box<Denied>> {
        self.admit(request, right).map(Watcher)
    }

    /// Who asks, and has this right; `None` for somebody without a token, who has it
    /// nevertheless. Whoever sends a token is judged by the token, wherever it comes from.
    fn admit(
        &self,
        request: &Request,
        right: Right,
    ) -> Result<Option<Caller>, Box<Denied>> {
        let Some(bearer) = bearer_token(request) else {
            let sends_something = request.headers("Authorization").next().is_some();
            let asker = match request.is_local() && !sends_something {
                true => Asker::LocalPeer,
                false => Asker::Stranger,
            };
            policy::decide(right, asker, Reach::AllHosts)?;
            return Ok(None);
        };

        let while_away = match request.method() {
            "GET" | "HEAD" => WhileAway::Remember,
            _ => WhileAway::Fail,
        };
        let caller = match TokenText::is_meant(bearer) {
            true => self.program(request, bearer, while_away)?,
            false => self.user(request, bearer, while_away)?,
        };
        let decided = policy::decide(right, caller.asker(), caller.reach());
        match caller.api_token() {
            None => decided?,
            Some(token) => {
                let username = &caller.account.username;
                decided.map_err(|failure| denied(token, username, "scope", failure))?;
                self.api_tokens.note_use(&token.id, clock::now());
            }
        }
        Ok(Some(caller))
    }

    /// The user behind a login's token.
    fn user(
        &self,
        request: &Request,
        bearer: &str,
        while_away: WhileAway,
    ) -> Result<Caller, Box<Denied>> {
        let claims = self
            .tokens
            .verify(bearer)
            .ok_or_else(|| Failure::no_valid_token("the token is invalid or expired"))?;
        let is_it = |user: &User| user.token_version == claims.ver;
        let user = self.users.find(&claims.sub, while_away, is_it)?;
        let user = user.ok_or_else(|| {
            Failure::no_valid_token("the token has ended: log in again")
        })?;

        let source = request.peer().ip();
        self.known_networks.note(&user.username, source);
        let is_proven = user.totp.secret.is_some() || claims.via == Some(Via::Proxy);
        let means = if is_proven || !self.require_totp.contains(&user.role) {
            Means::Login
        } else {
            Means::LoginWithoutTotp
        };
        Ok(Caller {
            account: user.account(),
            user_id: user.id,
            token_version: user.token_version,
            scope: user.scope,
            means,
        })
    }

    /// The program behind an API token, which may do what its maker may do, on the hosts
    /// that its maker sees.
    fn program(
        &self,
        request: &Request,
        bearer: &str,
        while_away: WhileAway,
    ) -> Result<Caller, Box<Denied>> {
        let unknown = || Failure::no_valid_token("the API token is wrong or revoked");
        let shown = TokenText::parse(bearer).ok_or_else(unknown)?;
        let token = self.api_tokens.find(&shown, while_away)?;
        let token = token.ok_or_else(unknown)?;
        let is_maker = |user: &User| user.id == token.user_id;
        let maker = self.users.find(&token.username, while_away, is_maker)?;
        let maker = maker.ok_or_else(unknown)?;

        if token.expires_at <= clock::now() {
            let failure = Failure::no_valid_token("the API token has expired");
            return Err(denied(&token, &maker.username, "expired", failure));
        }
        if !is_within(&token, request.peer().ip()) {
            let detail = "the API token may not be used from this address";
            let failure = Failure::forbidden(detail);
            return Err(denied(&token, &maker.username, "network", failure));
        }

        Ok(Caller {
            account: maker.account(),
            user_id: maker.id,
            token_version: maker.token_version,
            scope: maker.scope,
            means: Means::ApiToken(Box::new(token)),
        })
    }

    /// The user of a login that waited before its work was done: the login may have ended,
    /// or the user may have another role. Reads the store.
    ///
    /// # Errors
    /// 401 if the login has ended; 500 if the store cannot be read.
    pub(crate) fn recheck(&self, session: &Session) -> Result<User, Failure> {
        let user = self.store.user(&session.username)?;
        let is_it = |user: &User| {
            user.id == session.user_id && user.token_version == session.token_version
        };
        user.filter(is_it)
            .ok_or_else(|| Failure::no_valid_token("the token has ended: log in again"))
    }

    /// A new token for the user.
    pub(crate) fn issue(&self, user: &User, via: Option<Via>, now: Timestamp) -> String {
        self.tokens
            .issue(&user.username, &user.token_version, via, now)
    }

    /// The user as the store has the user now.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) fn find_user(&self, username: &str) -> Result<Option<User>, StoreError> {
        self.store.user(username)
    }

    /// Adds a user.
    ///
    /// # Errors
    /// As [`crate::store::UserStore::add_user`].
    pub(crate) fn add_user(&self, user: &User, act: &Act) -> Result<(), StoreError> {
        self.store.add_user(user, act)
    }

    /// Changes a user, and knows it at once.
    ///
    /// # Errors
    /// As [`crate::store::UserStore::change_user`].
    pub(crate) fn change_user(
        &self,
        username: &str,
        change: &UserChange,
        act: &Act,
    ) -> Result<Option<User>, StoreError> {
        let changed = self.store.change_user(username, change, act)?;
        changed.iter().for_each(|user| self.users.changed(user));
        Ok(changed)
    }

    /// Removes a user, and knows it at once.
    ///
    /// # Errors
    /// As [`crate::store::UserStore::remove_user`].
    pub(crate) fn remove_user(&self, user: &User, act: &Act) -> Result<(), StoreError> {
        self.store.remove_user(&user.username, act)?;
        self.users.removed(&user.username);
        self.api_tokens.changed();
        Ok(())
    }

    /// Adds an API token, and knows it at once; false if its user has `max` of them already.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub(crate) fn add_api_token(
        &self,
        token: &ApiToken,
        max: usize,
        act: &Act,
    ) -> Result<bool, StoreError> {
        self.api_tokens.add(token, max, act)
    }

    /// Revokes an API token, and knows it at once.
    ///
    /// # Errors
    /// The token is not known, or the store cannot be written.
    pub(crate) fn remove_api_token(&self, id: &str, act: &Act) -> Result<(), StoreError> {
        self.store.remove_api_token(id, act)?;
        self.api_tokens.changed();
        Ok(())
    }
}

/// The refusal of an API token of this user, which is valid but of no use.
fn denied(
    token: &ApiToken,
    username: &str,
    reason: &'static str,
    failure: Failure,
) -> Box<Denied> {
    Box::new(Denied {
        failure,
        token: Some(DeniedToken {
            id: token.id.clone(),
            username: username.to_owned(),
            reason,
        }),
    })
}

/// Whether the token may be used from this address.
fn is_within(token: &ApiToken, source: Option<IpAddr>) -> bool {
    let contains =
        |ip: IpAddr| token.networks.iter().any(|network| network.contains(&ip));
    token.networks.is_empty() || source.is_some_and(contains)
}

/// The token in the `Authorization` header.
fn bearer_token(request: &Request) -> Option<&str> {
    let (scheme, token) = request.header("Authorization")?.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    is_bearer.then(|| token.trim())
}
