//! `GET /healthz` and `GET /readyz`: for watchdogs and load balancers.

use std::time::Instant;

use serde::Serialize;

use super::state::ApiState;
use crate::http::{Failure, Reply, Request, Response};
use crate::ingest::Failed;
use crate::store::{CacheState, StoreError};

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
    /// Only while some are closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<Channels>,
}

/// The channels of alerts.
#[derive(Serialize)]
struct Channels {
    /// How many send nothing, because nobody can open their secrets.
    closed: usize,
}

/// A database that the server depends on.
#[derive(Serialize)]
struct Dependency {
    backend: &'static str,
    status: &'static str,
}

/// 200 as long as requests are answered at all.
pub(super) fn alive(_: &ApiState, _: &mut Request) -> Result<Reply, Failure> {
    Ok(Reply::Now(Response::json(200, &Alive { status: "ok" })))
}

/// 200, or 503 while a database is away or full that answers depend on. A server with
/// closed channels is degraded and ready: no other instance would open them.
pub(super) fn ready(api: &ApiState, _: &mut Request) -> Result<Reply, Failure> {
    let storage = check_storage(api);
    let reason = storage
        .as_ref()
        .err()
        .map(|trouble| trouble.reason.as_str());
    api.readiness.tell(reason);

    let word = storage.as_ref().err().map_or("ok", |trouble| trouble.word);
    let closed = api.alerting.closed_channels().len();
    let ready = Ready {
        status: match closed {
            1.. if storage.is_ok() => "degraded",
            _ => word,
        },
        storage: Dependency {
            backend: api.backend,
            status: word,
        },
        cache: api.store.cache_state().map(|state| Dependency {
            backend: "redis",
            status: match state {
                CacheState::Up => "ok",
                CacheState::Away => "unreachable",
                CacheState::RefusesWrites => "read-only",
            },
        }),
        channels: (closed > 0).then_some(Channels { closed }),
    };
    let status = if storage.is_ok() { 200 } else { 503 };
    Ok(Reply::Now(Response::json(status, &ready)))
}

/// Why the server is not ready.
struct NotReady {
    /// For the client.
    word: &'static str,
    /// For the log.
    reason: String,
}

/// Whether the store can be read; and where the last commit of heartbeats has failed,
/// whether it can be written again. Otherwise the commits themselves tell that, and no
/// question of a load balancer costs a write.
fn check_storage(api: &ApiState) -> Result<(), NotReady> {
    let failed = |word| {
        move |error: StoreError| NotReady {
            word,
            reason: error.to_string(),
        }
    };
    api.store.ping().map_err(failed("unreachable"))?;

    let Some(Failed { at, reason }) = api.ingest.failure() else {
        return Ok(());
    };
    if !api.readiness.may_try(at, Instant::now()) {
        let word = "not writable";
        return Err(NotReady { word, reason });
    }
    api.store.try_write().map_err(failed("not writable"))?;
    api.ingest.recovered();
    Ok(())
}
