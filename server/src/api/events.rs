//! `GET /events`: what has happened.

use std::net::IpAddr;

use fleetbeat_protocol::{FieldError, Timestamp, parse_ip};
use serde::Serialize;

use super::list;
use super::state::ApiState;
use crate::auth::Caller;
use crate::fleet::view::View;
use crate::http::{Failure, Reply, Request};
use crate::parameters;
use crate::store::{
    Audience, Cursor, Event, EventKind, EventPage, EventQuery, Facts, HostName, Who,
};

/// The most events in an answer, and how many there are without a word.
const MAX_LIMIT: usize = 1000;
const DEFAULT_LIMIT: usize = 100;
/// The longest name of a user that is looked for, in characters.
const MAX_USER_CHARS: usize = 64;
/// The parameters.
const PARAMETERS: &str =
    "is not a parameter: use kind, ip, user, since, until, after or limit";

/// Answers with the events that the user may see of those that are asked for.
pub(super) fn list(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let may_see_all = caller.may_see_all();
    let mut query = parse(request.query()).map_err(Failure::invalid)?;
    query
        .kinds
        .retain(|kind| may_see_all || kind.audience() == Audience::Users);

    let after = query.after;
    let page = api.hosts.of(caller).events(query)?;
    if after.is_some_and(|after| after > page.cursor) {
        let message = "is behind the newest event: the database is another one than \
                       that which gave the cursor";
        return Err(Failure::invalid(vec![FieldError::new("after", message)]));
    }
    let answer = Answer::of(&page, may_see_all);
    Ok(list::answer(request, &View::new(&answer, false)))
}

/// The body.
#[derive(Serialize)]
struct Answer<'a> {
    events: Vec<ShownEvent<'a>>,
    cursor: String,
    more: bool,
}

/// An event on the wire.
#[derive(Serialize)]
struct ShownEvent<'a> {
    id: String,
    at: Timestamp,
    kind: &'static str,
    ip: Option<IpAddr>,
    server_id: Option<&'a str>,
    hostname: Option<&'a str>,
    user: Option<&'a str>,
    actor: Option<Actor<'a>>,
    data: &'a Facts,
}

/// Who did it.
#[derive(Serialize)]
struct Actor<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
}

impl Answer<'_> {
    fn of(page: &EventPage, may_see_all: bool) -> Answer<'_> {
        let events = page.events.iter();
        let Cursor(cursor) = page.cursor;
        Answer {
            events: events.map(|event| show(event, may_see_all)).collect(),
            cursor: cursor.to_string(),
            more: page.more,
        }
    }
}

/// An event as a user sees it: where an admin was is for those who see everything.
fn show(event: &Event, may_see_all: bool) -> ShownEvent<'_> {
    let Cursor(id) = event.id;
    let host = event.host.as_ref();
    let told = &event.event;
    let actor = told.act.as_ref().map(|act| {
        let (user, program) = match &act.who {
            Who::User(name) | Who::ApiToken { user: name, .. } => {
                (Some(name.as_str()), None)
            }
            Who::Program(name) => (None, Some(name.as_str())),
        };
        Actor {
            user,
            program,
            address: act.address.filter(|_| may_see_all),
        }
    });
    ShownEvent {
        id: id.to_string(),
        at: told.at,
        kind: told.kind.as_str(),
        ip: host.and_then(|host| host.ip),
        server_id: host.and_then(|host| host.server_id.as_deref()),
        hostname: host.map(|host| host.hostname.as_str()),
        user: told.user.as_deref(),
        actor,
        data: &told.facts,
    }
}

/// The query behind the `?`.
///
/// # Errors
/// Every parameter that is unknown, given twice, or makes no sense.
fn parse(query: &str) -> Result<EventQuery, Vec<FieldError>> {
    let mut parsed = EventQuery::newest(DEFAULT_LIMIT);
    parameters::parse(query, |name, value| set(&mut parsed, name, value))?;
    Ok(parsed)
}

fn set(query: &mut EventQuery, name: &str, value: &str) -> Result<(), String> {
    match name {
        "kind" => query.kinds = parse_kinds(value)?,
        "ip" => query.host = Some(parse_host(value)?),
        "user" => query.user = Some(parse_user(value)?),
        "since" => query.since = Some(parse_time(value)?),
        "until" => query.until = Some(parse_time(value)?),
        "after" => query.after = Some(parse_cursor(value)?),
        "limit" => query.limit = parameters::limit(value, MAX_LIMIT)?,
        _ => return Err(PARAMETERS.to_owned()),
    }
    Ok(())
}

