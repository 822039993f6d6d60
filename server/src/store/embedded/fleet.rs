//! The whole fleet as lists want it: read once, then kept up to date by reading the
//! records that have changed.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fleetbeat_daemon::lock::lock;

use super::changed::Unread;
use super::connection::Connections;
use super::servers::{self, Numbered};
use crate::store::error::StoreError;
use crate::store::server::Fleet;

/// Everything is read again after this, because what another program changes in the file
/// is not told.
const READ_WHOLE_EVERY: Duration = Duration::from_secs(60);

/// Reads the fleet.
#[derive(Default)]
pub(super) struct FleetReader(Mutex<Inner>);

/// What the reader remembers.
#[derive(Default)]
struct Inner {
    /// Counts the fleets that were handed out.
    revision: u64,
    /// `None` before the first fleet, and after an error.
    last: Option<LastFleet>,
}

/// What is remembered of the fleet that was handed out last.
struct LastFleet {
    /// The hosts' numbers, in the fleet's order.
    hosts: Vec<i64>,
    /// When every record was read.
    read_whole: Instant,
}

impl FleetReader {
    /// The fleet as it is now; `known`, if nothing has changed since.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(super) fn read(
        &self,
        connections: &Connections,
        known: Option<&Arc<Fleet>>,
    ) -> Result<Arc<Fleet>, StoreError> {
        let inner = &mut *lock(&self.0);
        // Asked before the records are read: what changes in between is read by the next
        // list, too, and is not missed.
        let unread = connections.changed.take();
        let known = known.filter(|known| known.revision == inner.revision);
        let last = inner.last.take();
        let last = last.filter(|last| last.read_whole.elapsed() < READ_WHOLE_EVERY);

        let (records, read_whole) = match (known, last, unread) {
            (Some(known), Some(last), Unread::Hosts(changed)) => {
                if changed.is_empty() {
                    inner.last = Some(last);
                    return Ok(known.clone());
                }
                let read = |connection: &_| servers::of_hosts(connection, &changed);
                let read = connections.read(read)?;
                let hosts = last.hosts.into_iter();
                let before = hosts.zip(known.servers.iter().cloned());
                (replace(before, &changed, read), last.read_whole)
            }
            _ => (connections.read(servers::all)?, Instant::now()),
        };

        let (hosts, servers) = records.into_iter().unzip();
        inner.revision += 1;
        inner.last = Some(LastFleet { hosts, read_whole });
        Ok(Arc::new(Fleet {
            servers,
            revision: inner.revision,
            stale: false,
        }))
    }
}

/// The records with those of the `changed` hosts as they were `read`: without a host that
/// was not found. Both are sorted by address, and so is the result.
fn replace(
    before: impl Iterator<Item = Numbered>,
    changed: &HashSet<i64>,
    read: Vec<Numbered>,
) -> Vec<Numbered> {
    let mut unchanged = before
        .filter(|(host, _)| !changed.contains(host))
        .peekable();
    let mut records =
        Vec::with_capacity(unchanged.size_hint().1.unwrap_or(0) + read.len());
    for (host, server) in read {
        while let Some(other) = unchanged.next_if(|(_, other)| other.ip < server.ip) {
            records.push(other);
        }
        records.push((host, server));
    }
    records.extend(unchanged);
    records
}

#[cfg(test)]
mod tests {
    use fleetbeat_protocol::{AgentId, FlagsPatch, TagsPatch, Timestamp};
    use jiff::SignedDuration;
    use rusqlite::Connection;

    use super::super::Embedded;
    use super::*;
    use crate::store::conformance::{act, beat, sweep};
    use crate::store::flags::HostPatch;
    use crate::store::server::{HostName, ServerStore};

