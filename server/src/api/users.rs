//! `/users`: the accounts, for superadmins.

use fleetbeat_daemon::clock;
use fleetbeat_protocol::{Account, FieldError, NewUser, ScopePatch, UserPatch};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::accounts::{Accounts, MAX_BODY_BYTES, attempt_of, no_random};
use super::body;
use super::state::ApiState;
use crate::auth::{Caller, Session};
use crate::chronicle::Refused;
use crate::fleet::scope::HostScope;
use crate::http::{Failure, Reply, Request, Response};
use crate::store::{
    Act, Conflict, EventKind, ScopeChange, StoreError, User, UserChange, new_version,
};
use crate::usernames::check_username;

/// `GET /users`.
pub(super) fn list(
    api: &ApiState,
    _: &Caller,
    _: &mut Request,
) -> Result<Reply, Failure> {
    let users = api.users.users()?;
    let accounts: Vec<Account> = users.iter().map(User::account).collect();
    Ok(Reply::Now(Response::json(200, &accounts)))
}

/// `POST /users`: adds a user.
pub(super) fn add(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let body = body::read(request, MAX_BODY_BYTES)?;
    let new = NewUser::from_json(&body::parse(&body)?).map_err(Failure::invalid)?;
    let scope = new.scope.as_deref().map(parse_scope).transpose()?;
    if new.password.is_none() && api.auth.proxy().is_none() {
        let message = "is missing: only users of a login by proxy go without";
        return Err(Failure::invalid(vec![FieldError::new("password", message)]));
    }

    let accounts = Accounts::of(api);
    let attempt = attempt_of(caller, request.peer().ip());
    let act = caller.act(attempt.source, clock::now());
    let (who, session) = (caller.show(), caller.session());
    Ok(accounts.in_slot(&attempt, move |accounts| {
        let user = make(accounts, &session, &new, scope, &act)?;
        log::info!("{who} has added user {:?}", user.username);
        let path = utf8_percent_encode(&user.username, NON_ALPHANUMERIC);
        let response = Response::json(201, &user.account());
        Ok(response.with_header("Location", format!("/users/{path}")))
    }))
}

/// Makes the user and stores it.
fn make(
    accounts: &Accounts,
    session: &Session,
    new: &NewUser,
    scope: Option<HostScope>,
    act: &Act,
) -> Result<User, Failure> {
    accounts.auth.recheck(session)?;
    let username = check_username(&new.username).map_err(|unusable| {
        let error = FieldError::new("username", format!("cannot be used: {unusable}"));
        Failure::invalid(vec![error])
    })?;
    // Before a password is hashed in vain.
    if let Some(other) = accounts.auth.find_user(&username)? {
        return Err(taken(accounts, other.username, act));
    }

    let hash = match &new.password {
        Some(password) => accounts.hash("password", password, None, act.address)?,
        None => String::new(),
    };
    let user = User::new(username, new.role, hash).map_err(no_random)?;
    let user = User { scope, ..user };
    accounts.auth.recheck(session)?;
    match accounts.auth.add_user(&user, act) {
        Err(StoreError::Conflict(Conflict::UserExists(other))) => {
            Err(taken(accounts, other, act))
        }
        added => Ok(added.map(|()| user)?),
    }
}

/// 409, which is also told: somebody has a spelling of the name.
fn taken(accounts: &Accounts, other: String, act: &Act) -> Failure {
    accounts.refused(Refused {
        kind: EventKind::UserRefused,
        user: Some(&other),
        token: None,
        reason: "name taken",
        address: act.address,
    });
    StoreError::from(Conflict::UserExists(other)).into()
}

/// `PATCH /users/{username}`: another role, another password or another scope, which ends
/// the user's logins.
pub(super) fn change(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let username = named(request)?;
    let body = body::read(request, MAX_BODY_BYTES)?;
    let patch = UserPatch::from_json(&body::parse(&body)?).map_err(Failure::invalid)?;
    let scope = match &patch.scope {
        ScopePatch::Keep => ScopeChange::Keep,
        ScopePatch::AllHosts => ScopeChange::AllHosts,
        ScopePatch::Hosts(text) => ScopeChange::Hosts(parse_scope(text)?),
    };
    let is_quick = patch.password.is_none();

    let accounts = Accounts::of(api);
    let attempt = attempt_of(caller, request.peer().ip());
    let act = caller.act(attempt.source, clock::now());
    let session = caller.session();
    let who = caller.show();
    let work = move |accounts: &Accounts| {
        let (user, is_changed) =
            set(accounts, &session, &username, (&patch, &scope), &act)?;
        if is_changed {
            log::info!("{who} has changed user {:?}", user.username);
        }
        Ok(Response::json(200, &user.account()))
    };
    // Nobody who floods the logins delays that a role is taken away.
    if is_quick {
        return work(&accounts).map(Reply::Now);
    }
    Ok(accounts.in_slot(&attempt, work))
}

/// Changes the user, and tells whether there was anything to change.
fn set(
    accounts: &Accounts,
    session: &Session,
    username: &str,
    (patch, scope): (&UserPatch, &ScopeChange),
    act: &Act,
) -> Result<(User, bool), Failure> {
    accounts.auth.recheck(session)?;
    let user = find(accounts, username)?;
    let role = patch.role.filter(|role| *role != user.role);
    let is_same_scope = match scope {
        ScopeChange::Keep => true,
        ScopeChange::AllHosts => user.scope.is_none(),
        ScopeChange::Hosts(scope) => user.scope.as_ref() == Some(scope),
    };
    if role.is_none() && patch.password.is_none() && is_same_scope {
        return Ok((user, false));
    }

    let about = Some(user.username.as_str());
    let hash =
        |password: &String| accounts.hash("password", password, about, act.address);
    let change = UserChange::Account {
        role,
        hashed_password: patch.password.as_ref().map(hash).transpose()?,
        scope: scope.clone(),
        token_version: new_version().map_err(no_random)?,
    };
    accounts.auth.recheck(session)?;
    let changed = accounts.auth.change_user(&user.username, &change, act)?;
    Ok((changed.unwrap_or(user), true))
}

/// `DELETE /users/{username}`.
pub(super) fn remove(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let accounts = Accounts::of(api);
    let user = find(&accounts, &named(request)?)?;
    let act = caller.act(request.peer().ip(), clock::now());
    api.auth.remove_user(&user, &act)?;
    log::info!("{} has removed user {:?}", caller.show(), user.username);
    Ok(Reply::Now(Response::no_content()))
}

/// The scope that `text` spells.
///
/// # Errors
/// 422, which says what is wrong and where.
fn parse_scope(text: &str) -> Result<HostScope, Failure> {
    let scope = HostScope::parse(text);
    scope.map_err(|message| Failure::invalid(vec![FieldError::new("scope", message)]))
}

/// The user's name in the path.
fn named(request: &Request) -> Result<String, Failure> {
    let path = request.path();
    let name = path.get(1).map(|name| (*name).to_owned());
    name.ok_or_else(|| Failure::not_found("the path names no user"))
}

fn find(accounts: &Accounts, username: &str) -> Result<User, Failure> {
    let user = accounts.auth.find_user(username)?;
    user.ok_or_else(|| StoreError::from(Conflict::NoSuchUser(username.to_owned())).into())
}
