//! How long history is kept, and how large it may become.

use crate::day::Day;
use crate::store::{HistoryError, HistoryStore};

/// What the day of a usual host takes with its pages, in bytes, and how it is found out:
/// see `examples/measure.rs`. Three loads, four services, five metrics and two counters
/// of bytes; without the counters it is half of that.
pub const BYTES_A_HOST_AND_DAY: u64 = 10_300;

/// Room that is kept free, as a part of the size: what is merged between two calls of
/// [`trim`] has to fit in.
const FREE_PART: u64 = 16;

/// What an operator allows. The oldest day goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Days that are kept before today.
    pub keep_days: u32,
    /// What the store may use, in bytes.
    pub max_bytes: u64,
}

impl Limits {
    /// For how many days there is room with so many usual hosts, of those that are kept.
    #[must_use]
    pub fn days_that_fit(&self, hosts: u64) -> u64 {
        let usable = self.max_bytes - self.max_bytes / FREE_PART;
        let day = BYTES_A_HOST_AND_DAY.saturating_mul(hosts).max(1);
        (usable / day).min(u64::from(self.keep_days) + 1)
    }
}

/// Deletes at most `at_most` chunks of the oldest day, if it is too old, or if the store
/// is nearly as large as it may be. Says whether it did: then there may be more, and the
/// caller calls again after a pause, in which heartbeats have the disk.
///
/// The present day is never deleted.
///
/// # Errors
/// The store cannot be read or written.
pub fn trim(
    store: &dyn HistoryStore,
    limits: Limits,
    today: Day,
    at_most: usize,
) -> Result<bool, HistoryError> {
    let Some(oldest) = store.oldest_day()?.filter(|oldest| *oldest < today) else {
        return Ok(false);
    };
    let is_old = oldest < today.before(limits.keep_days);
    if is_old || is_large(store, limits.max_bytes)? {
        store.delete_day(oldest, at_most)?;
        return Ok(true);
    }
    Ok(false)
}

fn is_large(store: &dyn HistoryStore, max_bytes: u64) -> Result<bool, HistoryError> {
    let most = max_bytes - max_bytes / FREE_PART;
    Ok(store.size()?.used > most)
}
