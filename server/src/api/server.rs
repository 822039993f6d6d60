//! `/server/{ip}`: one host.

use std::net::IpAddr;

use fleetbeat_protocol::{FlagsPatch, parse_ip};

use super::{Answer, body};
use crate::auth::{Admin, Reader};
use crate::http::Failure;
use crate::http::{Call, Reply, Response};
use crate::serve::App;

const MAX_BODY_BYTES: usize = 16 * 1024;

/// `GET /server/{ip}`.
pub(super) fn show(app: &App, _: &Reader, call: &Call) -> Answer {
    let server = app.store.server(ip(call)?)?.ok_or_else(unknown)?;
    Ok(Reply::Now(Response::json(200, &server)))
}

/// `PATCH /server/{ip}/config`: sets flags and gives the host as it is then.
pub(super) fn set_flags(app: &App, _: &Admin, call: &mut Call) -> Answer {
    let ip = ip(call)?;
    let body = call.body(MAX_BODY_BYTES)?;
    let patch = FlagsPatch::check(&body::parse(&body)?).map_err(Failure::invalid)?;
    let server = app.store.set_flags(ip, patch)?.ok_or_else(unknown)?;
    Ok(Reply::Now(Response::json(200, &server)))
}

fn ip(call: &Call) -> Result<IpAddr, Failure> {
    call.path()
        .get(1)
        .and_then(|ip| parse_ip(ip))
        .ok_or_else(unknown)
}

fn unknown() -> Failure {
    Failure::not_found("there is no server with this address")
}
