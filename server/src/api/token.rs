//! `POST /token`: a password, or a proxy's word, for a bearer token.

use fleetbeat_daemon::clock;
use fleetbeat_protocol::{FieldError, Json, Role, Token};

use super::accounts::{Accounts, Wrong, no_random};
use super::body;
use super::state::ApiState;
use crate::auth::logins::Attempt;
use crate::auth::proxy_login::{Claimed, NotClaimed, find_claim};
use crate::auth::{Refusal, Via, show_source};
use crate::auth_settings::ProxySettings;
use crate::chronicle::Refused;
use crate::http::{Failure, Reply, Request, Response};
use crate::store::{
    Act, Conflict, EventKind, ScopeChange, StoreError, User, UserChange, Who, new_version,
};
use crate::usernames::check_username;

/// The longest body: a name and a password are shorter.
const MAX_BODY_BYTES: usize = 1024;
/// Who makes users whom a proxy has logged in.
const PROXY: &str = "login by proxy";

/// What a user logs in with.
enum Grant {
    /// A password, and a code where the user has a second factor.
    Password {
        username: String,
        password: String,
        code: Option<String>,
    },
    /// The word of the proxy.
    Proxy,
}

/// Checks what was sent, and answers with a token.
pub(super) fn issue(api: &ApiState, request: &mut Request) -> Result<Reply, Failure> {
    let body = body::read(request, MAX_BODY_BYTES)?;
    let content_type = request.header("Content-Type").unwrap_or_default();
    let accounts = Accounts::of(api);

    let (username, password, code) = match parse_grant(content_type, &body)? {
        Grant::Proxy => return log_in_by_proxy(&accounts, request).map(Reply::Now),
        Grant::Password {
            username,
            password,
            code,
        } => (username, password, code),
    };
    let attempt = Attempt {
        username,
        source: request.peer().ip(),
    };
    accounts.check(&attempt)?;

    let of_slot = attempt.clone();
    Ok(accounts.in_slot(&attempt, move |accounts| {
        log_in(accounts, &of_slot, &password, code.as_deref())
    }))
}

/// Checks password and code.
fn log_in(
    accounts: &Accounts,
    attempt: &Attempt,
    password: &str,
    code: Option<&str>,
) -> Result<Response, Failure> {
    let (user, by) = match accounts.prove(attempt, password, code)? {
        Ok(proven) => proven,
        Err(Wrong::NoCode) => return Err(Failure::code_needed()),
        // Which of them is wrong is nobody's business.
        Err(Wrong::Password | Wrong::Code) => {
            let detail = match code {
                Some(_) => {
                    "the username, the password or the code is wrong, or the \
                            code was used before"
                }
                None => "the username or the password is wrong",
            };
            return Err(Failure::no_valid_token(detail));
        }
    };

    Ok(respond(accounts, &user, by, None, attempt))
}

/// Takes the proxy's word.
fn log_in_by_proxy(accounts: &Accounts, request: &Request) -> Result<Response, Failure> {
    let Some(settings) = accounts.auth.proxy() else {
        let detail = "no login by proxy is set up: see auth.proxy in server.toml";
        return Err(Failure::forbidden(detail));
    };
    let source = request.peer().ip();
    let Claimed { username, role } = find_claim(request, settings)
        .map_err(|reason| refuse_claim(accounts, request, reason))?;

    let user = match accounts.auth.find_user(&username)? {
        Some(user) => with_role(accounts, user, role, request)?,
        None => new_user(accounts, &username, role, settings, request)?,
    };
    let attempt = Attempt {
        username: user.username.clone(),
        source,
    };
    Ok(respond(
        accounts,
        &user,
        "proxy",
        Some(Via::Proxy),
        &attempt,
    ))
}

/// The user with the role that the groups give.
fn with_role(
    accounts: &Accounts,
    user: User,
    role: Option<Role>,
    request: &Request,
) -> Result<User, Failure> {
    let Some(role) = role.filter(|role| *role != user.role) else {
        return Ok(user);
    };
    let change = UserChange::Account {
        role: Some(role),
        hashed_password: None,
        scope: ScopeChange::Keep,
        token_version: new_version().map_err(no_random)?,
    };
    let act = by_proxy(request);
    let changed = accounts.auth.change_user(&user.username, &change, &act)?;
    Ok(changed.unwrap_or(user))
}

/// A user without a password, whom the proxy has logged in for the first time.
fn new_user(
    accounts: &Accounts,
    username: &str,
    role: Option<Role>,
    settings: &ProxySettings,
    request: &Request,
) -> Result<User, Failure> {
    let Some(role) = role else {
        let detail = "there is no user of the name that the proxy says";
        return Err(refuse(accounts, request, "unknown user", detail));
    };
    let Ok(username) = check_username(username) else {
        let detail = "the name that the proxy says cannot be a user's";
        return Err(refuse(accounts, request, "unusable name", detail));
    };
    let mut user = User::new(username, role, String::new()).map_err(no_random)?;
    // Also for one who was removed: the new one must not see more than the former one did.
    if role != Role::Superadmin {
        user.scope = settings.scope.clone();
    }
    match accounts.auth.add_user(&user, &by_proxy(request)) {
        // Another instance was faster.
        Err(StoreError::Conflict(Conflict::UserExists(name))) => {
            let there = accounts.auth.find_user(&name)?;
            there.ok_or_else(|| StoreError::from(Conflict::NoSuchUser(name)).into())
        }
        added => Ok(added.map(|()| user)?),
    }
}

