//! `/tokens`: what programs show in place of a user's login.

use std::time::Duration;

use data_encoding::HEXLOWER;
use fleetbeat_daemon::clock;
use fleetbeat_protocol::{ApiToken as Answer, FieldError, NewApiToken, ShownApiToken};
use fleetbeat_settings::{parse_duration, show_duration};
use ipnet::IpNet;

use super::accounts::{MAX_BODY_BYTES, no_random};
use super::body;
use super::state::ApiState;
use crate::auth::{Caller, TokenText, show_source};
use crate::http::{Failure, Reply, Request, Response};
use crate::network::parse_networks;
use crate::store::{ApiToken, Conflict, StoreError};

/// How long a token may be valid.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// How many tokens a user may have, those that have expired included.
const MAX_OF_USER: usize = 100;

/// `GET /tokens`: the caller's tokens; of all users for a superadmin without a scope.
pub(super) fn list(
    api: &ApiState,
    caller: &Caller,
    _: &mut Request,
) -> Result<Reply, Failure> {
    let tokens = api.api_tokens.api_tokens()?;
    let tokens = tokens.iter().filter(|token| may_see(caller, token));
    let tokens: Vec<ShownApiToken> = tokens.map(ApiToken::show).collect();
    Ok(Reply::Now(Response::json(200, &tokens)))
}

/// `POST /tokens`: makes a token, and shows it this once.
pub(super) fn add(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let body = body::read(request, MAX_BODY_BYTES)?;
    let new = NewApiToken::from_json(&body::parse(&body)?).map_err(Failure::invalid)?;
    let (life, networks) = check(caller, &new).map_err(Failure::invalid)?;

    let now = clock::now();
    let text = TokenText::new().map_err(no_random)?;
    let token = ApiToken {
        id: text.id().to_owned(),
        user_id: caller.user_id().to_owned(),
        username: caller.account().username.clone(),
        name: new.name,
        hash: HEXLOWER.encode(&text.hash()),
        scopes: new.scopes,
        networks,
        created_at: now,
        expires_at: now.saturating_add(life).unwrap_or(now),
        last_used_on: None,
    };
    let source = request.peer().ip();
    let act = caller.act(source, now);
    if !api.auth.add_api_token(&token, MAX_OF_USER, &act)? {
        let detail = format!("a user has at most {MAX_OF_USER} tokens: revoke some");
        return Err(Failure::conflict(detail));
    }

    let (who, id) = (caller.show(), &token.id);
    log::info!("{who} at {} has made API token {id}", show_source(source));
    let answer = Answer {
        token: text.to_string(),
        shown: token.show(),
    };
    let response = Response::json(201, &answer);
    let location = format!("/tokens/{id}");
    Ok(Reply::Now(response.with_header("Location", location)))
}

/// `DELETE /tokens/{id}`: revokes one of the caller's tokens; of any user for a
/// superadmin without a scope.
pub(super) fn remove(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let path = request.path();
    let id = path.get(1).copied().unwrap_or_default();
    let tokens = api.api_tokens.api_tokens()?;
    let is_meant = |token: &&ApiToken| token.id == id && may_see(caller, token);
    let Some(token) = tokens.iter().find(is_meant) else {
        return Err(StoreError::from(Conflict::NoSuchToken(id.to_owned())).into());
    };

    let source = request.peer().ip();
    let act = caller.act(source, clock::now());
    api.auth.remove_api_token(&token.id, &act)?;
    log::info!(
        "{} at {} has revoked API token {}",
        caller.show(),
        show_source(source),
        token.id
    );
    Ok(Reply::Now(Response::no_content()))
}

fn may_see(caller: &Caller, token: &ApiToken) -> bool {
    caller.may_see_all() || token.user_id == caller.user_id()
}

/// How long the token is to be valid, and from where.
///
/// # Errors
/// Every field that breaks a rule.
fn check(
    caller: &Caller,
    new: &NewApiToken,
) -> Result<(Duration, Vec<IpNet>), Vec<FieldError>> {
    let mut errors = Vec::new();
    let role = caller.account().role;
    for scope in new.scopes.iter().filter(|scope| scope.least_role() > role) {
        let message = format!("{scope} is not for a {role} user, and so not for a token");
        errors.push(FieldError::new("scopes", message));
    }

    let life = parse_duration(&new.expires_in);
    let life = life.filter(|life| (SHORTEST..=LONGEST).contains(life));
    if life.is_none() {
        let [least, most] = [SHORTEST, LONGEST].map(show_duration);
        let message = format!("must be a time such as \"90d\", from {least} to {most}");
        errors.push(FieldError::new("expires_in", message));
    }

    let (networks, wrong) = parse_networks(&new.networks);
    errors.extend(wrong);
    match life {
        Some(life) if errors.is_empty() => Ok((life, networks)),
        _ => Err(errors),
    }
}
