//! `POST /heartbeat` and `POST /heartbeats`: what agents send.

use std::net::IpAddr;
use std::sync::LazyLock;

use fleetbeat_daemon::clock;
use fleetbeat_protocol::{
    BatchAnswer, FieldError, Heartbeat, HeartbeatAnswer, MAX_BATCH, MAX_BATCH_BYTES,
    MAX_HEARTBEAT_BYTES, RejectedHeartbeat, Status, Timestamp,
};
use serde_json::value::RawValue;

use super::body;
use super::state::ApiState;
use crate::auth::Agent;
use crate::http::{Failure, Reply, Request, Response};
use crate::store::{Beat, Supersedes};

/// Errors told for each rejected element, so that the response stays small whatever was
/// sent.
const MAX_REJECTED_ERRORS: usize = 8;

/// The response to a heartbeat that is stored.
static STORED: LazyLock<Response> = LazyLock::new(|| {
    let status = "ok".to_owned();
    Response::json(200, &HeartbeatAnswer { status })
});

/// One heartbeat, which counts from now.
pub(super) fn one(
    api: &ApiState,
    agent: &Agent,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let body = body::read(request, MAX_HEARTBEAT_BYTES)?;
    let heartbeat =
        Heartbeat::from_json(&body::parse(&body)?).map_err(Failure::invalid)?;
    let ip = find_address(agent, &heartbeat, request)
        .ok_or_else(|| Failure::invalid(vec![no_address()]))?;
    log::debug!("heartbeat of {ip} with the key {}", agent.key());

    let beat = Beat {
        ip,
        heartbeat,
        at: clock::now(),
        status: Status::Active,
        supersedes: Supersedes::Always,
    };
    Ok(store(api, vec![beat], body.len(), STORED.clone()))
}

/// What an agent kept while the server was away: each heartbeat counts from when it was
/// collected.
pub(super) fn many(
    api: &ApiState,
    agent: &Agent,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let body = body::read(request, MAX_BATCH_BYTES)?;
    let elements = parse_elements(&body)?;
    if elements.len() > MAX_BATCH {
        return Err(Failure::too_many_elements(MAX_BATCH));
    }

    let now = clock::now();
    let mut beats = Vec::with_capacity(elements.len());
    let mut rejected = Vec::new();
    for (index, element) in elements.into_iter().enumerate() {
        match parse_spooled(api, agent, request, element.get(), now) {
            Ok(beat) => beats.push(beat),
            Err(mut errors) => {
                errors.truncate(MAX_REJECTED_ERRORS);
                rejected.push(RejectedHeartbeat { index, errors });
            }
        }
    }
    let (accepted, key) = (beats.len(), agent.key());
    log::debug!("{accepted} spooled heartbeats with the key {key}");

    let answer = BatchAnswer {
        status: "ok".to_owned(),
        accepted,
        rejected,
    };
    let response = Response::json(200, &answer);
    if beats.is_empty() {
        return Ok(Reply::Now(response));
    }
    Ok(store(api, beats, body.len(), response))
}

/// Answers with `response` when the heartbeats, which came as `bytes` of JSON, are stored.
fn store(api: &ApiState, beats: Vec<Beat>, bytes: usize, response: Response) -> Reply {
    let ingest = api.ingest.clone();
    Reply::Later(Box::new(move |exchange| {
        ingest.push(beats, bytes, exchange, response);
    }))
}

/// The array's elements, each still to be parsed: an element that breaks a rule must not
/// hold up the rest.
fn parse_elements(body: &[u8]) -> Result<Vec<&RawValue>, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            Failure::invalid(vec![FieldError::new("", "must be an array of heartbeats")])
        } else {
            body::not_json(&error)
        }
    })
}

/// A spooled heartbeat, with what `now` makes of it.
fn parse_spooled(
    api: &ApiState,
    agent: &Agent,
    request: &Request,
    element: &str,
    now: Timestamp,
) -> Result<Beat, Vec<FieldError>> {
    let json = body::parse(element.as_bytes()).map_err(Failure::into_errors)?;
    let heartbeat = Heartbeat::from_json(&json)?;
    let ip =
        find_address(agent, &heartbeat, request).ok_or_else(|| vec![no_address()])?;
    let collected_at = heartbeat
        .collected_at
        .ok_or_else(|| vec![FieldError::new("collected_at", "is missing")])?;

    // A host whose clock is ahead must not be alive in the future.
    let (at, supersedes) = if collected_at > now {
        (now, Supersedes::IfUnknown)
    } else {
        (collected_at, Supersedes::IfNewer)
    };
    let silent_for = now.duration_since(at).unsigned_abs();
    let status = if silent_for > api.down_after {
        Status::Down
    } else {
        Status::Active
    };

    Ok(Beat {
        ip,
        heartbeat,
        at,
        status,
        supersedes,
    })
}

/// Which host the heartbeat is about: the host that the key is bound to, or the host that
/// the heartbeat names, or the host that it comes from.
fn find_address(
    agent: &Agent,
    heartbeat: &Heartbeat,
    request: &Request,
) -> Option<IpAddr> {
    agent
        .host()
        .or(heartbeat.ip)
        .or_else(|| request.peer().ip())
}

fn no_address() -> FieldError {
    FieldError::new(
        "ip",
        "is missing, and the connection does not tell the host's address",
    )
}