/// What is done because a proxy has said so.
fn by_proxy(request: &Request) -> Act {
    Act {
        who: Who::Program(PROXY.to_owned()),
        address: request.peer().ip(),
        at: clock::now(),
    }
}

/// The answer where the proxy's word is not taken.
fn refuse_claim(accounts: &Accounts, request: &Request, reason: NotClaimed) -> Failure {
    match reason {
        NotClaimed::Untrusted => {
            let connected = request.peer().connected();
            let refusals = accounts.auth.refusals();
            refusals.note(Refusal::ProxyLogin, connected, "");
            let detail = "this peer's word on who is logged in is not taken: see \
                          auth.proxy.trusted in server.toml";
            refuse(accounts, request, "untrusted proxy", detail)
        }
        NotClaimed::ForeignOrigin => {
            let detail = "a login by proxy is for this site's own pages: Origin must \
                          name the Host";
            refuse(accounts, request, "foreign origin", detail)
        }
        NotClaimed::Nobody => {
            let detail = "the proxy says nothing of who is logged in";
            Failure::no_valid_token(detail)
        }
        NotClaimed::Several => {
            let connected = request.peer().connected();
            let refusals = accounts.auth.refusals();
            refusals.note(Refusal::ProxyLogin, connected, "several users");
            let detail = "the proxy names several users: it must take the header away \
                          from every client";
            refuse(accounts, request, "several users", detail)
        }
        NotClaimed::NoRole => {
            let detail = "none of the groups that the proxy says has a role here";
            refuse(accounts, request, "no role", detail)
        }
    }
}

/// 403, which is also told.
fn refuse(
    accounts: &Accounts,
    request: &Request,
    reason: &'static str,
    detail: &str,
) -> Failure {
    accounts.refused(Refused {
        kind: EventKind::LoginFailed,
        user: None,
        token: None,
        reason,
        address: request.peer().ip(),
    });
    Failure::forbidden(detail)
}

fn respond(
    accounts: &Accounts,
    user: &User,
    by: &'static str,
    via: Option<Via>,
    attempt: &Attempt,
) -> Response {
    let token: Token = accounts.logged_in(user, by, via, attempt.source);
    log::info!(
        "user {:?} has logged in from {}",
        user.username,
        show_source(attempt.source)
    );
    Response::json(200, &token)
}

/// From a form, as OAuth2 has it, or from JSON. A proxy's word is asked for in JSON
/// alone, because any page can make a browser send a form.
fn parse_grant(content_type: &str, body: &[u8]) -> Result<Grant, Failure> {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let json = match media_type.to_ascii_lowercase().as_str() {
        "application/x-www-form-urlencoded" | "" => parse_form(body),
        "application/json" => {
            let json = body::parse(body)?;
            if asks_for_proxy(&json)? {
                return Ok(Grant::Proxy);
            }
            json
        }
        _ => {
            let detail = "send a form or application/json";
            return Err(Failure::unsupported_media_type(detail));
        }
    };
    parse_credentials(&json)
}

/// Whether the body asks for a login by the proxy's word.
fn asks_for_proxy(json: &Json<'_>) -> Result<bool, Failure> {
    let is_given = matches!(json, Json::Object(members)
        if members.iter().any(|(name, _)| name == "grant"));
    if !is_given {
        return Ok(false);
    }
    match find_text(json, "grant").as_deref() {
        Ok("password") => Ok(false),
        Ok("proxy") => Ok(true),
        Ok(_) | Err(_) => {
            let error = FieldError::new("grant", "must be \"password\" or \"proxy\"");
            Err(Failure::invalid(vec![error]))
        }
    }
}

fn parse_credentials(json: &Json<'_>) -> Result<Grant, Failure> {
    let mut errors = Vec::new();
    let mut text = |name: &str| {
        find_text(json, name).unwrap_or_else(|message| {
            errors.push(FieldError::new(name, message));
            String::new()
        })
    };
    let (username, password) = (text("username"), text("password"));
    let code = find_member(json, "code").map(|_| text("code"));

    if errors.is_empty() {
        Ok(Grant::Password {
            username,
            password,
            code: code.filter(|code| !code.is_empty()),
        })
    } else {
        Err(Failure::invalid(errors))
    }
}

fn parse_form(body: &[u8]) -> Json<'_> {
    let pairs = form_urlencoded::parse(body);
    let members = pairs.map(|(name, value)| (name, Json::Text(value)));
    Json::Object(members.collect())
}

/// The member's text, if the member is there once, or what is wrong with it.
fn find_text(json: &Json<'_>, name: &str) -> Result<String, String> {
    match find_member(json, name) {
        Some(Json::Text(text)) => Ok(text.to_string()),
        Some(other) => Err(format!("must be a string, not {}", other.kind())),
        None => Err("is missing, or given twice".to_owned()),
    }
}

fn find_member<'a>(json: &'a Json<'a>, name: &str) -> Option<&'a Json<'a>> {
    let Json::Object(members) = json else {
        return None;
    };

    let mut named = members.iter().filter(|(member, _)| member == name);
    named
        .next()
        .filter(|_| named.next().is_none())
        .map(|(_, value)| value)
}
