//! Which records have changed since the fleet was read, so that the next list reads those
//! alone: of 10,000 hosts that send heartbeats, some hundreds.
//!
//! SQLite itself tells of every row that a statement changes, so no code that changes a
//! record can forget to tell. What another process changes is not told.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use fleetbeat_daemon::lock::lock;
use rusqlite::Connection;

/// The tables whose rows make a record. The rows of both have the host's number.
const TABLES: [&str; 2] = ["servers", "flags"];
/// Of more changed records than this, nobody keeps the numbers: all are read.
const MAX_UNREAD: usize = 20_000;

/// The records that have changed and are not read yet.
#[derive(Clone, Default)]
pub(super) struct Changed(Arc<Mutex<Inner>>);

/// The hosts, before and behind their commit.
#[derive(Default)]
struct Inner {
    /// The hosts that the present transaction has changed, by number. A transaction that
    /// was rolled back leaves its hosts here, which are read once in vain.
    uncommitted: HashSet<i64>,
    committed: HashSet<i64>,
    /// There were more than [`MAX_UNREAD`].
    are_too_many: bool,
}

/// What is to be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// Every record.
    All,
    /// The records of these hosts, by number, some of which may be gone.
    Hosts(HashSet<i64>),
}

impl Changed {
    /// Listens to what this connection changes.
    pub(super) fn listen_to(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        let changed = self.clone();
        connection.update_hook(Some(move |_, _: &str, table: &str, host: i64| {
            if TABLES.contains(&table) {
                lock(&changed.0).uncommitted.insert(host);
            }
        }))
    }

    /// The transaction is on the disk, so that readers see what it has changed.
    pub(super) fn commit(&self) {
        let inner = &mut *lock(&self.0);
        inner.committed.extend(inner.uncommitted.drain());
        if inner.committed.len() > MAX_UNREAD {
            inner.committed = HashSet::new();
            inner.are_too_many = true;
        }
    }

    /// What has changed since this was asked last.
    pub(super) fn take(&self) -> Unread {
        let inner = &mut *lock(&self.0);
        let hosts = std::mem::take(&mut inner.committed);
        if std::mem::take(&mut inner.are_too_many) {
            return Unread::All;
        }
        Unread::Hosts(hosts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(changed: &Changed) -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        let tables = "CREATE TABLE servers (id INTEGER PRIMARY KEY, ip TEXT UNIQUE);
                      CREATE TABLE flags (host INTEGER PRIMARY KEY, paid INTEGER);
                      CREATE TABLE others (id INTEGER PRIMARY KEY)";
        connection.execute_batch(tables).unwrap();
        changed.listen_to(&mut connection).unwrap();
        connection
    }

    fn hosts(hosts: impl IntoIterator<Item = i64>) -> Unread {
        Unread::Hosts(hosts.into_iter().collect())
    }

    #[test]
    fn each_record_that_was_changed_is_told_once_when_it_is_committed() {
        let changed = Changed::default();
        let connection = connection(&changed);
        let run = |statements: &str| connection.execute_batch(statements).unwrap();

        run("INSERT INTO servers VALUES (1, 'a'), (2, 'b'), (3, 'c');
             INSERT INTO others VALUES (9)");
        assert_eq!(changed.take(), hosts([]));
        changed.commit();
        assert_eq!(changed.take(), hosts([1, 2, 3]));
        assert_eq!(changed.take(), hosts([]));

        run("INSERT OR REPLACE INTO flags VALUES (1, 0);
             INSERT OR REPLACE INTO flags VALUES (1, 1);
             DELETE FROM servers WHERE id = 2");
        changed.commit();
        assert_eq!(changed.take(), hosts([1, 2]));

        run("INSERT INTO others VALUES (10)");
        changed.commit();
        assert_eq!(changed.take(), hosts([]));
    }

    #[test]
    fn of_too_many_all_are_read() {
        let changed = Changed::default();
        let connection = connection(&changed);
        let change = |count: i64| {
            let replace = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
                           LIMIT ?1) INSERT OR REPLACE INTO servers SELECT i, i FROM n";
            connection.execute(replace, [count]).unwrap();
            changed.commit();
        };
        change(20_000);
        assert_eq!(changed.take(), hosts(1..=20_000));
        change(20_001);
        assert_eq!(changed.take(), Unread::All);
        assert_eq!(changed.take(), hosts([]));
    }
}
