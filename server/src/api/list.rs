//! How a list goes to a client: 304 if the client has it already, else compressed if it
//! may be.

use crate::fleet::view::View;
use crate::http::{Body, Reply, Request, Response, negotiation};

/// Answers with the list.
pub(super) fn answer(request: &Request, view: &View) -> Reply {
    let mut headers = vec![
        ("Content-Type", "application/json".to_owned()),
        // `no-cache` lets a browser keep the list but ask each time, which costs a 304.
        ("Cache-Control", "private, no-cache".to_owned()),
        ("Vary", "Accept-Encoding, Authorization".to_owned()),
        ("ETag", view.etag.clone()),
    ];
    if view.stale {
        let warning =
            "110 - \"the database is away: this is the fleet as it was last known\"";
        headers.push(("X-Fleetbeat-Stale", "true".to_owned()));
        headers.push(("Warning", warning.to_owned()));
    }

    let gzip = Body::Shared(view.gzip.clone());
    let respond = |status, headers, body| Response {
        status,
        headers,
        body,
    };
    Reply::Now(if negotiation::has_current(request, &view.etag) {
        respond(304, headers, gzip)
    } else if negotiation::takes_gzip(request) {
        respond(200, headers, gzip).with_header("Content-Encoding", "gzip")
    } else {
        respond(200, headers, Body::Owned(view.json()))
    })
}
