//! `POST /heartbeat` and `POST /heartbeats`: what agents send.

use std::sync::LazyLock;

use fleetbeat_protocol::{
    BatchAnswer, FieldError, Heartbeat, HeartbeatAnswer, MAX_BATCH, MAX_BATCH_BYTES,
    MAX_HEARTBEAT_BYTES, RejectedHeartbeat, Status, Timestamp,
};
use serde_json::value::RawValue;

use super::{Answer, body};
use crate::auth::Agent;
use crate::http::Failure;
use crate::http::{Call, Reply, Response};
use crate::serve::App;
use crate::store::{Beat, Supersedes};

/// Errors told for each rejected element, so that the answer stays small whatever was
/// sent.
const MAX_REJECTED_ERRORS: usize = 8;

static OK: LazyLock<Response> = LazyLock::new(|| {
    Response::json(
        200,
        &HeartbeatAnswer {
            status: "ok".to_owned(),
        },
    )
});

/// One heartbeat, which counts from now.
pub(super) fn one(app: &App, _: &Agent, call: &mut Call) -> Answer {
    let body = call.body(MAX_HEARTBEAT_BYTES)?;
    let heartbeat = Heartbeat::check(&body::parse(&body)?).map_err(Failure::invalid)?;
    let ip = heartbeat
        .ip
        .or(call.peer().ip)
        .ok_or_else(|| Failure::invalid(vec![no_address()]))?;
    let beat = Beat {
        ip,
        heartbeat,
        at: app.now(),
        status: Status::Active,
        supersedes: Supersedes::Always,
    };
    let (ingest, bytes) = (app.ingest.clone(), body.len());
    Ok(Reply::Later(Box::new(move |exchange| {
        ingest.push(vec![beat], bytes, exchange, OK.clone())
    })))
}

/// What an agent kept while the server was away: each counts from when it was collected.
pub(super) fn many(app: &App, _: &Agent, call: &mut Call) -> Answer {
    let body = call.body(MAX_BATCH_BYTES)?;
    let elements = elements(&body)?;
    if elements.len() > MAX_BATCH {
        return Err(Failure::too_many_elements(MAX_BATCH));
    }
    let now = app.now();
    let mut beats = Vec::with_capacity(elements.len());
    let mut rejected = Vec::new();
    for (index, element) in elements.into_iter().enumerate() {
        match spooled(app, call, element.get(), now) {
            Ok(beat) => beats.push(beat),
            Err(mut errors) => {
                errors.truncate(MAX_REJECTED_ERRORS);
                rejected.push(RejectedHeartbeat { index, errors });
            }
        }
    }
    let answer = Response::json(
        200,
        &BatchAnswer {
            status: "ok".to_owned(),
            accepted: beats.len(),
            rejected,
        },
    );
    if beats.is_empty() {
        return Ok(Reply::Now(answer));
    }
    let (ingest, bytes) = (app.ingest.clone(), body.len());
    Ok(Reply::Later(Box::new(move |exchange| {
        ingest.push(beats, bytes, exchange, answer)
    })))
}

/// The array's elements, each still to be parsed: one that breaks a rule must not hold up
/// the rest.
fn elements(body: &[u8]) -> Result<Vec<&RawValue>, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            Failure::invalid(vec![FieldError::new("", "must be an array of heartbeats")])
        } else {
            Failure::bad_request(format!("the body is not JSON: {error}"))
        }
    })
}

fn spooled(
    app: &App,
    call: &Call,
    element: &str,
    now: Timestamp,
) -> Result<Beat, Vec<FieldError>> {
    let json = body::parse(element.as_bytes()).map_err(Failure::into_errors)?;
    let heartbeat = Heartbeat::check(&json)?;
    let ip = heartbeat.ip.or(call.peer().ip);
    let (Some(collected_at), Some(ip)) = (heartbeat.collected_at, ip) else {
        let missing = FieldError::new("collected_at", "is missing");
        return Err(if ip.is_none() {
            vec![no_address()]
        } else {
            vec![missing]
        });
    };
    // A host whose clock is ahead must not be alive in the future.
    let (at, supersedes) = if collected_at > now {
        (now, Supersedes::IfUnknown)
    } else {
        (collected_at, Supersedes::IfNewer)
    };
    let silent_for = now.duration_since(at).unsigned_abs();
    let status = if silent_for > app.config.sweep.down_after {
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

fn no_address() -> FieldError {
    FieldError::new(
        "ip",
        "is missing, and the connection does not tell the host's address",
    )
}
