//! `GET /healthz` and `GET /readyz`: for watchdogs and load balancers.

use serde::Serialize;

use super::Answer;
use crate::app::App;
use crate::http::{Reply, Response};

#[derive(Serialize)]
struct Alive {
    status: &'static str,
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    storage: Dependency,
}

#[derive(Serialize)]
struct Dependency {
    backend: &'static str,
    status: &'static str,
}

/// 200 as long as requests are answered at all.
pub(super) fn alive() -> Answer {
    Ok(Reply::Now(Response::json(200, &Alive { status: "ok" })))
}

/// 200, or 503 while something that answers depend on is away.
pub(super) fn ready(app: &App) -> Answer {
    let storage = app.store.ping();
    if let Err(error) = &storage {
        log::warn!("not ready: {error}");
    }
    let word = |ok| if ok { "ok" } else { "unreachable" };
    let ready = storage.is_ok();
    let storage = Dependency { backend: app.config.storage.name(), status: word(ready) };
    Ok(Reply::Now(Response::json(if ready { 200 } else { 503 }, &Ready { status: word(ready), storage })))
}
