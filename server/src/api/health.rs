//! `GET /healthz` and `GET /readyz`: for watchdogs and load balancers.

use serde::Serialize;

use super::Answer;
use crate::http::{Reply, Response};
use crate::serve::App;

#[derive(Serialize)]
struct Alive {
    status: &'static str,
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    storage: Dependency,
    /// Only readers' time depends on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<Dependency>,
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
    let storage = Dependency {
        backend: app.config.storage.name(),
        status: word(ready),
    };
    let cache = app.store.cache_is_up().map(|up| Dependency {
        backend: "redis",
        status: word(up),
    });
    let status = if ready { 200 } else { 503 };
    Ok(Reply::Now(Response::json(
        status,
        &Ready {
            status: word(ready),
            storage,
            cache,
        },
    )))
}
