//! Where chunks are kept.

use std::fmt;

use crate::chunk::{ChunkError, StoredChunk};
use crate::day::Day;
use crate::sample::Sample;
use crate::traffic::DayTraffic;

/// The name of the fleet itself.
pub(crate) const FLEET: &str = "fleet";
/// How the names of countries begin.
pub(crate) const COUNTRY: &str = "country:";
/// The hosts without a country.
const OTHER: &str = "other";

/// A host's lasting name in a store: its `server_id`, or the name of a group of hosts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(String);

impl Host {
    /// The host with this name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Host {
        Host(name.into())
    }

    /// The fleet itself. No host has this name, because a `server_id` begins otherwise.
    #[must_use]
    pub fn fleet() -> Host {
        Host(FLEET.to_owned())
    }

    /// The hosts of a country: of its two letters in upper case, or of all that have told
    /// another code, or none.
    #[must_use]
    pub fn country(code: &str) -> Host {
        let is_code =
            code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase());
        let code = if is_code { code } else { OTHER };
        Host(format!("{COUNTRY}{code}"))
    }

    /// The country's code, or `other`; `None` for any other host.
    #[must_use]
    pub fn as_country(&self) -> Option<&str> {
        self.0.strip_prefix(COUNTRY)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A host's samples that are to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct HostSamples {
    /// Whose samples they are.
    pub host: Host,
    /// The samples, of any days and in any order.
    pub samples: Vec<Sample>,
}

/// What a merge has left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cut {
    /// Series of hosts that have too many, each counted for each day.
    pub series: usize,
    /// Samples of days that have too many.
    pub samples: usize,
    /// Samples of days whose chunk a later version has written.
    pub samples_of_later_versions: usize,
}

/// How large a store is, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// What is kept takes so much.
    pub used: u64,
    /// The store takes so much of the disk: what was deleted is used again, and not given
    /// back.
    pub on_disk: u64,
}

/// Why a store cannot do what it is asked for. The caller goes on without history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// The store has reached its size, or the disk is full.
    #[error("history is full: {0}")]
    Full(String),
    /// A later version has made the store.
    #[error("history has version {found}, and this program knows {known}")]
    Version {
        /// The version of the store.
        found: i64,
        /// The last version that is known.
        known: i64,
    },
    /// Any other reason, which may be over the next time.
    #[error("history is unavailable: {0}")]
    Unavailable(String),
}

/// What went wrong and was got over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// A damaged store was moved aside, and an empty one begun.
    SetAside {
        /// Where it is now.
        to: String,
        /// What was found.
        reason: String,
    },
    /// A chunk cannot be read. It is left out, until it is replaced by new samples of its
    /// day.
    Chunk {
        /// The host's name.
        host: String,
        /// The day.
        day: Day,
        /// What was found.
        error: ChunkError,
    },
}

/// A store of chunks. What every store does is in [`crate::conformance`].
///
/// A store never panics, whatever lies on its disk.
pub trait HistoryStore: Send + Sync {
    /// Keeps the samples of some hosts, together with those of the same days that are
    /// kept already. Doing so again changes nothing, so that a caller who was not told
    /// whether it was done does it again.
    ///
    /// # Errors
    /// Nothing of the batch was kept.
    fn merge(&self, batch: &[HostSamples]) -> Result<Cut, HistoryError>;

    /// Calls `each` for the chunks of a host from the day `first` to the day `last`, the
    /// earliest first. Chunks that cannot be read are left out: gives how many. A store
    /// that is found damaged and moved aside counts as one of them.
    ///
    /// # Errors
    /// The store cannot be read. `each` may have been called before.
    fn read(
        &self,
        host: &Host,
        first: Day,
        last: Day,
        each: &mut dyn FnMut(StoredChunk),
    ) -> Result<usize, HistoryError>;

    /// Calls `each` for the traffic of a host's days from `first` to `last`, the earliest
    /// first, and before these for the days of the [`LOOK_BACK_DAYS`] before `first`. Gives how many of them cannot be read.
    ///
    /// [`LOOK_BACK_DAYS`]: crate::traffic::LOOK_BACK_DAYS
    ///
    /// # Errors
    /// The store cannot be read. `each` may have been called before.
    fn traffic(
        &self,
        host: &Host,
        first: Day,
        last: Day,
        each: &mut dyn FnMut(Day, DayTraffic),
    ) -> Result<usize, HistoryError>;

    /// The earliest day of which something is kept.
    ///
    /// # Errors
    /// The store cannot be read.
    fn oldest_day(&self) -> Result<Option<Day>, HistoryError>;

    /// Deletes at most `at_most` chunks of a day, and says whether there may be more.
    ///
    /// # Errors
    /// Nothing was deleted.
    fn delete_day(&self, day: Day, at_most: usize) -> Result<bool, HistoryError>;

    /// Deletes all chunks of a host.
    ///
    /// # Errors
    /// Nothing was deleted.
    fn delete_host(&self, host: &Host) -> Result<(), HistoryError>;

    /// How large the store is.
    ///
    /// # Errors
    /// The store cannot be read.
    fn size(&self) -> Result<Size, HistoryError>;

    /// What went wrong since the last call; at most 100 of them.
    fn take_troubles(&self) -> Vec<Trouble>;
}