    /// Does something that changes records, by the next numbers of `random`.
    fn change_something(store: &Embedded, random: &mut fastrand::Rng, now: Timestamp) {
        let ip = format!("10.0.0.{}", random.u8(1..8));
        let host = HostName::Ip(ip.parse().unwrap());
        match random.u8(0..10) {
            0 => {
                let paid = Some(random.bool());
                let patch = FlagsPatch {
                    paid,
                    ..FlagsPatch::default()
                };
                store
                    .set(&host, HostPatch::Flags(patch), None, &act())
                    .unwrap();
            }
            1 => {
                let value = random.bool().then(|| "x".to_owned());
                let patch = TagsPatch([("env".to_owned(), value)].into());
                store
                    .set(&host, HostPatch::Tags(&patch), None, &act())
                    .unwrap();
            }
            2 => drop(store.remove_server(&host, &act()).unwrap()),
            3 => drop(sweep(store, now, random.u64(0..90))),
            _ => {
                let mut beat = beat(&ip, now);
                let agent = random.u128(0..6);
                beat.heartbeat.agent_id = (agent > 0).then(|| AgentId::from_bits(agent));
                beat.heartbeat.boot_id = Some(random.u8(0..3).to_string());
                beat.heartbeat.load.cpu = Some(f64::from(random.u8(0..100)));
                store.record(&[beat]).unwrap();
            }
        }
    }

    #[test]
    fn a_fleet_that_is_followed_is_the_fleet_as_it_is_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        let mut random = fastrand::Rng::with_seed(14);
        let mut now = Timestamp::from_second(1_700_000_000).unwrap();
        let mut fleet = store.fleet(None).unwrap();
        let mut reads = 0;

        for step in 0..2000 {
            now += SignedDuration::from_secs(random.i64(0..200));
            change_something(&store, &mut random, now);
            // Now and then a list is asked for only after several changes.
            if random.u8(0..3) == 0 {
                continue;
            }
            let next = store.fleet(Some(&fleet)).unwrap();
            reads += usize::from(!Arc::ptr_eq(&next, &fleet));
            fleet = next;

            let whole = store.connections.read(servers::all).unwrap();
            let whole = whole.iter().map(|(_, server)| server);
            assert!(fleet.servers.iter().eq(whole), "step {step}");
        }
        assert!(reads > 300, "{reads}");
    }

    #[test]
    fn a_host_that_says_nothing_new_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        store
            .record(&[beat("10.0.0.1", now), beat("10.0.0.2", now)])
            .unwrap();

        let first = store.fleet(None).unwrap();
        assert!(Arc::ptr_eq(&first, &store.fleet(Some(&first)).unwrap()));
        store.record(&[beat("10.0.0.2", now)]).unwrap();
        let second = store.fleet(Some(&first)).unwrap();
        assert_ne!(first.revision, second.revision);
        assert!(Arc::ptr_eq(&first.servers[0], &second.servers[0]));
        assert!(!Arc::ptr_eq(&first.servers[1], &second.servers[1]));

        // One that is not the last begins anew.
        let third = store.fleet(Some(&first)).unwrap();
        assert_eq!(third.servers, second.servers);
        assert!(!Arc::ptr_eq(&third.servers[0], &second.servers[0]));
    }

    #[test]
    fn after_an_error_everything_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        store.record(&[beat("10.0.0.1", now)]).unwrap();
        let first = store.fleet(None).unwrap();
        store.record(&[beat("10.0.0.2", now)]).unwrap();

        let rename = |from: &str, to: &str| {
            let statement = format!("ALTER TABLE {from} RENAME TO {to}");
            store
                .connections
                .writer()
                .execute_batch(&statement)
                .unwrap();
        };
        rename("flags", "elsewhere");
        store.fleet(Some(&first)).unwrap_err();
        rename("elsewhere", "flags");
        let second = store.fleet(Some(&first)).unwrap();
        assert_eq!(second.servers.len(), 2);
    }

    #[test]
    fn what_another_program_has_changed_is_read_with_everything_after_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        store.record(&[beat("10.0.0.1", now)]).unwrap();
        let first = store.fleet(None).unwrap();
        let other = Connection::open(folder.path().join("fleetbeat.db")).unwrap();
        other
            .execute("UPDATE servers SET city = 'Bonn'", [])
            .unwrap();
        assert!(Arc::ptr_eq(&first, &store.fleet(Some(&first)).unwrap()));

        let mut reader = lock(&store.fleet.0);
        let last = reader.last.as_mut().unwrap();
        last.read_whole = last.read_whole.checked_sub(READ_WHOLE_EVERY).unwrap();
        drop(reader);
        let second = store.fleet(Some(&first)).unwrap();
        assert_eq!(second.servers[0].city, "Bonn");
    }
}
