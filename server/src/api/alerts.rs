//! `/alerts`: what is wrong now, what was, and who takes care of it.

use std::collections::BTreeMap;

use fleetbeat_daemon::clock;
use fleetbeat_protocol::{AckNote, FieldError, Severity, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::deliveries::ShownDelivery;
use super::events::parse_host;
use super::kept::{MAX_BYTES, id_of};
use super::paging::{DEFAULT_LIMIT, MAX_LIMIT, parse_id, parse_place, show_place, words};
use super::state::ApiState;
use super::{body, list};
use crate::auth::Caller;
use crate::fleet::view::View;
use crate::http::{Failure, Reply, Request, Response};
use crate::parameters;
use crate::store::{
    AlertQuery, AlertRow, AlertState, DeliveryQuery, EventKind, Expected, Facts,
    HostName, ObjectChange, ObjectKind, Page, facts,
};

/// The parameters.
const PARAMETERS: &str =
    "is not a parameter: use state, severity, rule, ip, after or limit";
/// The most deliveries that are shown with an alert.
const MAX_DELIVERIES: usize = 100;
/// The members of an alert that only its engine reads.
const INNER: [&str; 2] = ["course", "told"];

/// That somebody takes care of an alert, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ack {
    by: String,
    at: Timestamp,
    #[serde(default)]
    note: String,
}

/// The body of a list.
#[derive(Serialize)]
struct Answer {
    alerts: Vec<Map<String, Value>>,
    next: Option<String>,
}

/// What is asked for.
struct Wish {
    query: AlertQuery,
    host: Option<HostName>,
}

/// `GET`: alerts, the newest first.
pub(super) fn list(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let wish = parse(request.query()).map_err(Failure::invalid)?;
    let mut query = wish.query;
    let page = match server_id(api, caller, wish.host)? {
        Asked::Nobody => Page {
            rows: Vec::new(),
            next: None,
        },
        Asked::Everybody => api.alerts.alerts(&query)?,
        Asked::Host(server_id) => {
            query.server_id = Some(server_id);
            api.alerts.alerts(&query)?
        }
    };
    let acks = acks(api)?;
    let shown = page
        .rows
        .iter()
        .map(|alert| show(alert, acks.get(&alert.id)));
    let answer = Answer {
        alerts: shown.collect(),
        next: page.next.as_ref().map(show_place),
    };
    Ok(list::answer(request, &View::new(&answer, false)))
}

/// Whose alerts are asked for.
enum Asked {
    Everybody,
    /// The host of this `server_id`.
    Host(String),
    /// A host that is not there.
    Nobody,
}

fn server_id(
    api: &ApiState,
    caller: &Caller,
    host: Option<HostName>,
) -> Result<Asked, Failure> {
    match host {
        None => Ok(Asked::Everybody),
        // It may be gone, and its alerts be there.
        Some(HostName::ServerId(id)) => Ok(Asked::Host(id)),
        Some(host) => match api.hosts.of(caller).host(&host) {
            Ok(shown) => Ok(Asked::Host(shown.record().server_id.clone())),
            Err(failure) if failure.status() == 404 => Ok(Asked::Nobody),
            Err(failure) => Err(failure),
        },
    }
}

/// `GET /alerts/{id}`: one alert, with its messages.
pub(super) fn show_one(
    api: &ApiState,
    _: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let alert = find(api, request)?;
    let ack = api.alerts.alert_object(ObjectKind::Ack, &alert.id)?;
    let ack = ack.and_then(|ack| serde_json::from_str(&ack.body).ok());
    let mut shown = show(&alert, ack.as_ref());

    let query = DeliveryQuery {
        alert: Some(alert.id),
        limit: MAX_DELIVERIES,
        ..DeliveryQuery::default()
    };
    let page = api.alerts.deliveries(&query)?;
    let deliveries = page.rows.iter().map(ShownDelivery::of);
    let deliveries: Vec<ShownDelivery<'_>> = deliveries.collect();
    let deliveries = serde_json::to_value(deliveries);
    shown.insert("deliveries".to_owned(), deliveries.unwrap_or_default());
    Ok(Reply::Now(Response::json(200, &shown)))
}

/// `POST /alerts/{id}/ack`: takes an alert on.
pub(super) fn acknowledge(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let body = body::read(request, MAX_BYTES)?;
    let note = match body.as_slice() {
        [] => String::new(),
        body => {
            let note = AckNote::from_json(&body::parse(body)?);
            note.map_err(Failure::invalid)?.note
        }
    };
    let alert = find(api, request)?;
    if alert.state != AlertState::Firing {
        let state = alert.state.as_str();
        let detail = format!("the alert is {state}: one that fires can be taken on");
        return Err(Failure::conflict(detail));
    }

    let ack = Ack {
        by: caller.account().username.clone(),
        at: clock::now(),
        note,
    };
    let before = api.alerts.alert_object(ObjectKind::Ack, &alert.id)?;
    let act = caller.act(request.peer().ip(), ack.at);
    let mut told = describe(&alert);
    told.insert("note".to_owned(), ack.note.as_str().into());
    let change = ObjectChange {
        kind: ObjectKind::Ack,
        id: &alert.id,
        body: &serde_json::to_string(&ack).expect("an acknowledgement is plain JSON"),
        expected: match before {
            Some(before) => Expected::Version(before.version),
            None => Expected::Nothing { most: usize::MAX },
        },
        event: &act.event(EventKind::AlertAcknowledged, told),
    };
    api.alerts.put_alert_object(&change)?;
    log::info!("{act} has taken on the alert {}", alert.id);
    Ok(Reply::Now(Response::json(200, &show(&alert, Some(&ack)))))
}

