//! `GET /openapi.json`: the API described for programs.

use super::Answer;
use crate::http::{Body, Reply, Response};

static DOCUMENT: &str = include_str!("openapi.json");

pub(super) fn document() -> Answer {
    let headers = vec![
        ("Content-Type", "application/json".to_owned()),
        ("Cache-Control", "no-cache".to_owned()),
    ];
    Ok(Reply::Now(Response {
        status: 200,
        headers,
        body: Body::Static(DOCUMENT.as_bytes()),
    }))
}