/// A kind, or all of a group: `host.down`, `host.*`.
fn parse_kinds(value: &str) -> Result<Vec<EventKind>, String> {
    let is_wanted = |kind: &&EventKind| match value.strip_suffix('*') {
        Some(group) if group.ends_with('.') => kind.as_str().starts_with(group),
        Some(_) => false,
        None => kind.as_str() == value,
    };
    let kinds: Vec<EventKind> =
        EventKind::ALL.iter().filter(is_wanted).copied().collect();
    if kinds.is_empty() {
        return Err(
            "must be a kind of event such as host.down, or a group such as \
                    host.*"
                .to_owned(),
        );
    }
    Ok(kinds)
}

pub(super) fn parse_host(value: &str) -> Result<HostName, String> {
    if let Some(ip) = parse_ip(value) {
        return Ok(HostName::Ip(ip));
    }
    let is_id = value.strip_prefix("srv-").is_some_and(|rest| {
        (1..=64).contains(&rest.len()) && rest.chars().all(|c| c.is_ascii_alphanumeric())
    });
    if is_id {
        Ok(HostName::ServerId(value.to_owned()))
    } else {
        Err("must be an address or a server_id".to_owned())
    }
}

fn parse_user(value: &str) -> Result<String, String> {
    if (1..=MAX_USER_CHARS).contains(&value.chars().count()) {
        Ok(value.to_owned())
    } else {
        Err(format!("must have 1 to {MAX_USER_CHARS} characters"))
    }
}

fn parse_time(value: &str) -> Result<Timestamp, String> {
    let time = value.parse();
    time.map_err(|_| "must be a time such as 2026-01-31T12:00:00Z".to_owned())
}

fn parse_cursor(value: &str) -> Result<Cursor, String> {
    let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
    let cursor = value.parse().ok().filter(|_| is_number);
    cursor
        .map(Cursor)
        .ok_or_else(|| "must be a cursor of an earlier answer".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_makes_no_sense_is_named() {
        for query in [
            "kind=",
            "kind=host",
            "kind=*",
            "kind=host*",
            "kind=host.none",
            "kind=.*",
            "ip=",
            "ip=1.2.3",
            "ip=srv-",
            "ip=srv-..",
            "ip=%2e%2e",
            "user=",
            "since=yesterday",
            "until=2026-13-01T00:00:00Z",
            "since=2026-01-01",
            "after=-1",
            "after=%2B1",
            "after=x",
            "after=",
            "after=99999999999999999999",
            "limit=0",
            "limit=1001",
            "limit=x",
            "page=1",
            "=1",
        ] {
            let name = query.split('=').next().unwrap();
            let errors = parse(query).unwrap_err();
            assert_eq!(
                (errors.len(), errors[0].field.as_str()),
                (1, name),
                "{query}"
            );
        }
        let twice = parse("limit=1&limit=2&kind=x").unwrap_err();
        assert_eq!(twice.len(), 2);
    }

    #[test]
    fn events_are_as_the_document_says() {
        let document = include_str!("openapi.json");
        let document: serde_json::Value = serde_json::from_str(document).unwrap();
        let schema = &document["components"]["schemas"]["Event"]["properties"];
        let told = schema["kind"]["enum"].as_array().unwrap();
        let told: Vec<&str> = told.iter().filter_map(|kind| kind.as_str()).collect();
        let known: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(told, known);
    }

    #[test]
    fn kinds_are_asked_for_by_name_and_by_group() {
        let kinds = |query| parse(query).unwrap().kinds;
        assert_eq!(kinds("kind=host.down"), [EventKind::HostDown]);
        let services = [EventKind::ServiceInactive, EventKind::ServiceActive];
        assert_eq!(kinds("kind=service.*"), services);
        assert_eq!(kinds("limit=1000"), EventKind::ALL);
        let host = parse("ip=srv-00ff00ff").unwrap().host;
        assert_eq!(host, Some(HostName::ServerId("srv-00ff00ff".to_owned())));
    }
}