/// `DELETE /alerts/{id}/ack`: gives an alert back.
pub(super) fn give_back(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let alert = find(api, request)?;
    let act = caller.act(request.peer().ip(), clock::now());
    let event = act.event(EventKind::AlertUnacknowledged, describe(&alert));
    let kind = ObjectKind::Ack;
    if !api.alerts.remove_alert_object(kind, &alert.id, &event)? {
        return Err(Failure::not_found("nobody has taken this alert on"));
    }
    log::info!("{act} has given back the alert {}", alert.id);
    Ok(Reply::Now(Response::no_content()))
}

fn find(api: &ApiState, request: &Request) -> Result<AlertRow, Failure> {
    let found = api.alerts.alert(&id_of(request))?;
    found.ok_or_else(|| Failure::not_found("there is no alert with this id"))
}

/// Who has taken which alert on.
fn acks(api: &ApiState) -> Result<BTreeMap<String, Ack>, Failure> {
    let acks = api.alerts.alert_objects(ObjectKind::Ack)?.into_iter();
    let read = acks.filter_map(|ack| {
        let read = serde_json::from_str(&ack.body).ok()?;
        Some((ack.id, read))
    });
    Ok(read.collect())
}

/// What an event tells of an alert that somebody takes on or gives back.
fn describe(alert: &AlertRow) -> Facts {
    let body = serde_json::from_str::<Map<String, Value>>(&alert.body);
    let name = body.ok().and_then(|mut body| body.remove("rule_name"));
    facts([
        ("alert", alert.id.as_str().into()),
        ("rule", alert.rule.as_str().into()),
        ("name", name.unwrap_or_default()),
    ])
}

/// An alert on the wire. Who has taken it on is told as it is now: the engine learns it a
/// moment later.
fn show(alert: &AlertRow, ack: Option<&Ack>) -> Map<String, Value> {
    let body = serde_json::from_str(&alert.body);
    let mut shown: Map<String, Value> = body.unwrap_or_default();
    for member in INNER {
        shown.remove(member);
    }
    let ack = serde_json::to_value(ack).unwrap_or_default();
    for (name, value) in [
        ("id", alert.id.as_str().into()),
        ("rule", alert.rule.as_str().into()),
        ("severity", alert.severity.as_str().into()),
        ("state", alert.state.as_str().into()),
        ("opened_at", alert.opened_at.to_string().into()),
        ("ended_at", alert.ended_at.map(|at| at.to_string()).into()),
        ("server_id", alert.server_id.clone().into()),
        ("ack", ack),
    ] {
        shown.insert(name.to_owned(), value);
    }
    shown
}

/// The query behind the `?`.
///
/// # Errors
/// Every parameter that is unknown, given twice, or makes no sense.
fn parse(query: &str) -> Result<Wish, Vec<FieldError>> {
    let mut wish = Wish {
        query: AlertQuery {
            limit: DEFAULT_LIMIT,
            ..AlertQuery::default()
        },
        host: None,
    };
    parameters::parse(query, |name, value| set(&mut wish, name, value))?;
    Ok(wish)
}

fn set(wish: &mut Wish, name: &str, value: &str) -> Result<(), String> {
    let query = &mut wish.query;
    match name {
        "state" => {
            let wanted = "must be pending, firing or resolved, or several with commas";
            query.states = words(value, AlertState::from_word, wanted)?;
        }
        "severity" => {
            let wanted = "must be info, warning or critical, or several with commas";
            let severities = words(value, Severity::parse, wanted)?.into_iter();
            let names = severities.map(|severity| severity.as_str().to_owned());
            query.severities = names.collect();
        }
        "rule" => query.rule = Some(parse_id(value)?),
        "ip" => wish.host = Some(parse_host(value)?),
        "after" => query.after = Some(parse_place(value)?),
        "limit" => query.limit = parameters::limit(value, MAX_LIMIT)?,
        _ => return Err(PARAMETERS.to_owned()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_makes_no_sense_is_named() {
        for query in [
            "state=",
            "state=firing,",
            "state=open",
            "severity=bad",
            "rule=",
            "rule=a%20b",
            "ip=1.2.3",
            "after=7",
            "after=.alr-1",
            "after=7.",
            "after=-7.alr-1",
            "after=99999999999999999999.alr-1",
            "limit=0",
            "limit=1001",
            "page=1",
        ] {
            let name = query.split('=').next().unwrap();
            let errors = parse(query).err().unwrap();
            assert_eq!(
                (errors.len(), errors[0].field.as_str()),
                (1, name),
                "{query}"
            );
        }
    }

    #[test]
    fn parameters_are_understood() {
        let all = "state=firing,pending&severity=critical&rule=rul-1&ip=srv-7&limit=7\
                   &after=1700000000000.alr-00ff";
        let wish = parse(all).ok().unwrap();
        assert_eq!(wish.query.states, [AlertState::Firing, AlertState::Pending]);
        assert_eq!(wish.query.severities, ["critical"]);
        assert_eq!(wish.host, Some(HostName::ServerId("srv-7".to_owned())));
        let after = wish.query.after.unwrap();
        assert_eq!(show_place(&after), "1700000000000.alr-00ff");
    }
}
