//! `POST /token`: a password for a bearer token.

use fleetbeat_daemon::clock;
use fleetbeat_protocol::{FieldError, Json, Token};

use super::body;
use super::state::ApiState;
use crate::auth::logins::{Attempt, Logins};
use crate::auth::{Auth, LoginOutcome, Refusal, show_source};
use crate::chronicle::Chronicle;
use crate::http::{Failure, Reply, Request, Response};

/// The longest body: a name and a password are shorter.
const MAX_BODY_BYTES: usize = 1024;

/// What a user logs in with.
struct Credentials {
    username: String,
    password: String,
}

/// Checks the password in a login slot and answers from there.
pub(super) fn issue(api: &ApiState, request: &mut Request) -> Result<Reply, Failure> {
    let body = body::read(request, MAX_BODY_BYTES)?;
    let content_type = request.header("Content-Type").unwrap_or_default();
    let credentials = parse_credentials(content_type, &body)?;

    let attempt = Attempt {
        username: credentials.username,
        source: request.peer().ip(),
    };
    check(&api.auth, &api.logins, &attempt)?;

    let (auth, logins) = (api.auth.clone(), api.logins.clone());
    let chronicle = api.chronicle.clone();
    let password = credentials.password;
    Ok(Reply::Later(Box::new(move |exchange| {
        let (slots, waiting) = (logins.clone(), attempt.clone());
        slots.queue(&waiting, exchange, move |exchange| {
            exchange.finish(log_in(&auth, &logins, &chronicle, &attempt, &password));
        });
    })))
}

/// Refuses a login after too many wrong passwords.
fn check(auth: &Auth, logins: &Logins, attempt: &Attempt) -> Result<(), Failure> {
    logins.check(attempt).inspect_err(|_| {
        let refusals = auth.refusals();
        refusals.note(Refusal::TooManyLogins, attempt.source, "");
    })
}

/// Checks the password, and counts it if it is wrong.
fn log_in(
    auth: &Auth,
    logins: &Logins,
    chronicle: &Chronicle,
    attempt: &Attempt,
    password: &str,
) -> Result<Response, Failure> {
    check(auth, logins, attempt)?;

    let (username, source) = (&attempt.username, attempt.source);
    let now = clock::now();
    let refusal = match auth.log_in(username, password, now)? {
        LoginOutcome::Token(token) => {
            logins.succeeded(attempt);
            chronicle.logged_in(username, source, now);
            log::info!(
                "user {username:?} has logged in from {}",
                show_source(source)
            );
            return Ok(respond(token));
        }
        LoginOutcome::WrongPassword => Refusal::WrongPassword,
        LoginOutcome::UnknownUser => Refusal::UnknownUser,
    };

    logins.failed(attempt);
    let known = (refusal == Refusal::WrongPassword).then_some(username.as_str());
    chronicle.login_refused(known, source, now);
    let detail = known.map_or_else(String::new, |name| format!("user {name:?}"));
    auth.refusals().note(refusal, source, &detail);
    Err(Failure::no_valid_token(
        "the username or the password is wrong",
    ))
}

fn respond(access_token: String) -> Response {
    let token = Token {
        access_token,
        token_type: "bearer".to_owned(),
    };
    Response::json(200, &token)
}

/// From a form, as OAuth2 has it, or from JSON.
fn parse_credentials(content_type: &str, body: &[u8]) -> Result<Credentials, Failure> {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let json = match media_type.to_ascii_lowercase().as_str() {
        "application/x-www-form-urlencoded" | "" => parse_form(body),
        "application/json" => body::parse(body)?,
        _ => {
            let detail = "send a form or application/json";
            return Err(Failure::unsupported_media_type(detail));
        }
    };

    let mut errors = Vec::new();
    let mut text = |name: &str| {
        find_text(&json, name).unwrap_or_else(|message| {
            errors.push(FieldError::new(name, message));
            String::new()
        })
    };
    let credentials = Credentials {
        username: text("username"),
        password: text("password"),
    };

    if errors.is_empty() {
        Ok(credentials)
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
