//! What events tell of hosts, whatever their lives were: each begins once, goes down and
//! comes up in turns, moves on from where it was, and ends once.

use std::collections::BTreeMap;

use fleetbeat_protocol::Status;

use super::events::{all, query};
use crate::store::{Event, EventKind, HostName, Store};

/// Checks the events of all hosts, some of which are there no more.
pub(super) fn check(store: &dyn Store) {
    let mut stories: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for event in all(store, &query(None, 1000)) {
        let host = event.host.as_ref().and_then(|host| host.server_id.clone());
        if let Some(server_id) = host {
            stories.entry(server_id).or_default().push(event);
        }
    }
    assert!(!stories.is_empty());

    let fleet = store.fleet(None).unwrap();
    for server in &fleet.servers {
        assert!(stories.contains_key(&server.server_id), "{server:?}");
    }
    for (server_id, events) in &stories {
        check_life(store, server_id, events);
        check_moves(store, server_id, events);
    }
}

fn check_life(store: &dyn Store, server_id: &str, events: &[Event]) {
    use EventKind::{HostDeleted, HostDown, HostNew, HostUp};
    let kinds = events.iter().map(|event| event.event.kind);
    let life: Vec<EventKind> = kinds
        .filter(|kind| [HostNew, HostDown, HostUp, HostDeleted].contains(kind))
        .collect();
    assert_eq!(life.first(), Some(&HostNew), "{server_id}: {life:?}");
    for pair in life.windows(2) {
        let follows = match pair[0] {
            HostNew | HostUp => [HostDown, HostDeleted].contains(&pair[1]),
            HostDown => [HostUp, HostDeleted].contains(&pair[1]),
            _ => false,
        };
        assert!(follows, "{server_id}: {life:?}");
    }

    let server = store
        .server(&HostName::ServerId(server_id.to_owned()))
        .unwrap();
    let expected = match server.map(|server| server.status) {
        None => &[HostDeleted][..],
        Some(Status::Active) => &[HostNew, HostUp],
        Some(Status::Down) => &[HostDown],
    };
    assert!(
        expected.contains(life.last().unwrap()),
        "{server_id}: {life:?}"
    );
}

fn check_moves(store: &dyn Store, server_id: &str, events: &[Event]) {
    let mut address = None;
    for event in events {
        if event.event.kind != EventKind::HostMoved {
            continue;
        }
        let end = |name: &str| event.event.facts[name].as_str().map(str::to_owned);
        let (from, to) = (end("from"), end("to"));
        // One that has changed places with another may have had none for a moment.
        if let (Some(from), Some(address)) = (&from, &address) {
            assert_eq!(from, address, "{server_id}: {events:#?}");
        }
        address = to;
    }
    let server = store
        .server(&HostName::ServerId(server_id.to_owned()))
        .unwrap();
    if let (Some(server), Some(address)) = (server, address) {
        assert_eq!(server.ip.to_string(), address, "{events:#?}");
    }
}
