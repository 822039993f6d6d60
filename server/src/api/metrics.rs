//! `GET /metrics`: what the server counts of its own work, for Prometheus.

use fleetbeat_protocol::Status;

use super::state::ApiState;
use crate::auth::Watcher;
use crate::fleet::shown::Shown;
use crate::http::{Body, Failure, Reply, Request, Response, negotiation};
use crate::metrics::{CacheReading, Readings, ServerCount, TEXT_FORMAT};
use crate::store::CacheState;

/// All metrics. What cannot be had, such as the hosts while the store is away, is left
/// out: the answer is 200 as long as anybody asks.
pub(super) fn show(
    api: &ApiState,
    watcher: &Watcher,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let text = api.metrics.render(&read(api, watcher));
    let response = Response {
        status: 200,
        headers: vec![
            ("Content-Type", TEXT_FORMAT.to_owned()),
            ("Cache-Control", "no-store".to_owned()),
        ],
        body: Body::Owned(text.into_bytes()),
    };
    Ok(Reply::Now(negotiation::compress(response, request)))
}

fn read(api: &ApiState, watcher: &Watcher) -> Readings {
    // First the fleet, because asking for the fleet renews the snapshot.
    let fleet = api.hosts.all(watcher);
    let servers = fleet.map(|fleet| count(&fleet.servers)).unwrap_or_default();
    let waiting = api.ingest.waiting();
    let cache = api.store.cache_state();

    Readings {
        servers,
        snapshot_age: api.hosts.age(),
        is_store_up: api.store.ping().is_ok(),
        cache: cache.map(|state| CacheReading {
            is_up: state == CacheState::Up,
            errors: api.store.cache_errors(),
        }),
        holds_lease: api.store.holds_lease(),
        waiting_heartbeats: waiting.heartbeats,
        waiting_bytes: waiting.bytes,
    }
}

/// The hosts by status and flag, also of the kinds of which there is none.
fn count(servers: &[Shown]) -> Vec<ServerCount> {
    let kinds = [Status::Active, Status::Down]
        .into_iter()
        .flat_map(|status| [true, false].map(|enabled| (status, enabled)));
    let mut counts: Vec<ServerCount> = kinds
        .map(|(status, enabled)| ServerCount {
            status,
            enabled,
            count: 0,
        })
        .collect();

    for server in servers {
        let is_kind = |kind: &&mut ServerCount| {
            kind.status == server.status && kind.enabled == server.flags.enabled
        };
        if let Some(kind) = counts.iter_mut().find(is_kind) {
            kind.count += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fleetbeat_protocol::{Server, Timestamp};

    use super::*;

    #[test]
    fn hosts_are_counted_by_status_and_flag() {
        let golden = include_str!("../../../protocol/golden/server.json");
        let golden: Server = serde_json::from_str(golden).unwrap();
        let server = |status, enabled| {
            let mut server = golden.clone();
            (server.status, server.flags.enabled) = (status, enabled);
            Shown::new(Arc::new(server), Timestamp::UNIX_EPOCH, None)
        };
        let counts = |servers: &[Shown]| -> Vec<_> {
            let counts = count(servers).into_iter();
            counts
                .map(|kind| (kind.status, kind.enabled, kind.count))
                .collect()
        };
        use Status::{Active, Down};
        assert_eq!(
            counts(&[
                server(Active, true),
                server(Down, true),
                server(Active, true),
                server(Down, false),
            ]),
            [
                (Active, true, 2),
                (Active, false, 0),
                (Down, true, 1),
                (Down, false, 1)
            ]
        );
        assert_eq!(counts(&[]).len(), 4);
    }
}
