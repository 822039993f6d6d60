//! `GET /servers`: the fleet.

use super::Answer;
use crate::auth::Reader;
use crate::fleet::query::Query;
use crate::http::Failure;
use crate::http::negotiation;
use crate::http::{Body, Call, Reply, Response};
use crate::serve::App;

/// A view of the newest snapshot: 304 if the client has it already, else compressed if it
/// may be.
pub(super) fn list(app: &App, _: &Reader, call: &Call) -> Answer {
    let query = Query::parse(call.query()).map_err(Failure::invalid)?;
    let view = app.snapshots.view(&query)?;
    // `no-cache` lets a browser keep the list but ask each time, which costs a 304.
    let mut headers = vec![
        ("Content-Type", "application/json".to_owned()),
        ("Cache-Control", "private, no-cache".to_owned()),
        ("Vary", "Accept-Encoding, Authorization".to_owned()),
        ("ETag", view.etag.clone()),
    ];
    if view.stale {
        headers.push(("X-Fleetbeat-Stale", "true".to_owned()));
        headers.push((
            "Warning",
            "110 - \"the database is away: this is the fleet as it was last known\""
                .to_owned(),
        ));
    }
    let gzip = Body::Shared(view.gzip.clone());
    if negotiation::has_current(call, &view.etag) {
        return Ok(Reply::Now(Response {
            status: 304,
            headers,
            body: gzip,
        }));
    }
    let response = if negotiation::takes_gzip(call) {
        Response {
            status: 200,
            headers,
            body: gzip,
        }
        .with_header("Content-Encoding", "gzip")
    } else {
        Response {
            status: 200,
            headers,
            body: Body::Owned(view.json()),
        }
    };
    Ok(Reply::Now(response))
}
