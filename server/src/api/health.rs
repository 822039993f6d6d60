//! `GET /healthz` and `GET /readyz`: for watchdogs and load balancers.

use serde::Serialize;

use super::state::ApiState;
use crate::http::{Failure, Reply, Response};

/// The body of `/healthz`.
#[derive(Serialize)]
struct Alive {
    status: &'static str,
}

/// The body of `/readyz`.
#[derive(Serialize)]
struct Ready {
    status: &'static str,
    storage: Dependency,
    /// Without it lists take longer, so it does not count for `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<Dependency>,
}

/// A database that the server depends on.
#[derive(Serialize)]
struct Dependency {
    backend: &'static str,
    status: &'static str,
}

/// 200 as long as requests are answered at all.
pub(super) fn alive() -> Result<Reply, Failure> {
    Ok(Reply::Now(Response::json(200, &Alive { status: "ok" })))
}

/// 200, or 503 while a database is away that answers depend on.
pub(super) fn ready(api: &ApiState) -> Result<Reply, Failure> {
    let word = |is_up| if is_up { "ok" } else { "unreachable" };

    let storage = api.store.ping();
    if let Err(error) = &storage {
        log::warn!("not ready: {error}");
    }
    let is_ready = storage.is_ok();
    let cache = api.store.cache_is_up().map(|is_up| Dependency {
        backend: "redis",
        status: word(is_up),
    });

    let ready = Ready {
        status: word(is_ready),
        storage: Dependency {
            backend: api.backend,
            status: word(is_ready),
        },
        cache,
    };
    let status = if is_ready { 200 } else { 503 };
    Ok(Reply::Now(Response::json(status, &ready)))
}
