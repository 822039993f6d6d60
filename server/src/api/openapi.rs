//! `GET /openapi.json`: the API described for programs.

use super::state::ApiState;
use crate::http::{Body, Failure, Reply, Request, Response};

pub(super) static DOCUMENT: &str = include_str!("openapi.json");

/// The description as it is in the repository.
pub(super) fn document(_: &ApiState, _: &mut Request) -> Result<Reply, Failure> {
    Ok(Reply::Now(Response {
        status: 200,
        headers: vec![
            ("Content-Type", "application/json".to_owned()),
            ("Cache-Control", "no-cache".to_owned()),
        ],
        body: Body::Static(DOCUMENT.as_bytes()),
    }))
}
