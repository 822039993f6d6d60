//! `/deliveries`: messages on their way, and those that were given up.

use fleetbeat_daemon::clock;
use fleetbeat_protocol::{FieldError, Timestamp};
use serde::Serialize;

use super::kept::id_of;
use super::list;
use super::paging::{DEFAULT_LIMIT, MAX_LIMIT, parse_id, parse_place, show_place, words};
use super::state::ApiState;
use crate::auth::Caller;
use crate::fleet::view::View;
use crate::http::{Failure, Reply, Request, Response};
use crate::parameters;
use crate::store::{
    Decision, DeliveryQuery, DeliveryRow, DeliveryState, EventKind, facts,
};

/// The parameters.
const PARAMETERS: &str = "is not a parameter: use state, channel, alert, after or limit";

/// A message on the wire: what has become of it, not what it says.
#[derive(Serialize)]
pub(super) struct ShownDelivery<'a> {
    id: &'a str,
    channel: &'a str,
    alerts: &'a [String],
    folds: &'a [String],
    state: &'static str,
    created_at: Timestamp,
    asked_at: Option<Timestamp>,
    /// Not to be tried before; `None` for what is not to be sent.
    next_at: Option<Timestamp>,
    settled_at: Option<Timestamp>,
    tries: u32,
    error: Option<&'a str>,
}

/// The body of a list.
#[derive(Serialize)]
struct Answer<'a> {
    deliveries: Vec<ShownDelivery<'a>>,
    next: Option<String>,
}

impl ShownDelivery<'_> {
    /// What is shown of it.
    pub(super) fn of(delivery: &DeliveryRow) -> ShownDelivery<'_> {
        let waits = delivery.state == DeliveryState::Waiting;
        ShownDelivery {
            id: &delivery.id,
            channel: &delivery.channel,
            alerts: &delivery.alerts,
            folds: &delivery.folds,
            state: delivery.state.as_str(),
            created_at: delivery.created_at,
            asked_at: delivery.asked_at,
            next_at: waits.then_some(delivery.next_at),
            settled_at: delivery.settled_at,
            tries: delivery.tries,
            error: delivery.error.as_deref(),
        }
    }
}

/// `GET`: messages, the newest first.
pub(super) fn list(
    api: &ApiState,
    _: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let query = parse(request.query()).map_err(Failure::invalid)?;
    let page = api.alerts.deliveries(&query)?;
    let answer = Answer {
        deliveries: page.rows.iter().map(ShownDelivery::of).collect(),
        next: page.next.as_ref().map(show_place),
    };
    Ok(list::answer(request, &View::new(&answer, false)))
}

/// `POST /deliveries/{id}/retry`: lets a message be sent that was given up.
pub(super) fn retry(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let at = clock::now();
    let retry = (Decision::Retry { at }, EventKind::DeliveryRetried);
    let delivery = decide(api, caller, request, retry)?;
    let shown = ShownDelivery::of(&delivery);
    Ok(Reply::Now(Response::json(200, &shown)))
}

/// `DELETE /deliveries/{id}`: dismisses a message that was given up.
pub(super) fn dismiss(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let dismiss = (Decision::Dismiss, EventKind::DeliveryDismissed);
    decide(api, caller, request, dismiss)?;
    Ok(Reply::Now(Response::no_content()))
}

fn decide(
    api: &ApiState,
    caller: &Caller,
    request: &Request,
    (decision, kind): (Decision, EventKind),
) -> Result<DeliveryRow, Failure> {
    let unknown = || Failure::not_found("there is no delivery with this id");
    let id = id_of(request);
    let found = api.alerts.delivery(&id)?.ok_or_else(unknown)?;
    let act = caller.act(request.peer().ip(), clock::now());
    let members = [
        ("delivery", id.as_str().into()),
        ("channel", found.channel.as_str().into()),
    ];
    let event = act.event(kind, facts(members));
    let decided = api.alerts.decide_delivery(&id, decision, &event)?;
    let decided = decided.ok_or_else(unknown)?;
    log::info!("{act}: {} {id}", kind.as_str());
    Ok(decided)
}

/// The query behind the `?`.
///
/// # Errors
/// Every parameter that is unknown, given twice, or makes no sense.
fn parse(query: &str) -> Result<DeliveryQuery, Vec<FieldError>> {
    let mut parsed = DeliveryQuery {
        limit: DEFAULT_LIMIT,
        ..DeliveryQuery::default()
    };
    parameters::parse(query, |name, value| set(&mut parsed, name, value))?;
    Ok(parsed)
}

fn set(query: &mut DeliveryQuery, name: &str, value: &str) -> Result<(), String> {
    match name {
        "state" => {
            let wanted = "must be waiting, sending, sent, dead, asked, dismissed or \
                          folded, or several with commas";
            query.states = words(value, DeliveryState::from_word, wanted)?;
        }
        "channel" => query.channel = Some(parse_id(value)?),
        "alert" => query.alert = Some(parse_id(value)?),
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
            "state=lost",
            "channel=",
            "alert=%20",
            "after=x",
            "ip=1.2.3.4",
        ] {
            let name = query.split('=').next().unwrap();
            let errors = parse(query).unwrap_err();
            assert_eq!(
                (errors.len(), errors[0].field.as_str()),
                (1, name),
                "{query}"
            );
        }
        let parsed = parse("state=dead,asked&channel=chn-1&alert=alr-1").unwrap();
        assert_eq!(parsed.states, [DeliveryState::Dead, DeliveryState::Asked]);
    }
}
