//! `POST /token`: a password for a bearer token.

use std::time::Instant;

use fleetbeat_protocol::{FieldError, Json, Token};

use super::{Answer, body};
use crate::http::Failure;
use crate::http::{Call, Reply, Response};
use crate::serve::App;

const MAX_BODY_BYTES: usize = 1024;

struct Credentials {
    username: String,
    password: String,
}

/// Checks the password in a login slot and answers from there.
pub(super) fn issue(app: &App, call: &mut Call) -> Answer {
    let body = call.body(MAX_BODY_BYTES)?;
    let credentials =
        credentials(call.header("Content-Type").unwrap_or_default(), &body)?;
    app.logins
        .admit(&credentials.username, call.peer().ip, Instant::now())?;
    let auth = app.auth.clone();
    let logins = app.logins.clone();
    let now = app.now();
    Ok(Reply::Later(Box::new(move |exchange| {
        logins.queue(exchange, move |exchange| {
            let result = auth.log_in(&credentials.username, &credentials.password, now);
            exchange.finish(result.map(|access_token| {
                Response::json(
                    200,
                    &Token {
                        access_token,
                        token_type: "bearer".to_owned(),
                    },
                )
            }));
        });
    })))
}

/// From a form, as OAuth2 has it, or from JSON.
fn credentials(content_type: &str, body: &[u8]) -> Result<Credentials, Failure> {
    let media_type = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let json = match media_type.as_str() {
        "application/x-www-form-urlencoded" | "" => {
            let pairs = form_urlencoded::parse(body);
            Json::Object(
                pairs
                    .map(|(name, value)| (name, Json::Text(value)))
                    .collect(),
            )
        }
        "application/json" => body::parse(body)?,
        _ => {
            return Err(Failure::unsupported_media_type(
                "send a form or application/json",
            ));
        }
    };
    let mut errors = Vec::new();
    let mut text = |name: &str| match member(&json, name) {
        Some(Json::Text(text)) => text.to_string(),
        Some(other) => {
            errors.push(FieldError::new(
                name,
                format!("must be a string, not {}", other.kind()),
            ));
            String::new()
        }
        None => {
            errors.push(FieldError::new(name, "is missing, or given twice"));
            String::new()
        }
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

/// The member, if it is there once.
fn member<'a>(json: &'a Json<'a>, name: &str) -> Option<&'a Json<'a>> {
    let Json::Object(members) = json else {
        return None;
    };
    let mut named = members.iter().filter(|(member, _)| member == name);
    named
        .next()
        .filter(|_| named.next().is_none())
        .map(|(_, value)| value)
}
