//! What a chunk knows of a sample beside its values.

use std::cmp::min;

use crate::sample::{Arrival, Identity};

/// Most samples of a host and day: one every five seconds.
pub const MAX_SAMPLES: usize = 17_280;

/// A sample without its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// The second of the day.
    pub(crate) second: u32,
    pub(crate) identity: Identity,
    pub(crate) arrival: Arrival,
}

/// Rows with the same key are one sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// Of a sample with a number: see [`Identity::Numbered`].
    Identity(Identity),
    /// The second of the day of any other sample.
    Second(u32),
}

impl Row {
    pub(crate) fn key(&self) -> Key {
        match self.identity {
            Identity::Numbered(..) => Key::Identity(self.identity),
            Identity::Boot(_) | Identity::Unknown => Key::Second(self.second),
        }
    }

    /// Joins two rows with the same key. A live heartbeat counts before a spooled one,
    /// then the earlier time, and a known boot before an unknown one.
    ///
    /// The join of several rows is the same in any order.
    pub(crate) fn join(self, other: Row) -> Row {
        let (arrival, second) =
            min((self.arrival, self.second), (other.arrival, other.second));
        Row {
            second,
            identity: min(self.identity, other.identity),
            arrival,
        }
    }

    /// The order of rows in a chunk: by time, and then by key.
    pub(crate) fn order(&self) -> (u32, Key) {
        (self.second, self.key())
    }
}

/// Joins two values of one series in samples with the same key: the smaller one, and a
/// value before none. Missing values are NaN here and in columns.
pub(crate) fn join_values(value: f64, other: f64) -> f64 {
    value.min(other)
}
