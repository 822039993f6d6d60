//! What is in a database, in words for a person.

use std::fmt;

use fleetbeat_history::FileContents;
use fleetbeat_protocol::Timestamp;
use rusqlite::Connection;

/// A summary of a database, for whoever has saved or restored it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) struct Contents {
    pub(super) servers: i64,
    pub(super) users: i64,
    /// The newest heartbeat, in milliseconds since 1970.
    last_heartbeat: Option<i64>,
}

impl Contents {
    /// Counts what is there.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Contents> {
        connection.query_row(
            "SELECT (SELECT count(*) FROM servers), (SELECT count(*) FROM users), \
             (SELECT max(last_heartbeat) FROM servers)",
            [],
            |row| {
                Ok(Contents {
                    servers: row.get(0)?,
                    users: row.get(1)?,
                    last_heartbeat: row.get(2)?,
                })
            },
        )
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} servers, {} users", self.servers, self.users)?;
        let at = self.last_heartbeat.map(Timestamp::from_millisecond);
        match at {
            Some(Ok(at)) => write!(f, ", the last heartbeat at {at:.0}"),
            _ => Ok(()),
        }
    }
}

/// What is in a copy of history.db.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum HistoryContents {
    /// There is no file yet: nothing has been merged.
    Nothing,
    /// A file with this.
    File(FileContents),
}

impl fmt::Display for HistoryContents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HistoryContents::File(FileContents { hosts, days }) = self else {
            return f.write_str("no history: nothing has been merged yet");
        };
        write!(f, "the history of {hosts} hosts")?;
        let Some((first, last)) = days else {
            return Ok(());
        };
        let [first, last] = [first.start(), last.end() - 1].map(Timestamp::from_second);
        match (first, last) {
            (Ok(first), Ok(last)) => write!(f, " from {first} to {last}"),
            _ => Ok(()),
        }
    }
}

/// The result of a backup. `Display` makes sentences for a person.
#[derive(Debug)]
pub(in crate::store) struct Saved {
    pub(super) contents: Contents,
    /// `None` where history was not wanted.
    pub(super) history: Option<HistoryContents>,
}

impl fmt::Display for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.contents.fmt(f)?;
        match &self.history {
            Some(history) => write!(f, "; {history}"),
            None => Ok(()),
        }
    }
}
